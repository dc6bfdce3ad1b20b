"""The installation as its admins see it: numbers of every tenant, health, disk, settings without secrets."""

import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest
from places import Clone, Place

from stepwell.ci import installation
from stepwell.ci.census import Census, Counts
from stepwell.ci.installation import Installation, InstallationView, in_force
from stepwell.ci.occupied import occupied
from stepwell.ci.runners import Ability, Standing
from stepwell.ci.upkeep import Failing
from stepwell.engine.present import Counted
from stepwell.errors import NotFound
from stepwell.settings import Settings
from stepwell.store.backups import BackupNote, last_backup, note_backup
from stepwell.tenants import NOBODY, Actor

LONG = 30.0
WAIT = """
from stepwell import *

class Wait(Pipeline):
    on = [push()]
    async def run(self, event, step):
        await step.run("build", "make")
        await step.wait_for_event("go", type="go")
"""


class Host:
    """A host of which everything is known."""

    name = "runner-07"

    def abilities(self) -> Sequence[Ability]:
        return [Ability("docker", False, "none", "Start it.")]

    def forget_repository(self, scope: str, repository: str) -> bool:
        return True

    def standing(self) -> Standing:
        return Standing(2, 3)

    def layers(self, runs: Sequence[str]) -> Sequence[int]:
        return [0 for _ in runs]

    def snapshots(self) -> Mapping[str, int]:
        return {}


@pytest.fixture
def clone(tmp_path: Path) -> Iterator[Clone]:
    place = Place(tmp_path).start()
    yield place.repository()
    place.stop()


def look(place: Place, actor: Actor, monkeypatch: pytest.MonkeyPatch | None = None) -> InstallationView:
    if monkeypatch is not None:
        monkeypatch.setattr(installation, "PATIENCE_SECONDS", LONG)
    services = place.services
    return Installation(services.settings, services.thread, services.store, Host()).of(actor)


def test_repositories_that_cannot_be_packed_are_told_by_id(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(installation, "PATIENCE_SECONDS", LONG)
    services, failing = place.services, [Failing(f"r{number}", 2, 4 * 3600.0) for number in range(7)]
    whole = Installation(services.settings, services.thread, services.store, Host(), failing=lambda: failing)
    health = whole.of(place.admin()).health
    assert health is not None
    docker, packing = health.value
    assert (docker.name, packing.name, packing.ok) == ("docker", "packing", False)
    assert "r0 (2×, again in 4 h), r1" in packing.detail and " and 2 more: " in packing.detail
    assert "STEPWELL_GIT_MEMORY_MB" in packing.remedy


def test_an_admin_is_told_of_health_tenants_and_disk(clone: Clone, monkeypatch: pytest.MonkeyPatch) -> None:
    place = clone.place
    clone.pipeline(WAIT)
    clone.push()
    place.until(clone.runs()[0].id, lambda view: view.summary.state == "waiting")
    place.services.tenants.create(place.admin(), "other")
    view = look(place, place.admin(), monkeypatch)
    assert (view.host, view.url, view.steps, view.standing) == ("runner-07", "http://ci.test", 8, Standing(2, 3))
    assert view.health is not None and view.health.value == (Ability("docker", False, "none", "Start it."),)
    assert view.tenants is not None and abs(view.tenants.at - time.time()) < LONG
    assert view.tenants.value == (
        Counts("acme", "", 1, 1, 1, {"waiting": 1}, {}, False, 0.0, 0),
        Counts("other", "", 1, 0, 0, {}, {}, False, 0.0, 0),
    )
    assert view.disk is not None and dict(view.disk.value.kinds)["database"] > 100_000
    assert view.backup is None and view.counted.get("acme", Counted()).isolates == 0


def test_the_dead_are_counted_by_what_they_died_of(clone: Clone) -> None:
    place = clone.place
    clone.pipeline(WAIT)
    clone.push()
    run = clone.runs()[0].id
    place.until(run, lambda view: view.summary.state == "waiting")
    clone.pipeline(WAIT.replace('"build"', '"another"'))
    clone.push()
    place.until(clone.runs()[0].id, lambda view: view.summary.state == "waiting")
    place.services.control.terminate(place.admin(), run)
    made = place.services.control.restart(place.admin(), run, "go", code="newer")
    place.until(made.id, lambda view: view.summary.state == "diverged")
    (counts,) = Census(place.services.store).take()
    assert (counts.today, counts.states, counts.dead, counts.more) == (3, {"waiting": 1}, {"diverged": 1}, False)
    assert Census(place.services.store, lambda: time.time() + 86_400.0).take()[0].today == 0


def test_for_all_others_there_is_no_such_page(clone: Clone) -> None:
    place = clone.place
    tokens, admin = place.services.tenants.tokens, place.admin()
    assert admin.administers
    few = tokens.issue(admin, "few", scopes=("read", "write", "manage"))
    narrow = tokens.issue(admin, "narrow", scopes=("read", "own"), tenant="acme")
    whole = tokens.issue(admin, "whole", scopes=("read", "own"))
    actors = [tokens.actor(one.secret) for one in (few, narrow)]
    for actor in (*actors, place.person("olga", "owner"), NOBODY):
        assert actor is not None
        with pytest.raises(NotFound, match="no such page"):
            look(place, actor)
    known = tokens.actor(whole.secret)
    assert known is not None and look(place, known).host == "runner-07"


def test_settings_are_told_without_credentials(tmp_path: Path) -> None:
    given = Settings(state=tmp_path, docker_host="tcp://robot:s3cret@host:2376", blanks=0, trust_all_code=True)
    told = {one.name: one for one in in_force(given)}
    assert set(told) == {f"STEPWELL_{name.upper()}" for name in Settings.model_fields}
    docker, port, blanks = told["STEPWELL_DOCKER_HOST"], told["STEPWELL_PORT"], told["STEPWELL_BLANKS"]
    assert (docker.value, docker.given) == ("tcp://…@host:2376", True)
    assert (port.value, port.given, blanks.value, blanks.given) == ("7700", False, "0", True)
    assert (told["STEPWELL_TRUST_ALL_CODE"].value, told["STEPWELL_RUNTIME"].value) == ("yes", "")
    assert all(one.description for one in told.values())


def test_what_is_on_disk_is_told_by_kind(tmp_path: Path) -> None:
    sizes = {"blobs/a": 300_000, "logs/b": 200_000, "unheard-of/c": 90_000, "stepwell.db": 50, "stepwell.db-wal": 9}
    for name, size in {**sizes, "key": 32}.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x" * size)
    (tmp_path / "link").symlink_to("/usr")
    found = occupied(tmp_path, "stepwell.db")
    kinds = dict(found.kinds)
    assert [name for name, _ in found.kinds] == ["blobs", "logs", "other", "database"]
    assert kinds["blobs"] >= 300_000 and kinds["other"] >= 90_032 and kinds["database"] == 59
    assert found.bytes == sum(kinds.values()) and 0 < found.free <= found.size


def test_the_last_backup_is_remembered(tmp_path: Path) -> None:
    assert last_backup(tmp_path) is None
    done = {"created_at": "2026-11-29T12:00:00+00:00", "file": "/b", "bytes": 7, "with_key": True, "runs": 1}
    note_backup(tmp_path, done)
    assert last_backup(tmp_path) == BackupNote(1_795_953_600.0, "/b", 7, True)
    assert [one.name for one in tmp_path.iterdir()] == ["backup.json"]
    (tmp_path / "backup.json").write_text("{")
    assert last_backup(tmp_path) is None
