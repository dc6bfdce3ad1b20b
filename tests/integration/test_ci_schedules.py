"""Cron triggers: the default branch decides, a moment starts one run."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from places import Clone, Place
from sqlmodel import select

from stepwell.ci.schedules import Schedules
from stepwell.store.tables import Schedule

NIGHTLY = """
from stepwell import *

class Nightly(Pipeline):
    on = [cron("0 3 * * *"), cron("30 4 * * 1", tz="Europe/Berlin")]
    async def run(self, event, step):
        return event.kind
"""
THREE = 1_767_236_400.0  # 2026-01-01 03:00 UTC
KEY_OF = ("Nightly", "0 3 * * *", "UTC")


class Hours:
    """Schedules whose time the test tells."""

    def __init__(self, clone: Clone) -> None:
        self.clone = clone
        self.time = THREE - 600
        services = clone.place.services
        launcher = services.pushes._launcher
        self.schedules = Schedules(
            services.store, services.repositories, services.declarations, launcher, now=lambda: self.time
        )
        services.schedules.sync = self.schedules.sync  # type: ignore[method-assign]
        services.pushes.default_branch_moved = self.schedules.sync

    def rows(self) -> list[Schedule]:
        with self.clone.place.services.store.read() as session:
            return list(session.exec(select(Schedule).order_by(Schedule.cron)))

    def fire(self, moment: float = THREE) -> None:
        self.schedules.fire((self.clone.id, *KEY_OF), moment)


@pytest.fixture
def hours(tmp_path: Path) -> Iterator[Hours]:
    place = Place(tmp_path).start()
    yield Hours(place.repository())
    place.stop()


def test_a_push_to_the_default_branch_sets_the_schedules(hours: Hours) -> None:
    hours.clone.pipeline(NIGHTLY)
    hours.clone.push("refs/heads/feature")
    assert hours.rows() == []
    hours.clone.push()
    assert [(row.cron, row.timezone) for row in hours.rows()] == [("0 3 * * *", "UTC"), ("30 4 * * 1", "Europe/Berlin")]
    hours.clone.pipeline(NIGHTLY.replace('cron("0 3 * * *"), ', ""))
    hours.clone.push()
    assert [row.cron for row in hours.rows()] == ["30 4 * * 1"]
    hours.clone.pipeline("import broken\n")
    hours.clone.push()
    assert hours.rows() == []


def test_a_moment_starts_one_run_of_the_branch_as_it_is_then(hours: Hours) -> None:
    hours.clone.pipeline(NIGHTLY)
    hours.clone.push()
    sha = hours.clone.commit_files({"later": "1"})
    hours.clone.push()
    hours.fire()
    hours.fire()
    (run,) = hours.clone.runs()
    assert (run.kind, run.sha, run.branch, run.actor) == ("cron", sha, "main", "")
    assert hours.clone.place.finished(run.id).result == "cron"


def test_the_event_compares_with_the_last_passed_run(hours: Hours) -> None:
    hours.clone.pipeline(NIGHTLY)
    first = hours.clone.git("rev-parse", "HEAD")
    hours.clone.push()
    hours.fire()
    hours.clone.place.finished(hours.clone.runs()[0].id)
    hours.clone.commit_files({"src/a.py": "1"})
    hours.clone.push()
    hours.fire(THREE + 86400)
    view = hours.clone.place.finished(hours.clone.runs()[0].id)
    assert (view.event["before"], view.event["changed"]) == (first, ["src/a.py"])


def test_a_schedule_that_is_gone_fires_nothing(hours: Hours) -> None:
    hours.clone.pipeline(NIGHTLY)
    hours.clone.push()
    hours.clone.pipeline(NIGHTLY.replace("cron(", "tag() if False else manual() if True else cron("))
    hours.clone.push()
    hours.fire()
    assert hours.clone.runs() == []


def test_a_moment_missed_a_short_while_ago_is_caught_up_and_an_old_one_is_not(hours: Hours) -> None:
    hours.clone.pipeline(NIGHTLY)
    hours.clone.push()
    (row, _) = hours.rows()
    assert hours.schedules.next_moment(row) == THREE
    hours.time = THREE + 1800
    assert hours.schedules.next_moment(row) == THREE
    hours.time = THREE + 7200
    assert hours.schedules.next_moment(row) == THREE + 86400
    row.fired_at = THREE
    hours.time = THREE + 60
    assert hours.schedules.next_moment(row) == THREE + 86400


def test_of_many_missed_moments_the_last_one_fires(hours: Hours) -> None:
    row = Schedule(repository="r", pipeline="P", cron="*/10 * * * *", timezone="UTC", sha="", created_at=THREE - 9000)
    hours.time = THREE + 65
    assert hours.schedules.next_moment(row) == THREE


def test_the_scheduler_fires_a_moment_missed_while_the_server_was_down(hours: Hours) -> None:
    now = hours.time = time.time()
    hours.clone.pipeline(NIGHTLY.replace("0 3 * * *", "* * * * *"))
    hours.clone.push()
    with hours.clone.place.services.store.write() as session:
        for row in session.exec(select(Schedule)):
            row.created_at = now - 180
    hours.schedules.start()
    try:
        hours.clone.place.until_runs(hours.clone, 1)
    finally:
        hours.schedules.stop()
    assert hours.clone.runs()[-1].kind == "cron"


def test_a_row_that_cannot_be_read_keeps_no_other_from_starting(hours: Hours) -> None:
    hours.clone.pipeline(NIGHTLY)
    hours.clone.push()
    with hours.clone.place.services.store.write() as session:
        session.add(
            Schedule(repository=hours.clone.id, pipeline="A", cron="junk", timezone="No/Where", sha="0", created_at=0)
        )
    row = next(row for row in hours.rows() if row.pipeline == "A")
    hours.schedules._arm(row)
    hours.schedules.fire((hours.clone.id, "A", "junk", "No/Where"), THREE)
    assert [row.fired_at for row in hours.rows() if row.pipeline == "A"] == [THREE]
