"""What runs took and what is kept of them: counted once, per repository and month, and for the tenant's people only."""

import time
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from places import Clone, Place
from sqlmodel import select

from stepwell.ci.metering import AGAIN_SECONDS, FilesOfRepositories, Meter, Took, month_of, took
from stepwell.ci.usage import DiskUsage, Usage
from stepwell.errors import NotFound
from stepwell.store.caches import CacheFiles, CacheKey
from stepwell.store.tables import UsageRun
from stepwell.tenants import NOBODY

HOUR = 3600.0
PIPELINE = """
from stepwell import *

class Check(Pipeline):
    on = [push()]
    async def run(self, event, step):
        await step.run("light", "true")
        await step.run("heavy", "true", image="busybox")
"""


class Runner:
    """Layers and snapshots of given sizes."""

    def __init__(self) -> None:
        self.bytes = 5_000

    def layers(self, runs: Sequence[str]) -> Sequence[int]:
        return [self.bytes for _ in runs]

    def snapshots(self) -> Mapping[str, int]:
        return {"acme/shop": 70_000, "other/shop": 9}


@pytest.fixture
def shop(place: Place) -> Clone:
    """A repository with one run that has ended."""
    shop = place.repository("shop")
    shop.pipeline(PIPELINE)
    shop.push()
    place.finished(shop.runs()[0].id)
    return shop


def meter(place: Place, runner: Runner, later: float = HOUR) -> Meter:
    """The meter as it is `later` seconds from now."""
    files = FilesOfRepositories(place.base.repositories, CacheFiles(place.settings.state / "caches", 1 << 30))
    return Meter(
        place.base.store, place.base.logs, place.base.blobs, files, runner=runner, now=lambda: time.time() + later
    )


def test_a_run_that_has_ended_is_counted_once(place: Place, shop: Clone) -> None:
    usage, admin = place.services.usage, place.admin()
    assert meter(place, Runner()).count() == 1
    assert meter(place, Runner()).count() == 0  # another server, after a crash
    (month,) = usage.months(admin, "acme")
    ended = place.services.runs.summary(admin, shop.runs()[0].id).ended_at
    assert ended is not None
    assert (month.repository, month.month, month.runs) == ("shop", month_of(ended), 1)
    assert month.isolate_seconds > 0 and month.container_seconds > 0
    logs = sum(file.stat().st_size for file in (place.settings.state / "logs").rglob("*") if file.is_file())
    assert (month.layers, month.logs, month.artifacts) == (5_000, logs, 0)
    (disk,) = usage.disk(admin, "acme")
    assert disk == DiskUsage("shop", disk.git, 5_000, logs, 0, 0, 70_000)
    assert disk.git > 10_000
    shop.commit_files({"a": "b"})
    shop.push()
    place.finished(shop.runs()[0].id)
    assert meter(place, Runner(), later=0.0).count() == 0  # it has just ended
    assert meter(place, Runner()).count() == 1
    assert [one.runs for one in usage.months(admin, "acme")] == [2]


def test_what_steps_have_cached_is_counted_once_by_content(place: Place, shop: Clone) -> None:
    caches, owner = CacheFiles(place.settings.state / "caches", 1 << 30), f"acme/{shop.id}"
    for key, digest, size in (("a", "one", 300), ("b", "one", 300), ("c", "two", 40)):
        made = CacheKey(key, "main", ("deps",), digest, size, 1, 1.0, 1.0, "run")
        caches.keep(owner, caches.fresh(owner), made)
    meter(place, Runner()).count()
    (disk,) = place.services.usage.disk(place.admin(), "acme")
    assert disk.caches == 340


def test_other_tenants_see_nothing_of_it(place: Place, shop: Clone) -> None:
    meter(place, Runner()).count()
    usage = place.services.usage
    place.services.tenants.create(place.admin(), "other")
    stranger = place.person("stranger", "owner", "other")
    for look in (usage.months, usage.disk):
        assert look(stranger, "other") == []
        for actor in (stranger, NOBODY):
            with pytest.raises(NotFound):
                look(actor, "acme")


def test_what_is_removed_is_taken_off_and_what_it_took_stays(place: Place, shop: Clone) -> None:
    runner, admin = Runner(), place.admin()
    meter(place, runner).count()
    runner.bytes = 0  # layers go before their run
    meter(place, runner).count()
    assert place.services.usage.months(admin, "acme")[0].layers == 5_000  # measured again once a day
    later = meter(place, runner, 2 * HOUR + AGAIN_SECONDS)
    later.count()
    month = place.services.usage.months(admin, "acme")[0]
    assert month.layers == 0 and month.logs > 0
    later.remove(shop.runs()[0].id)
    after = place.services.usage.months(admin, "acme")[0]
    assert (after.runs, after.isolate_seconds, after.logs) == (1, month.isolate_seconds, 0)
    with place.base.store.read() as session:
        assert session.exec(select(UsageRun)).all() == []


def test_a_repository_that_is_gone_takes_nothing(place: Place, shop: Clone) -> None:
    runner = Runner()
    meter(place, runner).count()
    place.base.repositories.delete(place.services.tenants.scope.repository(place.admin(), "acme", "shop").id)
    meter(place, runner, 2 * HOUR + AGAIN_SECONDS).count()
    (disk,) = Usage(place.base.store).disk(place.admin(), "acme")
    assert disk.git == 0


def test_time_is_that_of_attempts_and_nobody_elses() -> None:
    def asked(key: str, **options: Any) -> tuple[str, str, Any]:
        return "asked", key, {"kind": options.pop("kind", "run"), "options": options}

    told: list[tuple[float, tuple[str, str, Any]]] = [
        (0, ("created", "", {"ancestry": {"until": 3}})),
        (1, asked("a#1")), (2, ("started", "a#1", None)),  # adopted from the run that was restarted
        (5, ("done", "a#1", None)),
        (6, asked("b#1")), (7, ("started", "b#1", None)), (10, ("lost", "b#1", None)),
        (11, ("started", "b#1", None)), (13, ("retry", "b#1", None)), (20, ("started", "b#1", None)),
        (21, asked("c#1", image="busybox")), (22, ("started", "c#1", None)), (24, ("dropped", "c#1", None)),
        (25, asked("d#1", kind="image")), (26, ("started", "d#1", None)),
        (30, ("ended", "", None)),
    ]  # fmt: skip
    entries = [(seq, at, kind, key, data) for seq, (at, (kind, key, data)) in enumerate(told, 1)]
    assert took(entries) == Took(isolates=3 + 2 + 10, containers=2 + 4)
