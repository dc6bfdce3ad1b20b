"""The commit protocol cut short at each of its points: afterwards the layer is there whole, or not at all.

Overlays are mounted in a namespace of the process that dies, as those of isolates are: they go with it.
"""

import ctypes
import os
import signal
import subprocess
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest
from views import FORMS, entered

from stepwell.repos.captured import Captured, RefChange
from stepwell.store import durable
from stepwell_runners import reduce as disk
from stepwell_runners import workspaces as room
from stepwell_runners.workspaces import Form, Workspaces

IN_GIT = Captured("c" * 40, {"refs/tags/v2": RefChange(None, "a" * 40)}, "ref: refs/heads/next")
POINTS = ("entered", "change", "settle", "meta", "sync", "rename", "renamed", "cleaned", "returned")


def commit_until(state: Path, form: Form, point: str) -> None:
    """Commit a layer and die as by `kill -9` at `point`. Runs in a process of its own."""
    if form == "overlay":
        _unshare_mounts()

    def die() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def before(name: str, function: Callable[..., object], only: Path | None = None) -> Callable[..., object]:
        def wrapped(*arguments: object) -> object:
            if name == point and only in (None, arguments[0]):
                die()
            return function(*arguments)

        return wrapped

    workspaces = Workspaces(state, form)
    tree = state / "tree"
    tree.mkdir()
    (tree / "old").write_text("of the commit")
    workspace = workspaces.open("run", "step#1", (), tree)
    with entered(workspace) as view:
        (view / "file").write_text("content")
        (view / "old").unlink()
        if point == "entered":
            die()
    workspace.captured.mkdir()
    IN_GIT.write(workspace.captured)
    if point == "change":
        die()
    change = workspaces.change(workspace)
    patch = pytest.MonkeyPatch()
    patch.setattr(disk, "settle", before("settle", disk.settle))
    patch.setattr(room, "_meta_of", before("meta", room._meta_of))
    patch.setattr(room, "sync_file_system", before("sync", durable.sync_file_system))
    patch.setattr(room, "sync_folder", before("renamed", durable.sync_folder))
    patch.setattr(disk, "remove", before("cleaned", disk.remove, workspace.place))
    patch.setattr(Path, "rename", _rename(before("rename", Path.rename), Path.rename))
    workspaces.commit(workspace, change.layer)
    die()


def _unshare_mounts() -> None:
    """Have mounts of this process's own, of which the host learns nothing."""
    new_namespace = 0x20000
    if ctypes.CDLL(None, use_errno=True).unshare(new_namespace) != 0:
        raise OSError(ctypes.get_errno(), "unshare")
    subprocess.run(["mount", "--make-rprivate", "/"], check=True)


def _rename(last: Callable[..., object], first: Callable[..., object]) -> Callable[..., object]:
    """The third rename of a commit is the one that counts: after the files, and what was done in git."""
    calls: list[int] = []

    def rename(path: Path, target: Path) -> object:
        calls.append(1)
        return (last if len(calls) > 2 else first)(path, target)

    return rename


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("point", POINTS)
def test_a_crash_leaves_a_whole_layer_or_none(tmp_path: Path, form: Form, point: str) -> None:
    child = os.fork()
    if child == 0:
        try:
            commit_until(tmp_path, form, point)
        except BaseException:
            traceback.print_exc()
        os._exit(1)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
    again = Workspaces(tmp_path, form)
    found = [f"{path.parent.name}-{path.name}" for path in again.layers.glob("*/*")]
    assert all(again.captured_of(layer) == IN_GIT for layer in found)
    assert len(found) == (1 if point in ("renamed", "cleaned", "returned") else 0)
    again.recover(lambda layer: True)
    assert list(again.work.iterdir()) == []
    look = again.open("run", "look#1", found, tmp_path / "tree")
    with entered(look) as view:
        names = {path.name for path in view.iterdir()}
        assert names == ({"file"} if found else {"old"})
    again.discard(look)
    again.recover(lambda layer: False)
    assert list(again.layers.iterdir()) == []
