"""The power is cut at each point of a step's end: afterwards there is the step with all that it left, or none of it.

What it left: the files of its layer, what it did in git, artifacts, a report of its tests, a cache. See `power` for how
a cut is made. A cache belongs to the repository, so one may be there whose step is not: but never a part of one.
"""

import hashlib
import json
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from logged import attempt
from power import Cuts, mounted, new_disk
from views import FORMS, entered

from stepwell.engine.entries import Entry
from stepwell.engine.seams import Attempt, Outcome, Prepared
from stepwell.repos.captured import Captured, RefChange
from stepwell.store import blobs, caches, durable
from stepwell.store.journal import NewRun, Summary, Write
from stepwell.store.journal_sqlite import SqliteJournal
from stepwell_runners import reduce as disk
from stepwell_runners import workspaces as room
from stepwell_runners.caching import Caching
from stepwell_runners.collected import Bound, Collector
from stepwell_runners.command_plan import plan
from stepwell_runners.settling import Ending, Settler
from stepwell_runners.spec import Exit
from stepwell_runners.workspaces import Form, Workspaces

POINTS = (
    "change", "blob", "blobs sync", "blobs renamed", "settle", "meta", "sync", "rename", "renamed", "cleaned",
    "cache sync", "cache key", "cache renamed", "returned", "journaled",
)  # fmt: skip
CONTENT = "content that no block of zeros is taken for\n" * 200
REPORT = f"<testsuite><testcase name='one'/><testcase name='two'/><system-out>{CONTENT}</system-out></testsuite>"
IN_GIT = Captured("c" * 40, {"refs/tags/v2": RefChange(None, "a" * 40)}, "ref: refs/heads/next")
NAMED: dict[str, Any] = {"artifacts": ["dist/**"], "junit": ["junit.xml"]}
WHOLE = attempt("make", cache=[{"key": "deps", "paths": ["deps"]}], **NAMED)
COLLECTED = attempt("make", keep=False, **NAMED)  # no layer and no cache, whose syncs would cover for the blobs' own


@dataclass
class Rooms:
    """What keeps the files of steps, on one disk."""

    root: Path
    form: Form
    step: Attempt = WHOLE

    def __post_init__(self) -> None:
        self.workspaces = Workspaces(self.root, self.form)
        self.blobs = blobs.BlobFiles(self.root / "blobs")
        self.caches = caches.CacheFiles(self.root / "caches", 1 << 30)
        self.caching = Caching(self.caches)
        (self.root / "tree").mkdir(exist_ok=True)

    def work(self) -> Ending:
        """Do what a step does, and end."""
        asked, step = plan(self.step, Prepared()), self.step
        held = self.caching.restore(asked.caches, asked.repository, asked.cache_rights, disk.Stack(()))
        workspace = self.workspaces.open(step.run, step.key, (), self.root / "tree", held=held)
        with entered(workspace) as view:
            for number in range(10):
                _write(view / "folder" / f"file {number}", CONTENT)
            (view / "link").symlink_to("folder")
            _write(view / "dist" / "app", CONTENT + "app")
            _write(view / "junit.xml", REPORT)
            _write(view / "deps" / "lib", CONTENT + "lib")
        if asked.keep:
            workspace.captured.mkdir()
            IN_GIT.write(workspace.captured)
        return Ending(step, asked, workspace, Exit(0, None, "exit code 0"), False, (), [])

    def settle(self, ending: Ending) -> Outcome:
        return Settler(self.workspaces, Collector(self.blobs, Bound()), self.caching).settle(ending)


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)


def journaled(outcome: Outcome) -> Write:
    """The entry of a step that is done."""
    summary = Summary("running", None, 1.0, None, 2.0, 2, 0, True, 0, "{}")
    data = {"collected": outcome.collected}
    entry = Entry(WHOLE.run, 2, 2.0, "done", WHOLE.key, 0, 0, data)
    layers = [outcome.layer] if outcome.layer else []
    return Write(WHOLE.run, 0, 0, summary, [(entry, json.dumps(data))], layers=layers)


def cut_everywhere(cuts: Cuts, patch: pytest.MonkeyPatch) -> None:
    """Take a cut before each write, sync and rename that counts."""
    for module, name, point in (
        (disk, "settle", "settle"), (disk, "remove", "cleaned"), (room, "_meta_of", "meta"),
        (room, "sync_file_system", "sync"), (room, "sync_folder", "renamed"), (Path, "rename", "rename"),
        (Path, "replace", "blob"), (blobs, "sync_file_system", "blobs sync"), (blobs, "sync_folder", "blobs renamed"),
        (caches, "sync_file_system", "cache sync"), (caches, "sync_file", "cache key"),
        (caches, "sync_folder", "cache renamed"),
    ):  # fmt: skip
        patch.setattr(module, name, cuts.before(point, getattr(module, name)))


def end(cuts: Cuts, form: Form, patch: pytest.MonkeyPatch, step: Attempt = WHOLE) -> None:
    """Do a step and journal it."""
    data = {"tenant": "t", "scope": "t/x", "title": "", "metadata": {}, "code": "d", "entry": "", "params": {}}
    journal = SqliteJournal(cuts.root / "stepwell.db", wal_bytes=1 << 16)
    journal.open()
    with closing(journal):
        journal.commit([], [NewRun(WHOLE.run, 1.0, data)])
        rooms = Rooms(cuts.root, form, step)
        durable.sync_file_system(cuts.root)  # the server has been up for long
        ending = rooms.work()
        cuts.take("change")
        cut_everywhere(cuts, patch)
        outcome = rooms.settle(ending)
        patch.undo()
        assert outcome.ok and bool(outcome.layer) == (step is WHOLE), outcome
        assert len(ending.notes) == (step is WHOLE) and all("Cache deps is saved" in note for note in ending.notes)
        cuts.take("returned")
        journal.commit([journaled(outcome)])
        cuts.take("journaled")


def check_after(root: Path, form: Form, step: Attempt = WHOLE) -> bool:
    """Start again on a disk: is the step done? Raises AssertionError when something of a done step is missing."""
    journal = SqliteJournal(root / "stepwell.db", wal_bytes=1 << 16)
    journal.open()
    rooms = Rooms(root, form)
    with closing(journal):
        entries = journal.entries(WHOLE.run)
        assert [entry.type for entry in entries] in (["created"], ["created", "done"])
        rooms.workspaces.recover(journal.layer_in_use)
    rooms.caching.recover()
    rooms.blobs.recover()
    with closing(sqlite3.connect(root / "stepwell.db")) as db:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    layers = [f"{path.parent.name}-{path.name}" for path in rooms.workspaces.layers.glob("*/*")]
    assert list(rooms.workspaces.work.iterdir()) == []
    is_done = len(entries) == 2
    assert bool(layers) == (is_done and step is WHOLE)
    check_cache(rooms, is_done and step is WHOLE)
    for layer in layers:
        check_layer(rooms, layer)
    if is_done:
        check_collected(rooms, entries[1].data["collected"])
    return is_done


def check_layer(rooms: Rooms, layer: str) -> None:
    assert rooms.workspaces.captured_of(layer) == IN_GIT
    look = rooms.workspaces.open("run", "look#1", [layer], rooms.root / "tree")
    with entered(look) as view:
        assert sorted(path.name for path in view.iterdir()) == ["folder", "link"]
        for number in range(10):
            assert (view / "folder" / f"file {number}").read_text() == CONTENT
        assert (view / "link").readlink() == Path("folder")
    rooms.workspaces.discard(look)


def check_collected(rooms: Rooms, facts: dict[str, Any]) -> None:
    """Read artifacts and report as those do who show them."""
    listed = json.loads(rooms.blobs.path(WHOLE.run, facts["id"]).read_bytes())
    kept = {id: rooms.blobs.path(WHOLE.run, id).read_bytes() for id in [*listed["blobs"], facts["id"]]}
    assert all(hashlib.sha256(content).hexdigest() == id for id, content in kept.items())
    (artifact,), (report,) = listed["artifacts"], listed["reports"]
    assert kept[listed["blobs"][artifact[2]]].decode() == CONTENT + "app"
    assert kept[listed["blobs"][report[2]]].decode() == REPORT
    assert len(json.loads(kept[facts["tests"]["id"]])) and facts["tests"]["passed"] == 2


def check_cache(rooms: Rooms, is_done: bool) -> None:
    """Restore it as the next step does."""
    asked = plan(WHOLE, Prepared())
    held = rooms.caching.restore(asked.caches, asked.repository, asked.cache_rights, disk.Stack(()))
    with closing(held):
        assert held.lowers or not is_done, "the cache of a step that is done is gone"
        for files in held.lowers:
            assert (files / "deps" / "lib").read_text() == CONTENT + "lib"


@pytest.mark.parametrize("form", FORMS)
def test_a_power_cut_leaves_the_step_with_all_that_it_left_or_none_of_it(
    tmp_path: Path, form: Form, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = new_disk(tmp_path)
    with mounted(image, tmp_path / "before") as root:
        cuts = Cuts(image, root)
        end(cuts, form, monkeypatch)
    seen: dict[str, set[bool]] = {}
    for point, copy in cuts.taken:
        with mounted(copy, tmp_path / "after") as root:
            try:
                is_done = check_after(root, form)
            except (AssertionError, ValueError, OSError) as error:
                pytest.fail(f"Cut at {point!r}: {error!r}")
        seen.setdefault(point.partition(",")[0], set()).add(is_done)
        copy.unlink()
    assert seen == {point: {point == "journaled"} for point in POINTS}


def test_a_power_cut_takes_no_artifact_of_a_step_that_has_no_layer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = new_disk(tmp_path)
    with mounted(image, tmp_path / "before") as root:
        cuts = Cuts(image, root)
        end(cuts, FORMS[0], monkeypatch, COLLECTED)
    for point, copy in cuts.taken[-4:]:
        with mounted(copy, tmp_path / "after") as root:
            assert check_after(root, FORMS[0], COLLECTED) == point.startswith("journaled")


@pytest.mark.parametrize(
    ("step", "modules", "name"),
    [
        (WHOLE, (room, blobs, caches), "sync_file_system"),
        (COLLECTED, (blobs,), "sync_file_system"),
        (WHOLE, (caches,), "sync_file"),
    ],
    ids=["layer", "blobs", "key of a cache"],
)
def test_the_cuts_would_find_what_is_named_before_it_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: Attempt, modules: Sequence[Any], name: str
) -> None:
    """Proof that the tests above see what they look for."""
    image = new_disk(tmp_path)
    with mounted(image, tmp_path / "before") as root, monkeypatch.context() as patch:
        for module in modules:
            patch.setattr(module, name, lambda _: None)
        cuts = Cuts(image, root)
        end(cuts, FORMS[0], monkeypatch, step)
    (_, copy) = cuts.taken[-1]
    with mounted(copy, tmp_path / "after") as root, pytest.raises((AssertionError, ValueError, OSError)):
        check_after(root, FORMS[0], step)
