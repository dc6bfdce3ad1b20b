"""Workspaces against a naive model: copy everything, apply in order.

Runs are invented: steps are asked for and delivered in any order, so that some stand on others and some are parallel;
attempts do anything a program does to files, die, and are tried again. The same run is played on real overlays, on the
copies that stand in for them, and on a model that has never heard of layers: each step works in a full copy of the
files, what differs afterwards is what it changed, and changes are applied to the commit's tree in order of delivery.
What every step finds must be the model's files, and exactly the runs that the model calls conflicts may be refused.

Some runs, the same ones each time, are always played; `STEPWELL_SOAK=1` plays 10,000 new ones.
"""

import errno
import os
import shutil
import stat
import tempfile
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, event, example, given, settings
from hypothesis import strategies as st

from stepwell_runners import syscalls
from stepwell_runners.layers import parents
from stepwell_runners.mounter import Mounter
from stepwell_runners.reduce import KEPT_BITS, copy_file
from stepwell_runners.spec import Overlay
from stepwell_runners.workspaces import Form, Workspace, WorkspaceConflict, Workspaces

SOAK = bool(os.environ.get("STEPWELL_SOAK"))
FORMS: list[Form] = ["overlay", "copy"] if os.geteuid() == 0 else ["copy"]
ROOM = Path("/dev/shm") if os.access("/dev/shm", os.W_OK) else None
SPARSE = 1 << 16  # bytes; nearly all of them a hole

Found = tuple[str, int, bytes]  # kind, mode, content
Files = dict[str, Found]
Operation = tuple[str, str, str]

ODD = os.fsdecode(b"odd \xff\n'\"$x")
PATHS = ["a", "b", "d", "d/a", "d/b", "d/e", "d/e/a", "e", "e/a", "e/d/a", ODD, f"{ODD}/a", "-rf", ".wh.a", "ü" * 120]
TREE = {
    "a": ("file", 0o644, b"tracked"), "d": ("folder", 0o755, b""), "d/a": ("file", 0o755, b"tracked"),
    "d/e": ("folder", 0o755, b""), "d/e/a": ("file", 0o644, b"1"), "e": ("link", 0, b"d"),
}  # fmt: skip


def operation(kind: str, *arguments: str) -> st.SearchStrategy[Operation]:
    return st.tuples(st.just(kind), st.sampled_from(PATHS), st.sampled_from(arguments or ("",)))


operations = st.one_of(
    operation("write", "1", "2", "tracked"),
    operation("append", "+"),
    operation("open"),
    operation("sparse"),
    operation("remove"),
    operation("mkdir"),
    operation("make again"),
    operation("chmod", "700", "755", "644", "4755", "2750", "1777"),
    operation("symlink", "a", "d", "../no/where", "/nowhere/at/all", "nothing"),
    operation("link", *PATHS),
    operation("rename", *PATHS),
    operation("fifo"),
)
attempt = st.lists(operations, min_size=1, max_size=6)


@dataclass(frozen=True)
class Plan:
    """One step: attempts that die, then one that passes; `asked` steps later in the run are asked for before that."""

    lost: list[list[Operation]]
    work: list[Operation]
    open: int  # how many steps may be in flight at once when this one is asked for
    turn: int  # which of those in flight is delivered next


plans = st.lists(
    st.builds(Plan, st.lists(attempt, max_size=1), attempt, st.sampled_from([1, 3, 2]), st.integers(0, 2)),
    min_size=2,
    max_size=5,
)


# What a program does.


def perform(root: Path, kind: str, path: str, argument: str) -> None:
    """Do one operation as a program would; what cannot be done is not done."""
    here = root / path
    try:
        _perform(root, here, kind, argument)
    except OSError as error:
        if error.errno in (errno.EIO, errno.ESTALE, errno.EXDEV, errno.ENOSPC):
            raise  # what no plain directory answers


def _perform(root: Path, here: Path, kind: str, argument: str) -> None:
    match kind:
        case "write" | "append" if not _is_pipe(here):
            with here.open("w" if kind == "write" else "a") as file:
                file.write(argument)
        case "open" if not _is_pipe(here):
            here.open("r+").close()
        case "sparse" if not _is_pipe(here):
            with here.open("wb") as file:
                file.seek(SPARSE - 1)
                file.write(b"x")
        case "remove" if here.is_dir() and not here.is_symlink():
            shutil.rmtree(here)
        case "remove":
            here.unlink()
        case "mkdir":
            here.mkdir()
        case "make again" if here.is_dir() and not here.is_symlink():
            shutil.rmtree(here)
            here.mkdir()
        case "chmod" if not here.is_symlink():
            here.chmod(int(argument, 8))
        case "symlink":
            here.symlink_to(argument)
        case "link":
            os.link(here, root / argument, follow_symlinks=False)
        case "rename":
            move(here, root / argument)
        case "fifo":
            os.mkfifo(here)


def _is_pipe(path: Path) -> bool:
    """Opening one would wait for the other end."""
    return path.exists() and not path.is_file() and not path.is_dir()


def move(source: Path, target: Path) -> None:
    """Rename as `mv -T` does: a directory of a lower layer is copied, for an overlay cannot rename it."""
    try:
        source.rename(target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        if target.is_dir() or target.exists() or target.is_symlink():
            target.rmdir()  # or refused, as the rename would be
        shutil.copytree(source, target, symlinks=True, copy_function=_copy)
        shutil.rmtree(source)


def _copy(source: str, target: str) -> None:
    if Path(source).is_file():  # pipes are seen by nobody
        copy_file(Path(source), Path(target))
        shutil.copymode(source, target)


# The model.


def files_of(root: Path) -> Files:
    """Describe everything below a directory; what is no file, directory or link is not there."""
    found: Files = {}
    waiting = [("", str(root))]
    while waiting:
        folder, place = waiting.pop()
        with os.scandir(place) as entries:
            for entry in entries:
                path = f"{folder}/{entry.name}" if folder else entry.name
                status = entry.stat(follow_symlinks=False)
                mode = stat.S_IMODE(status.st_mode)
                if entry.is_symlink():
                    found[path] = ("link", 0, os.fsencode(os.readlink(entry.path)))  # noqa: PTH115
                elif entry.is_dir():
                    found[path] = ("folder", mode, b"")
                    waiting.append((path, entry.path))
                elif entry.is_file():
                    with open(entry.path, "rb") as file:  # noqa: PTH123 - half of the time goes by in here
                        found[path] = ("file", mode, file.read())
                    assert status.st_size < SPARSE or status.st_blocks * 512 < SPARSE // 2, f"{path!r} lost its hole"
    return found


def write_files(root: Path, files: Files) -> None:
    """Make a directory that holds `files`."""
    for path in sorted(files):
        kind, mode, content = files[path]
        here = root / path
        if kind == "link":
            here.symlink_to(os.fsdecode(content))
        elif kind == "folder":
            here.mkdir()
        else:
            with here.open("wb") as file:
                file.seek(len(content) - len(content.lstrip(b"\0")))
                file.write(content.lstrip(b"\0"))
        if kind != "link":
            here.chmod(mode)


@dataclass(frozen=True)
class Changes:
    """What a step made of the files that it found, by comparing all of them."""

    written: Files
    deleted: frozenset[str]
    after: Files

    @classmethod
    def between(cls, before: Files, after: Files) -> "Changes":
        written = {path: found for path, found in after.items() if before.get(path) != found}
        return cls(written, frozenset(before.keys() - after.keys()), after)

    def applied(self, files: Files) -> Files:
        """Delete what is deleted, a directory if nothing is left in it; then write what is written."""
        result = dict(files)
        for path in sorted(self.deleted, reverse=True):
            if not any(other.startswith(f"{path}/") for other in result):
                result.pop(path, None)
        for path in sorted(self.written):
            for each in (*parents(path), path):
                if each == path or result.get(each, ("",))[0] != "folder":
                    if self.after[each][0] != "folder" or result.get(each, ("",))[0] != "folder":
                        result = {other: result[other] for other in result if not other.startswith(f"{each}/")}
                    result[each] = self.after[each]
        return result

    def conflicts(self, other: "Changes") -> set[str]:
        """Tracked paths that both changed differently, and directories that one took from under the other's change."""
        both = (self.written.keys() | self.deleted) & (other.written.keys() | other.deleted)
        found = {path for path in both if self.written.get(path) != other.written.get(path)}
        for one, two in ((self, other), (other, self)):
            gone = two.deleted | {path for path, (kind, *_) in two.written.items() if kind != "folder"}
            found |= gone & {above for path in one.written for above in parents(path)}
        return found & TREE.keys()


# The run.


class Unmapped(Mounter):
    """Mounts as the product's own mounter, but shows owners as they are: this test works as root."""

    def tree(self, path: str, owner: int, attributes: int) -> int:
        return syscalls.open_tree(path.encode(), recursive=False)


MOUNTER = Unmapped(root=True, by_descriptor=True)
CLOSING = ThreadPoolExecutor(4)  # the kernel takes 10 ms to let go of a mount, of which nobody writes to any more


class Shown:
    """A workspace as a step sees it. A mount is attached nowhere, goes with its descriptor, and is made only once."""

    def __init__(self, form: Workspaces, space: Workspace) -> None:
        self.form, self.space, self.view = form, space, space.upper
        self._mount: int | None = None
        if isinstance(mount := space.mount, Overlay):
            lowers = [str(path) for path in mount.lowers]
            wanted = {"lowers": lowers, "upper": str(mount.upper), "work": str(mount.work)}
            spent: list[int] = []
            self._mount = MOUNTER.make(wanted, os.geteuid(), spent)
            for descriptor in spent:
                CLOSING.submit(os.close, descriptor)
            self.view = Path(f"/proc/self/fd/{self._mount}")

    def leave(self) -> None:
        if self._mount is not None:
            CLOSING.submit(os.close, self._mount)

    def commit(self, conflict: bool) -> str | None:
        self.leave()
        layer = self.form.change(self.space).layer
        if not conflict:
            return self.form.commit(self.space, layer).layer
        with pytest.raises(WorkspaceConflict):
            self.form.commit(self.space, layer)
        self.form.discard(self.space)
        return None

    def discard(self) -> None:
        self.leave()
        self.form.discard(self.space)


@dataclass
class Delivered:
    number: int  # in order of asks
    changes: Changes
    layers: tuple[str | None, ...]  # one of each form


@dataclass
class Asked:
    number: int
    plan: Plan
    base: int  # how many had been delivered when it was asked for
    shown: list[Shown]


@dataclass
class Run:
    """One run in every form at once, and in the model."""

    home: Path
    delivered: list[Delivered] = field(default_factory=list)
    told: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.tree = self.home / "tree"
        self.tree.mkdir()
        write_files(self.tree, TREE)
        self.forms = [Workspaces(self.home / form, form) for form in FORMS]

    def play(self, plans: list[Plan]) -> None:
        flying: list[Asked] = []
        for number, plan in enumerate(plans):
            while len(flying) >= plan.open:
                self.deliver(flying.pop(plan.turn % len(flying)))
            flying.append(self.ask(number, plan))
        for asked in reversed(flying):
            self.deliver(asked)
        self.discard(self.ask(len(plans), Plan([], [], 1, 0)))
        for form in self.forms:
            assert list(form.work.iterdir()) == []
            stored = {layer for each in self.delivered for layer in each.layers}
            assert all(f"{path.parent.name}-{path.name}" in stored for path in form.layers.glob("*/*"))

    def ask(self, number: int, plan: Plan) -> Asked:
        base = len(self.delivered)
        return Asked(number, plan, base, self.opened(number, base))

    def below(self, base: int) -> list[Delivered]:
        """Of the steps delivered first, the layers one stands on: the one asked for last is on top."""
        return sorted(self.delivered[:base], key=lambda each: each.number)

    def opened(self, number: int, base: int) -> list[Shown]:
        """Open a workspace in every form; each must show what the model has."""
        expected = self.model(base)
        found = []
        for index, form in enumerate(self.forms):
            layers = [layer for each in self.below(base) if (layer := each.layers[index])]
            found.append(Shown(form, form.open("run", f"step#{number}", layers, self.tree)))
            assert files_of(found[-1].view) == expected
        return found

    def model(self, base: int) -> Files:
        files = dict(TREE)
        for each in self.below(base):
            files = each.changes.applied(files)
        return files

    def discard(self, asked: Asked) -> None:
        for each in asked.shown:
            each.discard()

    def deliver(self, asked: Asked) -> None:
        """Let a step's attempts work, the last of them pass, and commit it."""
        for lost in asked.plan.lost:
            self.told["attempts lost"] += 1
            self.work(asked, lost)
            self.discard(asked)
            asked.shown = self.opened(asked.number, asked.base)
        after = self.work(asked, asked.plan.work)
        changes = Changes.between(self.model(asked.base), after)
        siblings = self.delivered[asked.base :]
        conflict = any(changes.conflicts(sibling.changes) for sibling in siblings)
        layers = tuple(each.commit(conflict) for each in asked.shown)
        if conflict:
            self.told["conflicts"] += 1
            return
        assert {layer is None for layer in layers} == {not (changes.written or changes.deleted)}
        self.delivered.append(Delivered(asked.number, changes, layers))
        self.told["layers"] += layers[0] is not None
        self.told["parallel layers"] += layers[0] is not None and any(each.layers[0] for each in siblings)

    def work(self, asked: Asked, work: list[Operation]) -> Files:
        """Do the same in every form and in a full copy of the model's files, whose files afterwards are returned."""
        plain = Path(tempfile.mkdtemp(dir=self.home))
        write_files(plain, self.model(asked.base))
        for each in work:
            perform(plain, *each)
        after = files_of(plain)
        for shown in asked.shown:
            for each in work:
                perform(shown.view, *each)
            assert files_of(shown.view) == after
        shutil.rmtree(plain)
        return {path: (kind, mode & KEPT_BITS, content) for path, (kind, mode, content) in after.items()}


COUNTED: Counter[str] = Counter()


def as_often(ordinary: int, soak: int) -> Callable[[Any], Any]:
    """A few examples that are always the same, or many new ones."""
    return settings(
        max_examples=soak if SOAK else ordinary,
        derandomize=not SOAK,
        database=None,
        deadline=None,
        phases=[Phase.explicit, Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )


def case(*works: list[Operation], parallel: bool = True) -> list[Plan]:
    return [Plan([], work, 3 if parallel else 1, 0) for work in works]


@pytest.mark.timeout(3600 if SOAK else 300)
@as_often(ordinary=120, soak=10_000)
@given(plans=plans)
@example(plans=case([("write", "d/b", "1")], [("make again", "d", "")]))
@example(plans=case([("write", "a", "2")], [("open", "a", ""), ("write", "b", "1")]))
@example(plans=case([("remove", "d", ""), ("write", "d", "1")], [("remove", "d", "")], parallel=False))
def test_every_step_finds_what_copying_everything_gives(plans: list[Plan]) -> None:
    home = Path(tempfile.mkdtemp(dir=ROOM, prefix="stepwell-model-"))
    try:
        run = Run(home)
        run.play(plans)
        COUNTED.update(run.told, runs=1)
        for what in run.told:
            event(what)
    finally:
        shutil.rmtree(home)


def test_the_runs_above_were_worth_playing() -> None:
    """Nearly all that is interesting happened often enough to mean something."""
    print(f"{dict(COUNTED)} in {len(FORMS)} forms")
    runs = COUNTED["runs"]
    if runs == 0:
        pytest.skip("plays with the runs above")
    assert all(COUNTED[what] > runs / 10 for what in ("layers", "parallel layers", "attempts lost"))
    assert COUNTED["conflicts"] > runs / 100
