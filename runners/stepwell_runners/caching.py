"""Caches of a step: what `cache=` names is there before the command and kept after it passed, never in a layer.

The content is one more read-only directory of the workspace's stack, on top of the commit and the layers. So restoring
copies nothing, and what the step changed of it is known without reading the rest: unchanged caches are not saved again,
changed ones share the files that are the same. Without overlays the content is copied, as everything is then.

A path that the commit or an earlier step has made is theirs: nothing is restored over it and nothing is saved of it.
"""

import hashlib
import os
import re
import stat
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from time import time
from typing import Any

from stepwell.engine.seams import CacheRights
from stepwell.store.caches import CacheFiles, CacheKey
from stepwell_runners.collected import find_files, shown
from stepwell_runners.layers import File, Folder, Layer, Link, Node, Upper, parent, parents, reduce, tidied
from stepwell_runners.reduce import OnDisk, Stack, cleanse, remove, scan

MOST_BYTES = 4 << 30
MOST_ENTRIES = 300_000
_HASHED = re.compile(r"\{([^{}]+)\}")


@dataclass(frozen=True)
class CacheAsked:
    """One cache as the author wrote it; `{pattern}` in a key stands for a hash of the files that match."""

    key: str
    paths: tuple[str, ...]
    fallback: tuple[str, ...] = ()

    @classmethod
    def of(cls, option: Mapping[str, Any]) -> "CacheAsked":
        """Read the option's JSON form."""
        return cls(str(option["key"]), tuple(map(tidied, option["paths"])), tuple(option.get("fallback") or ()))


@dataclass
class Restored:
    """A cache of an attempt: its key, and the directory that it was restored from, if there was any."""

    asked: CacheAsked
    key: str
    found: CacheKey | None = None
    files: Path | None = None

    @property
    def exact(self) -> bool:
        return self.found is not None and self.found.key == self.key


@dataclass
class Held:
    """The caches of one attempt, kept from being removed until it is over."""

    repository: str
    rights: CacheRights
    stack: ExitStack
    restored: list[Restored] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def lowers(self) -> tuple[Path, ...]:
        """The directories to mount on top of the workspace's."""
        return tuple(one.files for one in self.restored if one.files is not None)

    @property
    def roots(self) -> tuple[str, ...]:
        """Every path that is no part of the step's layer."""
        return tuple(path for one in self.restored for path in one.asked.paths)

    def close(self) -> None:
        """Let go of them: nothing of the attempt is mounted any more."""
        self.stack.close()


@dataclass(frozen=True)
class Left:
    """What an attempt of `run` left: its changes, where they are, and what they were made on without the caches."""

    upper: Upper
    place: Path
    base: Stack
    run: str


@dataclass(frozen=True)
class Sources:
    """Where the files of new content come from: what the step changed, and the content before it, if any."""

    change: Layer
    upper: Path
    old: Path | None


@dataclass(frozen=True)
class Ready:
    """What is saved once the step has passed for good."""

    key: CacheKey
    fresh: Path


class Caching:
    """Restores and saves caches. Methods block; call them from a thread."""

    def __init__(self, files: CacheFiles) -> None:
        self._files = files

    def recover(self) -> None:
        """Remove what a crash left."""
        self._files.recover()

    def restore(self, asked: Sequence[CacheAsked], repository: str, rights: CacheRights, base: Stack) -> Held:
        """Find what a step's caches have, and hold it. `close` it when the attempt is over."""
        held = Held(repository, rights, ExitStack())
        try:
            for one in asked:
                self._restore(one, held, base)
        except BaseException:
            held.close()
            raise
        return held

    def _restore(self, asked: CacheAsked, held: Held, base: Stack) -> None:
        taken = [path for path in asked.paths if is_taken(path, base)]
        if taken:
            held.notes.append(
                f"Cache {asked.key}: {', '.join(map(shown, taken))} is there from the commit or an earlier step, so "
                "nothing is restored or saved. Cache a directory that only this step makes."
            )
            return
        empty: list[str] = []
        key = key_of(asked.key, base, empty)
        result = Restored(asked, key)
        prefixes = [key_of(one, base, empty) for one in asked.fallback]
        if empty:
            held.notes.append(
                f"Cache {asked.key}: no file matches {', '.join(dict.fromkeys(empty))}, so that part of the key never "
                "changes. A pattern begins at the top of the workspace: **/NAME finds a file anywhere."
            )
        result.found = self._files.find(held.repository, held.rights.reads, [key], prefixes, asked.paths)
        if result.found is not None:
            result.files = held.stack.enter_context(self._files.held(held.repository, result.found))
        if result.files is None:
            result.found = None
        held.restored.append(result)
        held.notes.append(_told(result, self._other_paths(result, held)))

    def _other_paths(self, one: Restored, held: Held) -> list[str]:
        """Return the paths of caches that have this one's key and are others for their paths; of one not there only."""
        if one.exact:
            return []
        known = self._files.keys(held.repository)
        same = [kept for kept in known if kept.key == one.key and kept.branch in held.rights.reads]
        return sorted({", ".join(kept.paths) for kept in same if kept.paths != one.asked.paths})

    def prepare(self, held: Held, left: Left) -> tuple[list[Ready], list[str]]:
        """Move out what is worth saving, before the workspace's changes become a layer; with notes for the log."""
        ready: list[Ready] = []
        notes: list[str] = []
        for one in held.restored:
            try:
                made = self._prepare(one, held, left)
            except OSError as error:
                made = f"Cache {one.key} is not saved: {error.strerror or error}."
            if isinstance(made, str):
                notes += [made] if made else []
            else:
                ready.append(made)
        return ready, notes

    def _prepare(self, one: Restored, held: Held, left: Left) -> Ready | str:
        own = (one.files,) if one.files is not None else ()
        before = Stack([*own, *left.base.lowers])
        change = reduce(_within(left.upper, one.asked.paths), before)
        change = replace(change, deleted=frozenset(path for path in change.deleted if _is_in(path, one.asked.paths)))
        if change.empty and one.exact:
            return ""
        old = scan(one.files).entries if one.files is not None else {}
        nodes = _after(old, change, one.asked.paths)
        if not nodes:
            return f"Cache {one.key} is not saved: there is nothing at {', '.join(one.asked.paths)}."
        if held.rights.writes is None:
            return f"Cache {one.key} is not saved: only runs of branches save caches."
        size = sum(map(_size, nodes.values()))
        if size > MOST_BYTES or len(nodes) > MOST_ENTRIES:
            return (
                f"Cache {one.key} is not saved: {len(nodes):,} entries of {size:,} bytes; at most {MOST_ENTRIES:,} of "
                f"{MOST_BYTES >> 30} GiB are kept in one cache. Name fewer paths, or clean them up in the command."
            )
        fresh = self._files.fresh(held.repository)
        try:
            digest = fill(fresh / "files", nodes, Sources(change, left.place, one.files))
        except BaseException:
            remove(fresh)
            raise
        now, files = time(), sum(isinstance(node, File) for node in nodes.values())
        key = CacheKey(one.key, held.rights.writes, one.asked.paths, digest, size, files, now, now, left.run)
        return Ready(key, fresh)

    def save(self, held: Held, ready: Iterable[Ready]) -> list[str]:
        """Keep what `prepare` gave; with notes for the log. Of a step that did not pass after all, `drop` it."""
        notes = []
        for one in ready:
            try:
                self._files.keep(held.repository, one.fresh, one.key)
                notes.append(f"Cache {one.key.key} is saved: {_files(one.key.files)}, {one.key.bytes:,} bytes.")
            except OSError as error:
                notes.append(f"Cache {one.key.key} is not saved: {error.strerror or error}.")
        self.drop(ready)
        return notes

    def drop(self, ready: Iterable[Ready]) -> None:
        """Forget what is not saved."""
        for one in ready:
            remove(one.fresh)


def _told(one: Restored, others: Sequence[str]) -> str:
    apart = f" That of the same key with {' and with '.join(others)} is another one: paths count." if others else ""
    if one.found is None:
        return f"Cache {one.key} is not there yet.{apart}"
    from_branch = f" of {one.found.branch}" if one.found.branch else ""
    if one.exact:
        return f"Cache {one.key}{from_branch} is restored: {_files(one.found.files)}."
    return (
        f"Cache {one.key} is not there yet; {one.found.key}{from_branch} is restored: {_files(one.found.files)}.{apart}"
    )


def _files(count: int) -> str:
    return f"{count:,} file{'' if count == 1 else 's'}"


def key_of(template: str, base: Stack, empty: list[str]) -> str:
    """Fill a key: `{pattern}` becomes a hash of the names and contents of the files that match before the step.

    Patterns that match nothing are added to `empty`.
    """

    def hashed(match: re.Match[str]) -> str:
        files = list(find_files([match[1]], base))
        if not files:
            empty.append(match[1])
        return hash_files(files)

    return _HASHED.sub(hashed, template)


def hash_files(files: Iterable[tuple[str, Path]]) -> str:
    """Hash files by their names, modes and contents; a link by where it points."""
    total = hashlib.sha256()
    for path, place in files:
        status = place.lstat()
        content = os.fsencode(place.readlink()) if stat.S_ISLNK(status.st_mode) else b""
        if stat.S_ISREG(status.st_mode):
            with place.open("rb") as file:
                content = hashlib.file_digest(file, "sha256").digest()
        kind = "x" if status.st_mode & 0o100 else stat.filemode(status.st_mode)[0]
        total.update(repr((path, kind, content)).encode("utf-8", "surrogateescape"))
    return total.hexdigest()[:32]


def is_taken(path: str, base: Stack) -> bool:
    """Say whether something stands at a path, or something else than a directory above it."""
    above = (base.node(one) for one in parents(path))
    return base.node(path) is not None or any(node is not None and not isinstance(node, Folder) for node in above)


def strip(layer: Layer, roots: Sequence[str], base: Stack) -> Layer:
    """Return `layer` without what is below `roots`, and without the directories that stand there only for them."""
    if not roots:
        return layer
    written = {path: node for path, node in layer.written.items() if not _is_in(path, roots)}
    for folder in sorted({above for root in roots for above in parents(root)}, reverse=True):
        if isinstance(written.get(folder), Folder) and (
            isinstance(base.node(folder), Folder) or not any(parent(path) == folder for path in written)
        ):
            del written[folder]  # as the cache's content has it, not as the step made it
    deleted = frozenset(path for path in layer.deleted if not _is_in(path, roots))
    return Layer(written, deleted, {path: node for path, node in layer.passed.items() if not _is_in(path, roots)})


def fill(target: Path, nodes: Mapping[str, Node], sources: Sources) -> str:
    """Make `target` hold `nodes`, unchanged files as links to those of before; its digest."""
    total = hashlib.sha256()
    folders = {above for path in nodes for above in parents(path)} | {p for p, n in nodes.items() if _is_folder(n)}
    for path in sorted(folders):
        (target / path).mkdir()
    for path in sorted(nodes):
        node, place = nodes[path], target / path
        content = b""
        if isinstance(node, Link):
            place.symlink_to(node.target)
            content = os.fsencode(node.target)
        elif isinstance(node, File):
            _put(path, node, sources, place)
            with place.open("rb") as file:
                content = hashlib.file_digest(file, "sha256").digest()
        mode = 0 if isinstance(node, Link) else node.mode
        total.update(repr((path, type(node).__name__, mode, content)).encode("utf-8", "surrogateescape"))
    for path in sorted(folders, reverse=True):
        made = nodes.get(path)
        (target / path).chmod((made.mode if isinstance(made, Folder) else 0o755) | 0o700)
    return total.hexdigest()


def _put(path: str, node: File, sources: Sources, place: Path) -> None:
    """Move what the step wrote, which is no part of its layer, and link what it left alone."""
    if path in sources.change.written:
        (sources.upper / path).rename(place)
        cleanse(place, place.lstat(), (os.geteuid(), os.getegid()))
        place.chmod(node.mode | 0o400)
    else:
        assert sources.old is not None
        os.link(sources.old / path, place)


def _after(old: Mapping[str, Node | None], change: Layer, roots: Sequence[str]) -> dict[str, Node]:
    """Return what is below `roots` after the step."""
    nodes = {path: node for path, node in old.items() if node is not None and path not in change.deleted}
    nodes.update(change.written)
    nodes = {path: node for path, node in nodes.items() if _is_in(path, roots)}
    return {p: n for p, n in nodes.items() if all(_is_folder(nodes.get(above, Folder(0))) for above in parents(p))}


def _within(upper: Upper, roots: Sequence[str]) -> Upper:
    entries = {path: node for path, node in upper.entries.items() if _is_in(path, roots) or _is_above(path, roots)}
    return Upper(entries, frozenset(path for path in upper.opaque if not path or path in entries))


def _is_in(path: str, roots: Sequence[str]) -> bool:
    return any(path == root or path.startswith(root + "/") for root in roots)


def _is_above(path: str, roots: Sequence[str]) -> bool:
    return any(root.startswith(path + "/") for root in roots)


def _is_folder(node: Node | None) -> bool:
    return isinstance(node, Folder)


def _size(node: Node) -> int:
    return node.content.size if isinstance(node, File) and isinstance(node.content, OnDisk) else 0
