"""Workspaces: the files that a step sees, and the protocol by which what it changed becomes a layer.

An attempt stands on the tree of its commit and the layers of the steps whose results its code had seen. It writes into
an upper of its own; nobody else sees a byte of it before it is committed:

    every process dead → unmounted → reduce → meta.json → syncfs → rename into layers/ → fsync of the directories
    → (the engine journals the result)

`.git` is laid over the tree as a layer of its own and is no part of `lowers`. Branches and tags that a step moved, with
their objects, are kept beside its files (see git_capture); all else of `.git` is removed before its changes are read.

A crash before the rename leaves a directory in work/, after it a layer that no journal entry names; `recover` removes
both. So a layer is there exactly when its step is done. An empty layer, what most checks leave, skips all of it.

On disk: layers/<run>/<n>/{files/, git/, meta.json} and, for stacks in which a parallel layer changed what it stands on,
on-<digest>/ made of hard links to files/. A directory that may be mounted is never changed again.
"""

import contextlib
import errno
import hashlib
import json
import os
import secrets
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from stepwell.engine.seams import Attempt
from stepwell.errors import Conflict, Invalid
from stepwell.repos.captured import FOLDER, RECORD, Captured, parts_of, short
from stepwell.store.durable import sync_file_system, sync_folder
from stepwell.store.small_files import make_folder
from stepwell_runners import reduce as disk
from stepwell_runners.caching import Held
from stepwell_runners.keyed_locks import KeyedLocks
from stepwell_runners.layers import File, Folder, Layer, Link, Upper, conflicts, overlaps, reduce, unpack
from stepwell_runners.run_forks import GitView
from stepwell_runners.spec import Directory, Mount, Overlay

Form = Literal["overlay", "copy"]
Showing = Callable[[Path], tuple[Path, ...]]


class WorkspaceConflict(Conflict):
    """Two parallel steps changed the same tracked paths, or refs, differently; `paths` names them."""

    def __init__(self, paths: Sequence[str], step: str, *, did: str = "changed the same tracked files") -> None:
        shown = ", ".join(paths[:5]) + (f" and {len(paths) - 5} more" if len(paths) > 5 else "")
        super().__init__(
            f"This step and the parallel step {step!r} {did} differently: {shown}. "
            "Run them one after the other, or let one of them write elsewhere."
        )
        self.paths = tuple(paths)


@dataclass(frozen=True)
class Meta:
    """What is kept about a layer beside its files."""

    id: str
    run: str
    key: str
    tree: str
    base: tuple[str, ...]
    deleted: frozenset[str]
    folders: Mapping[str, int]  # directories it made or gave another mode
    passed: Mapping[str, int]  # directories it only went through

    def to_json(self) -> str:
        fields = {**self.__dict__, "base": list(self.base), "deleted": sorted(self.deleted)}
        return json.dumps(fields, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> "Meta":
        fields: dict[str, Any] = json.loads(text)
        return cls(**{**fields, "base": tuple(fields["base"]), "deleted": frozenset(fields["deleted"])})


@dataclass(frozen=True)
class Workspace:
    """One attempt's files: `lowers` are what it stands on, topmost first; `place` is its directory under work/."""

    id: str
    run: str
    key: str
    tree: str
    base: tuple[str, ...]
    lowers: tuple[Path, ...]
    place: Path
    mount: Mount
    git: GitView | None = None
    beside: tuple[str, ...] = ()  # layers of its run when it was opened, also those adopted from another run
    held: Held | None = None  # caches, which it sees on top of `lowers`, and which are no part of them

    @property
    def upper(self) -> Path:
        """Where its writes are on the host."""
        return self.mount.upper if isinstance(self.mount, Overlay) else self.mount.path

    @property
    def captured(self) -> Path:
        """Where what it did in git is kept until it is committed, if it did something there."""
        return self.place / FOLDER

    @property
    def over(self) -> tuple[Path, ...]:
        """The content of its caches."""
        return self.held.lowers if self.held else ()

    @property
    def stack(self) -> disk.Stack:
        """What it stands on."""
        return disk.Stack(self.lowers)


@dataclass(frozen=True)
class Change:
    """What an attempt did to its workspace, before it is committed."""

    upper: Upper
    layer: Layer


@dataclass(frozen=True)
class Committed:
    """A layer on disk, None when there is nothing to keep; `overlaps` are (path, parallel step) pairs for the log."""

    layer: str | None
    overlaps: tuple[tuple[str, str], ...] = ()


class Workspaces:
    """Opens, commits and removes workspaces below a state directory. Methods block; call them from a thread."""

    def __init__(self, state: Path, form: Form = "overlay", shown: Showing | None = None) -> None:
        """`shown` says what the files of a tree are read from, topmost first, if not its own directory."""
        self.state = state
        self._shown = shown or (lambda tree: (tree,))
        self.form = form
        self.layers = state / "layers"
        self.work = state / "work"
        self.owner = (os.geteuid(), os.getegid())
        self._locks = KeyedLocks()
        self._meta = lru_cache(maxsize=512)(self._read_meta)
        self._fitted = lru_cache(maxsize=512)(self._fit)
        for path in (self.layers, self.work, state / "trees" / "empty"):
            path.mkdir(parents=True, exist_ok=True)

    def open(
        self,
        run: str,
        key: str,
        base: Sequence[str],
        tree: Path | None,
        form: Form | None = None,
        *,
        git: GitView | None = None,
        beside: Sequence[str] = (),
        held: Held | None = None,
    ) -> Workspace:
        """Make a clean workspace. Nothing is mounted yet: who boots the isolate or container does that."""
        tree = tree or self.state / "trees" / "empty"
        name = f"{_run_folder(run)}-{secrets.token_hex(6)}"
        place = self.work / name
        make_folder(str(place))
        make_folder(f"{place}/upper")
        lowers = self.lowers(tuple(base), tree)
        shown = (*(git.lowers if git else ()), *(held.lowers if held else ()), *lowers)
        mount: Mount = Directory(place / "upper")
        if (form or self.form) == "overlay":
            make_folder(f"{place}/work")
            mount = Overlay(shown, place / "upper", place / "work")
        else:
            disk.copy(disk.Stack(shown), place / "upper")
        beneath = (str(tree), tuple(base), lowers)
        return Workspace(name, run, key, *beneath, place, mount, git, tuple(beside), held)

    def lowers(self, base: tuple[str, ...], tree: Path) -> tuple[Path, ...]:
        """Return the directories that show `tree` under the layers of `base`, topmost first."""
        return (*(self._fitted(base[: n + 1], tree) for n in reversed(range(len(base)))), *self._shown(tree))

    def change(self, workspace: Workspace) -> Change:
        """Read what an attempt changed. Every process of it is dead, and it is unmounted.

        Raises Invalid for what it has closed so that this server, as an ordinary user, could not read it again.
        """
        disk.remove(workspace.upper / ".git")
        complete = {""} if isinstance(workspace.mount, Directory) else ()
        try:
            upper = disk.scan(workspace.upper, complete)
            layer = reduce(upper, workspace.stack)
        except PermissionError as error:
            raise _closed(os.path.relpath(error.filename or workspace.upper, workspace.upper)) from error
        if self.owner[0] != 0:
            for path, node in layer.written.items():
                if isinstance(node, File | Folder) and _NEEDED[type(node)] & ~node.mode:
                    raise _closed(path)
        return Change(upper, layer)

    def commit(self, workspace: Workspace, layer: Layer) -> Committed:
        """Make `layer`, a part of what `change` returned, and `captured` durable.

        Raises WorkspaceConflict, OSError on a full disk.
        """
        if layer.empty and not workspace.captured.exists():
            self.discard(workspace)
            return Committed(None)
        with self._locks.of(_run_folder(workspace.run)):
            siblings = self._siblings(workspace)
            self._check(workspace, layer, siblings)
            self._check_refs(workspace, siblings)
            overlapping = _overlapping(layer, siblings)
            self._publish(workspace, layer)
        return Committed(workspace.id, overlapping)

    def adopt(self, source: str, attempt: Attempt, tree: Path) -> Committed:
        """Make a layer of the attempt's own of another run's. Raises WorkspaceConflict, FileNotFoundError."""
        layer = self.load(source)
        name = f"{_run_folder(attempt.run)}-{secrets.token_hex(6)}"
        place = self.work / name
        beneath = (str(tree), attempt.base, self.lowers(attempt.base, tree))
        mount = Directory(place / "upper")
        workspace = Workspace(name, attempt.run, attempt.key, *beneath, place, mount, None, attempt.layers)
        fresh = place / "layer"
        fresh.mkdir(parents=True)
        try:
            disk.relink(self._place(source) / "files", fresh / "files", unpack(layer, workspace.stack))
            with self._locks.of(_run_folder(attempt.run)):
                siblings = self._siblings(workspace)
                self._check(workspace, layer, siblings)
                self._appear(workspace, layer, fresh)
        except BaseException:
            self.discard(workspace)
            raise
        return Committed(name, _overlapping(layer, siblings))

    def captured(self, base: Sequence[str], commit: str) -> tuple[Path, ...]:
        """Return what the steps behind these layers did in git, the oldest first; of runs of this commit."""
        return tuple(parts_of(self.layers, base, commit)) if base else ()

    def captured_of(self, layer: str) -> Captured | None:
        """Return what the step behind a layer did in git, if anything."""
        part = self._place(layer) / FOLDER
        return Captured.read(part) if part.exists() else None

    def load(self, layer: str) -> Layer:
        """Read a layer. Raises FileNotFoundError when it is not kept any more."""
        return self._load(self._meta(layer))

    def discard(self, workspace: Workspace) -> None:
        """Remove everything of an attempt that is not committed."""
        disk.remove(workspace.place)

    def drop(self, layer: str) -> None:
        """Remove a layer that no journal names, or no longer."""
        place = self._place(layer)
        with self._locks.of(place.parent.name):
            disk.remove(place)
            with contextlib.suppress(OSError):  # others of the run are there, or none ever were
                place.parent.rmdir()

    def missing(self, layers: Iterable[str]) -> list[str]:
        """Name the layers that are not there."""
        return [layer for layer in layers if not (self._place(layer) / "meta.json").exists()]

    def recover(self, committed: Callable[[str], bool], kept: Collection[Path] = ()) -> None:
        """Remove what a crash left: attempts but the `kept`, layers that no journal entry names. None begins yet."""
        for place in self.work.iterdir():
            if place not in kept:
                disk.remove(place)
        for folder in self.layers.iterdir():
            names = [path.name for path in folder.iterdir()]
            lost = [name for name in names if not committed(f"{folder.name}-{name}")]
            for name in lost:
                disk.remove(folder / name)
            if len(lost) == len(names):
                folder.rmdir()

    def _place(self, layer: str) -> Path:
        folder, _, name = layer.partition("-")
        return self.layers / folder / name

    def _read_meta(self, layer: str) -> Meta:
        return Meta.from_json((self._place(layer) / "meta.json").read_text())

    def _load(self, meta: Meta) -> Layer:
        """Read a layer from disk."""
        entries = disk.scan(self._place(meta.id) / "files").entries
        written = {path: node for path, node in entries.items() if isinstance(node, File | Link)}
        folders = {path: Folder(mode) for path, mode in meta.folders.items()}
        passed = {path: Folder(mode) for path, mode in meta.passed.items()}
        return Layer({**written, **folders}, meta.deleted, passed)

    def _fit(self, base: tuple[str, ...], tree: Path) -> Path:
        """Return the directory that shows the last layer of `base` on the others: as stored, or unpacked anew."""
        meta = self._meta(base[-1])
        place = self._place(meta.id)
        if meta.base == base[:-1] and meta.tree == str(tree):
            return place / "files"
        layer = self._load(meta)
        wanted = unpack(layer, disk.Stack(self.lowers(base[:-1], tree)))
        if wanted == Upper(disk.scan(place / "files").entries):
            return place / "files"
        digest = hashlib.sha256(json.dumps([*base, str(tree)]).encode()).hexdigest()[:16]
        target = place / f"on-{digest}"
        if not target.exists():
            fresh = self.work / f"{meta.id}-{digest}-{secrets.token_hex(4)}"
            disk.relink(place / "files", fresh, wanted)
            _rename_new(fresh, target)
        return target

    def _siblings(self, workspace: Workspace) -> list[tuple[Meta, Layer]]:
        """Return the run's layers that this attempt did not stand on."""
        folder = self.layers / _run_folder(workspace.run)
        own = [f"{folder.name}-{path.name}" for path in sorted(folder.iterdir())] if folder.exists() else []
        ids = [id for id in dict.fromkeys([*workspace.beside, *own]) if id not in workspace.base]
        return [(self._meta(id), self._load(self._meta(id))) for id in ids]

    def _check(self, workspace: Workspace, layer: Layer, siblings: Iterable[tuple[Meta, Layer]]) -> None:
        tracked = disk.Stack(self._shown(Path(workspace.tree)))
        for meta, other in siblings:
            if meta.key != workspace.key and (paths := conflicts(layer, other, tracked)):
                raise WorkspaceConflict(paths, meta.key)

    def _check_refs(self, workspace: Workspace, siblings: Iterable[tuple[Meta, Layer]]) -> None:
        """Refuse a branch or tag that a parallel step has set otherwise: the swap is lost."""
        if not workspace.captured.exists():
            return
        mine = Captured.read(workspace.captured).refs
        for meta, _ in siblings:
            part = self._place(meta.id) / FOLDER
            if meta.key == workspace.key or not (part / RECORD).exists():
                continue
            theirs = Captured.read(part).refs
            if lost := [ref for ref in mine if ref in theirs and theirs[ref].after != mine[ref].after]:
                raise WorkspaceConflict([short(ref) for ref in lost], meta.key, did="moved the same branches or tags")

    def _publish(self, workspace: Workspace, layer: Layer) -> None:
        """Write the neutral form, then make it appear at once and for good."""
        wanted = unpack(layer, workspace.stack)
        disk.settle(workspace.upper, wanted, self.owner)
        fresh = workspace.place / "layer"
        fresh.mkdir()
        workspace.upper.rename(fresh / "files")
        self._appear(workspace, layer, fresh)

    def _appear(self, workspace: Workspace, layer: Layer, fresh: Path) -> None:
        if workspace.captured.exists():
            workspace.captured.rename(fresh / FOLDER)
        (fresh / "meta.json").write_text(_meta_of(workspace, layer).to_json())
        target = self._place(workspace.id)
        is_first = not target.parent.exists()
        target.parent.mkdir(exist_ok=True)
        sync_file_system(fresh)
        fresh.rename(target)
        sync_folder(target.parent)
        if is_first:
            sync_folder(self.layers)
        disk.remove(workspace.place)


_NEEDED = {File: 0o400, Folder: 0o500}  # what an owner needs to read


def _closed(path: str) -> Invalid:
    return Invalid(
        f"The step left {path!r} closed for its owner, so later steps could not be given it. "
        "Let the step end with: chmod -R u+rwX on what it closed, or remove that."
    )


def _meta_of(workspace: Workspace, layer: Layer) -> Meta:
    folders = {path: node.mode for path, node in layer.written.items() if isinstance(node, Folder)}
    passed = {path: node.mode for path, node in layer.passed.items()}
    return Meta(
        workspace.id, workspace.run, workspace.key, workspace.tree, workspace.base, layer.deleted, folders, passed
    )


def _overlapping(layer: Layer, siblings: Iterable[tuple[Meta, Layer]]) -> tuple[tuple[str, str], ...]:
    return tuple((path, meta.key) for meta, other in siblings for path in overlaps(layer, other))


def layers_of(state: Path, run: str) -> Path:
    """Return the directory with all layers of a run."""
    return state / "layers" / _run_folder(run)


def _run_folder(run: str) -> str:
    """Return a file name for a run's id, whatever characters that has."""
    return hashlib.sha256(run.encode()).hexdigest()[:20]


def _rename_new(source: Path, target: Path) -> None:
    """Rename a directory to a place that another thread may have filled meanwhile with the same content."""
    try:
        source.rename(target)
    except OSError as error:
        if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
            raise
        disk.remove(source)
