"""Upkeep: the server's minute packs repositories that many pushes have filled, and nobody waits for that."""

import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from places import Clone, Place

from stepwell.ci import keeper
from stepwell.ci import upkeep as upkeep_module
from stepwell.ci.beginnings import Beginnings
from stepwell.ci.upkeep import Failing, Upkeep
from stepwell.errors import Invalid
from stepwell.repos import maintenance
from stepwell.repos.maintenance import Left, maintain


def packs(origin: Path) -> list[Path]:
    return sorted((origin / "objects/pack").glob("*.pack"))


def filled(place: Place, name: str = "api") -> tuple[Clone, Path]:
    """A repository with three packs, which is too many here."""
    clone = place.repository(name)
    origin = place.services.repositories.path(clone.id)
    subprocess.run(["git", "-C", origin, "config", "receive.unpackLimit", "1"], check=True)
    for number in range(3):
        clone.commit_files({"file": f"{number}"})
        clone.git("push", "-q", str(origin), "main")
    assert len(packs(origin)) == 3
    return clone, origin


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(maintenance, "PACKS", 2)


def test_the_minute_packs_what_needs_it(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    clone, origin = filled(place)
    done = threading.Event()

    def noted(path: Path, **bounds: Any) -> None:
        maintain(path, **bounds)
        done.set()

    monkeypatch.setattr(upkeep_module, "maintain", noted)
    monkeypatch.setattr(keeper, "EVERY_SECONDS", 0.01)
    place.services.keeper.start()
    assert done.wait(60)
    assert len(packs(origin)) == 1
    assert place.services.repositories.reader(clone.id).resolve("main") == clone.git("rev-parse", "HEAD")


def test_one_that_fails_stops_no_other_and_rests(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    (broken, damaged), (whole, origin) = filled(place, "broken"), filled(place, "whole")
    for pack in packs(damaged):
        pack.chmod(0o644)
        pack.write_bytes(b"no pack")
    moment = 0.0
    services = place.services
    begun = Beginnings(services.store)
    upkeep = Upkeep(services.store, services.repositories, begun, 1 << 30, now=lambda: moment)
    assert upkeep.maintain_needy() == [whole.id]
    assert len(packs(origin)) == 1 and len(packs(damaged)) == 3
    failures = [record for record in caplog.records if record.exc_info]
    assert len(failures) == 1 and broken.id in failures[0].getMessage()
    for times, hours in ((1, 2), (2, 4)):
        assert upkeep.failing() == [Failing(broken.id, times, hours * upkeep_module.REST_SECONDS)]
        moment += hours * upkeep_module.REST_SECONDS - 1
        assert upkeep.maintain_needy() == []
        assert len([record for record in caplog.records if record.exc_info]) == times
        moment += 2
        assert upkeep.maintain_needy() == []
        assert len([record for record in caplog.records if record.exc_info]) == times + 1


def test_one_that_has_failed_is_told_until_it_is_packed_or_gone(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    clones, moment = [filled(place, name)[0] for name in ("mended", "gone")], 0.0

    def fail(path: Path, **bounds: Any) -> None:
        raise Invalid("git repack ended with exit code 128: fatal: Out of memory")

    services = place.services
    upkeep = Upkeep(services.store, services.repositories, Beginnings(services.store), 1 << 30, now=lambda: moment)
    with monkeypatch.context() as patched:
        patched.setattr(upkeep_module, "maintain", fail)
        assert upkeep.maintain_needy() == []
    assert {one.repository for one in upkeep.failing()} == {clone.id for clone in clones}
    services.removal.remove(place.admin(), "acme", "gone")
    moment = 3 * upkeep_module.REST_SECONDS
    assert upkeep.maintain_needy() == [clones[0].id]
    assert upkeep.failing() == []


def test_a_rest_has_an_end(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    clone, moment = filled(place)[0], 0.0

    def fail(path: Path, **bounds: Any) -> None:
        raise Invalid("no")

    monkeypatch.setattr(upkeep_module, "maintain", fail)
    services = place.services
    upkeep = Upkeep(services.store, services.repositories, Beginnings(services.store), 1 << 30, now=lambda: moment)
    for _ in range(20):
        upkeep.maintain_needy()
        moment += upkeep_module.LONGEST_REST_SECONDS
    assert upkeep.failing() == [Failing(clone.id, 20, 0.0)]


@pytest.mark.parametrize("end", ["delete", "stop"])
def test_a_deletion_and_the_servers_end_do_not_wait_for_it(
    place: Place, monkeypatch: pytest.MonkeyPatch, end: str
) -> None:
    _, origin = filled(place)
    began, left = threading.Event(), threading.Event()

    def endless(path: Path, *, memory_bytes: int, is_wanted: Callable[[], bool]) -> None:
        began.set()
        while is_wanted():
            time.sleep(0.01)
        left.set()
        raise Left("repack")

    monkeypatch.setattr(upkeep_module, "maintain", endless)
    place.services.upkeep.begin()
    assert began.wait(60)
    if end == "delete":
        place.services.removal.remove(place.admin(), "acme", "api")
    else:
        place.services.upkeep.stop()
    assert left.is_set() and origin.exists() is (end == "stop")
