"""The power is cut at each point of a step's commit: afterwards there is the step with its files, or neither.

The state directory is an ext4 of its own on a loop device. What has reached the device at a moment is in the backing
file; what only the kernel's memory holds is not, and a copy of that file is the disk as a power cut leaves it. Each
point is cut twice, for a disk may also keep more than was asked for: the second time ext4 has just written its journal
on somebody else's behalf, so that names and sizes are there and contents need not be.

Needs root and loop devices.
"""

import os
import shutil
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from stepwell.engine.entries import Entry
from stepwell.store import durable
from stepwell.store.journal import NewRun, Summary, Write
from stepwell.store.journal_sqlite import SqliteJournal
from stepwell_runners import reduce as disk
from stepwell_runners import workspaces as room
from stepwell_runners.workspaces import Workspaces

SIZE = 24 << 20
POINTS = ("change", "settle", "meta", "sync", "rename", "renamed", "cleaned", "returned", "journaled")
CONTENT = "content that no block of zeros is taken for\n" * 200


@contextmanager
def mounted(image: Path, at: Path) -> Iterator[Path]:
    """Mount a disk; its journal is played back as after a power cut."""
    at.mkdir(exist_ok=True)
    # Nothing is written back because time went by: commit=600, and the test is over before pages are 30 s old.
    done = subprocess.run(["mount", "-o", "loop,commit=600", image, at], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"loop devices cannot be mounted here: {done.stderr.strip()}")
    try:
        yield at
    finally:
        subprocess.run(["umount", at], check=True)


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """An ext4 in a file."""
    if os.geteuid() != 0:
        pytest.skip("only root mounts disks")
    mkfs = shutil.which("mkfs.ext4", path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
    if mkfs is None:
        pytest.skip("mkfs.ext4 is not installed")
    image = tmp_path / "disk"
    with image.open("wb") as file:
        file.truncate(SIZE)
    subprocess.run([mkfs, "-q", "-F", image], check=True)
    return image


class Cuts:
    """Copies of a disk, taken at points of what happens on it."""

    def __init__(self, image: Path, root: Path) -> None:
        self.image = image
        self.root = root
        self.taken: list[tuple[str, Path]] = []

    def take(self, point: str) -> None:
        for how in ("asked for", "and more"):
            if how == "and more":
                (self.root / "of somebody else").write_text(point)
                durable.sync_folder(self.root)
                with (self.root / "of somebody else").open() as file:
                    os.fsync(file)
            copy = self.image.with_name(f"cut-{len(self.taken)}")
            subprocess.run(["cp", "--sparse=always", self.image, copy], check=True)
            self.taken.append((f"{point}, {how}", copy))

    def before(self, point: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """Cut at each call, before it takes effect."""

        def wrapped(*arguments: Any, **more: Any) -> Any:
            self.take(point)
            return function(*arguments, **more)

        return wrapped


def work(workspaces: Workspaces) -> tuple[Any, Any]:
    """What a step has done: files, a directory, a link."""
    workspace = workspaces.open("run", "step#1", (), None)
    (workspace.upper / "folder").mkdir()
    for number in range(20):
        (workspace.upper / "folder" / f"file {number}").write_text(CONTENT)
    (workspace.upper / "link").symlink_to("folder")
    return workspace, workspaces.change(workspace).layer


def write(seq: int, kind: Any, layers: list[str]) -> Write:
    summary = Summary("running", None, 1.0, None, 2.0, seq, 0, True, 0, "{}")
    return Write("run", 0, 0, summary, [(Entry("run", seq, 2.0, kind, "step#1", 0, 0, {}), "{}")], layers=layers)


def commit(cuts: Cuts, patch: pytest.MonkeyPatch, *, synced: bool = True) -> None:
    """Do a step and journal it, and take a cut at every point."""
    data = {"tenant": "t", "scope": "t/x", "title": "", "metadata": {}, "code": "d", "entry": "", "params": {}}
    journal = SqliteJournal(cuts.root / "stepwell.db", wal_bytes=1 << 16)
    journal.open()
    with closing(journal):
        journal.commit([], [NewRun("run", 1.0, data)])
        workspaces = Workspaces(cuts.root, "copy")
        durable.sync_file_system(cuts.root)  # the server has been up for long
        workspace, layer = work(workspaces)
        cuts.take("change")
        patch.setattr(disk, "settle", cuts.before("settle", disk.settle))
        patch.setattr(room, "_meta_of", cuts.before("meta", room._meta_of))
        sync = durable.sync_file_system if synced else lambda _: None
        patch.setattr(room, "sync_file_system", cuts.before("sync", sync))
        patch.setattr(room, "sync_folder", cuts.before("renamed", durable.sync_folder))
        patch.setattr(disk, "remove", cuts.before("cleaned", disk.remove))
        patch.setattr(Path, "rename", cuts.before("rename", Path.rename))
        committed = workspaces.commit(workspace, layer).layer
        patch.undo()
        cuts.take("returned")
        assert committed is not None
        journal.commit([write(2, "done", [committed])])
        cuts.take("journaled")


def found_after(root: Path) -> tuple[bool, bool]:
    """Start again on a disk; is the step journaled, and are its files there? Raises AssertionError if only partly."""
    journal = SqliteJournal(root / "stepwell.db", wal_bytes=1 << 16)
    journal.open()
    with closing(journal):
        is_done = [entry.type for entry in journal.entries("run")] == ["created", "done"]
        workspaces = Workspaces(root, "copy")
        workspaces.recover(journal.layer_in_use)
        layers = [f"{path.parent.name}-{path.name}" for path in workspaces.layers.glob("*/*")]
        assert list(workspaces.work.iterdir()) == []
    with closing(sqlite3.connect(root / "stepwell.db")) as db:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    if not layers:
        return is_done, False
    look = workspaces.open("run", "look#1", layers, None)
    for number in range(20):
        assert (look.upper / "folder" / f"file {number}").read_text() == CONTENT
    assert (look.upper / "link").readlink() == Path("folder")
    return is_done, True


def test_a_power_cut_leaves_the_step_with_its_files_or_neither(
    image: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with mounted(image, tmp_path / "before") as root:
        cuts = Cuts(image, root)
        commit(cuts, monkeypatch)
    seen: dict[str, set[bool]] = {}
    for point, copy in cuts.taken:
        with mounted(copy, tmp_path / "after") as root:
            is_done, has_files = found_after(root)
        assert is_done == has_files, point
        seen.setdefault(point.partition(",")[0], set()).add(is_done)
        copy.unlink()
    assert seen == {point: {point == "journaled"} for point in POINTS}


def test_the_cuts_would_find_a_layer_that_is_renamed_before_it_is_written(
    image: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Proof that the test above sees what it looks for."""
    with mounted(image, tmp_path / "before") as root:
        cuts = Cuts(image, root)
        commit(cuts, monkeypatch, synced=False)
    (_, copy) = cuts.taken[-1]
    with mounted(copy, tmp_path / "after") as root, pytest.raises((AssertionError, ValueError)):
        found_after(root)
