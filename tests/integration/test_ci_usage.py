"""How many runs were begun lately, and when schedules come next: a real database and engine."""

import time
from pathlib import Path

import pytest
from places import SHIP, Place

from stepwell.ci.usage import RepositoryUsage, Usage
from stepwell.errors import NotFound
from stepwell.tenants import NOBODY

NIGHTLY = """
from stepwell import *

class Nightly(Pipeline):
    on = [cron("0 3 * * *", tz="Europe/Berlin"), push()]
    async def run(self, event, step):
        pass
"""


def test_runs_are_counted_and_schedules_told(tmp_path: Path) -> None:
    place = Place(tmp_path).start()
    try:
        shop, nights = place.repository("shop"), place.repository("nights")
        shop.pipeline(SHIP)
        shop.push()
        nights.pipeline(NIGHTLY)
        nights.push()
        shop.commit_files({"a": "b"})
        shop.push()
        for run in shop.runs():
            place.waiting(run.id)
        place.finished(nights.runs()[0].id)
        found = place.services.usage.of(place.admin(), "acme")
        assert found == [RepositoryUsage("shop", {"waiting": 2}), RepositoryUsage("nights", {"passed": 1})]
        assert found[0].count("waiting", "running") == found[0].runs == 2
        later = Usage(place.base.store, lambda: time.time() + 31 * 86400)
        assert later.of(place.admin(), "acme") == []
        with pytest.raises(NotFound):
            place.services.usage.of(NOBODY, "acme")

        (schedule,) = place.services.catalog.schedules(place.admin(), "acme", "nights")
        assert (schedule.pipeline, schedule.cron, schedule.timezone) == ("Nightly", "0 3 * * *", "Europe/Berlin")
        assert schedule.due is not None and 0 < schedule.due - time.time() <= 25 * 3600
        assert place.services.catalog.schedules(place.admin(), "acme", "shop") == ()
        with pytest.raises(NotFound):
            place.services.catalog.schedules(NOBODY, "acme", "nights")
    finally:
        place.stop()
