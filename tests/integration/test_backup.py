"""A backup made while the server works restores to a state that is whole; what waited goes on."""

import gzip
import json
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from places import Clone, Place

from stepwell.cli import backing_up
from stepwell.cli.backing_up import back_up
from stepwell.cli.doctor_journal import look_at_journal
from stepwell.cli.restoring import put_back
from stepwell.errors import Conflict, Invalid, Unavailable
from stepwell.settings import Settings
from stepwell.store.archive import written
from stepwell.store.removals import removals_held
from stepwell.store.snapshot import at_one_moment


def quiet(_part: str, _size: int) -> None: ...


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    (tmp_path / "old").mkdir()
    place = Place(tmp_path / "old").start()
    yield place
    place.stop()


@pytest.fixture
def clone(place: Place) -> Clone:
    clone = place.repository()
    place.services.tenants.secrets.put(place.admin(), "acme", "KEY", "correct horse")
    clone.pipeline()
    clone.push()
    place.waiting(clone.runs()[0].id)
    return clone


def test_a_run_that_waited_goes_on_in_the_restored_state(clone: Clone, tmp_path: Path) -> None:
    place, run = clone.place, str(clone.runs()[0].id)
    done = back_up(place.settings, tmp_path / "b", with_key=True, tell=quiet)
    assert (done["runs"], done["repositories"]) == (1, 1)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["b", "old"], "nothing else is left"
    clone.commit_files({"later": "x"})
    clone.push()
    (tmp_path / "new").mkdir()
    new = Place(tmp_path / "new")
    put_back(new.settings, tmp_path / "b", None, quiet)
    assert look_at_journal(new.settings, mend=False, json=False) == 0
    new.start()
    try:
        assert [one.id for one in new.services.runs.list(new.admin(), tenant="acme", repository="api").items] == [run]
        (asked,) = new.waiting(run).approvals
        new.services.runs.decide(new.admin(), run, asked.key, approve=True)
        view = new.finished(run)
        assert view.summary.state == "passed"
        log = new.services.runs.log(new.admin(), run, "deploy#1").read()
        assert log.endswith(b"KEY=***\n"), "its secret was opened with the key of the backup"
        reader = new.services.repositories.reader(clone.id)
        assert reader.resolve("refs/heads/main") == view.summary.sha, "the later push is not there"
        log_before = place.services.runs.log(place.admin(), run, "test#1").read()
        assert new.services.runs.log(new.admin(), run, "test#1").read() == log_before
    finally:
        new.stop()


def test_without_the_key_it_says_so_and_takes_it_from_elsewhere(clone: Clone, tmp_path: Path) -> None:
    back_up(clone.place.settings, tmp_path / "b", with_key=False, tell=quiet)
    assert b"correct horse" not in gzip.decompress((tmp_path / "b").read_bytes())
    bare = Settings(state=tmp_path / "bare")
    assert put_back(bare, tmp_path / "b", None, quiet)["key"] is False
    with pytest.raises(Invalid, match="bytes, not 32"):
        put_back(Settings(state=tmp_path / "other"), tmp_path / "b", tmp_path / "b", quiet)
    full = Settings(state=tmp_path / "full")
    assert put_back(full, tmp_path / "b", clone.place.settings.state / "key", quiet)["key"] is True
    assert (full.state / "key").read_bytes() == (clone.place.settings.state / "key").read_bytes()
    assert (full.state / "key").stat().st_mode & 0o077 == 0


def test_a_state_that_is_not_empty_is_left_alone(clone: Clone, tmp_path: Path) -> None:
    back_up(clone.place.settings, tmp_path / "b", with_key=True, tell=quiet)
    with pytest.raises(Conflict, match=r"not empty: it has .*stepwell\.db"):
        put_back(clone.place.settings, tmp_path / "b", None, quiet)
    with pytest.raises(Conflict, match="already"):
        back_up(clone.place.settings, tmp_path / "b", with_key=True, tell=quiet)
    with pytest.raises(Unavailable, match="STEPWELL_STATE"):
        back_up(Settings(state=tmp_path / "none"), tmp_path / "c", with_key=True, tell=quiet)


def test_a_refused_backup_leaves_the_state_empty(clone: Clone, tmp_path: Path) -> None:
    back_up(clone.place.settings, tmp_path / "b", with_key=True, tell=quiet)
    new = Settings(state=tmp_path / "new")
    (tmp_path / "torn").write_bytes((tmp_path / "b").read_bytes()[:-100])
    with pytest.raises(Invalid, match="torn"):
        put_back(new, tmp_path / "torn", None, quiet)
    assert list(new.state.iterdir()) == []
    with written(tmp_path / "newer", {"stepwell": "99.0", "revision": "9999", "form": 1, "entries": 1}):
        pass
    with pytest.raises(Invalid, match=r"Stepwell '99\.0', which is newer"):
        put_back(new, tmp_path / "newer", None, quiet)
    (tmp_path / "garbage").write_bytes(b"x" * 100_000)
    with written(tmp_path / "damaged", {"stepwell": "1", "revision": "0001", "form": 1, "entries": 1}) as archive:
        archive.add("stepwell.db", tmp_path / "garbage")
    with pytest.raises(Invalid, match=r"database in backup .* cannot be read"):
        put_back(new, tmp_path / "damaged", None, quiet)
    assert list(new.state.iterdir()) == []


def test_nothing_is_removed_while_a_backup_is_made(
    clone: Clone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = clone.place.settings.state
    monkeypatch.setattr(backing_up, "PATIENCE_SECONDS", 0.0)
    with removals_held(state), pytest.raises(Conflict, match="backup is being made"):
        back_up(clone.place.settings, tmp_path / "b", with_key=True, tell=quiet)
    with removals_held(state):
        assert clone.place.services.retention.remove_some() == 0
    back_up(clone.place.settings, tmp_path / "b", with_key=True, tell=quiet)


def test_the_snapshot_is_of_the_moment_in_which_nobody_could_write(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("PRAGMA journal_mode=WAL")
        db.execute("CREATE TABLE t(x, pad)")
        db.executemany("INSERT INTO t VALUES(?, zeroblob(4000))", [(n,) for n in range(3000)])
        locked: list[str] = []

        def write_now() -> None:
            with closing(sqlite3.connect(path, isolation_level=None, timeout=0)) as other:
                try:
                    other.execute("INSERT INTO t VALUES(-1, '')")
                except sqlite3.OperationalError as error:
                    locked.append(str(error))

        steps: list[int] = []

        def between(done: int, _all: int) -> None:
            steps.append(done)
            db.execute("INSERT INTO t VALUES(-2, '')")

        with at_one_moment(path, write_now) as snapshot:
            snapshot.copy_to(tmp_path / "copy.db", between)
        assert locked == ["database is locked"]
        assert len(steps) > 2, "others wrote while it was copied"
        assert db.execute("SELECT count(*) FROM t WHERE x = -2").fetchone() == (len(steps),)
    with closing(sqlite3.connect(tmp_path / "copy.db")) as copy:
        assert copy.execute("SELECT count(*), min(x) FROM t").fetchone() == (3000, 0)
        assert copy.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    assert not (tmp_path / "copy.db-wal").exists()


def test_runs_created_meanwhile_are_wholly_there_or_not(clone: Clone, tmp_path: Path) -> None:
    place = clone.place
    stop = threading.Event()
    made: list[Any] = []

    def start_runs() -> None:
        while not stop.is_set():
            inputs = {"target": "staging"}
            made.append(place.services.runs.start(place.admin(), "acme", "api", pipeline="Ship", inputs=inputs).id)

    load = threading.Thread(target=start_runs)
    load.start()
    try:
        backups = [back_up(place.settings, tmp_path / f"b{n}", with_key=True, tell=quiet) for n in range(3)]
    finally:
        stop.set()
        load.join()
    counts = [done["runs"] for done in backups]
    assert counts == sorted(counts) and counts[-1] > 1, f"there was no load: {counts}, {len(made)} made"
    new = Place(tmp_path / "new")
    put_back(new.settings, tmp_path / "b2", None, quiet)
    assert look_at_journal(new.settings, mend=False, json=True) == 0
    with closing(sqlite3.connect(new.settings.database)) as db:
        runs = [row[0] for row in db.execute("SELECT id FROM runs ORDER BY created_at")]
    assert runs[1:] == made[: counts[-1] - 1], "the first so many, none left out"
    new.start()
    try:
        for run in runs[1:]:
            assert new.finished(run).summary.state == "passed"
    finally:
        new.stop()


def test_the_commands_tell_what_they_did(
    clone: Clone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from stepwell.cli.backup import backup, restore

    monkeypatch.setenv("STEPWELL_STATE", str(clone.place.settings.state))
    backup(tmp_path / "b", json=True)
    assert json.loads(capsys.readouterr().out)["runs"] == 1
    backup(tmp_path / "c", without_key=True)
    assert "Secrets cannot be opened without" in capsys.readouterr().err
    monkeypatch.setenv("STEPWELL_STATE", str(tmp_path / "new"))
    restore(tmp_path / "c", key=None)
    told = capsys.readouterr().err
    assert "1 runs as of" in told and "holds no key" in told
    monkeypatch.setenv("STEPWELL_STATE", str(tmp_path / "new2"))
    restore(tmp_path / "b", key=None, json=True)
    assert json.loads(capsys.readouterr().out)["key"] is True
