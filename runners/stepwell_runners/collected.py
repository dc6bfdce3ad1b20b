"""Collected files: what `artifacts=` and `junit=` name is kept per step as blobs, never in a layer.

So three parallel steps that each write junit.xml neither conflict nor see each other's.

An artifact may have been there before the step; a report is the step's own, or a fixture in the repository would be
read as its tests. Links are never followed, not even to files of the workspace: which files leave it is said by
their names. Too many artifacts are refused as a whole, because half of them are no artifacts. Reports are read here,
once, and their numbers are in the journal: lists need not open a file.
"""

import json
import os
import re
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from stepwell.authoring.globs import glob_pattern
from stepwell.ci.junit import Report
from stepwell.errors import Invalid
from stepwell.store.blobs import BlobBatch, BlobFiles
from stepwell.store.masks import Masker, masks_of
from stepwell_runners.layers import File, Folder, Layer, Link, join, parent, parents, tidied
from stepwell_runners.reduce import Stack, open_beneath

SHOWN = 5


class TooMuchCollected(Invalid):
    """More files, or more bytes, than are kept of a step."""


class Unreadable(Invalid):
    """A file that even its owner may not read."""


@dataclass(frozen=True)
class Bound:
    """What is kept at most of what one option names."""

    files: int = 10_000
    bytes: int = 1 << 30
    raised_by: str = ""  # the operator's setting for bytes


REPORTS = Bound(1_000, 32 << 20)


@dataclass(frozen=True)
class Asked:
    """Patterns of the two options."""

    artifacts: tuple[str, ...] = ()
    junit: tuple[str, ...] = ()
    cwd: str = ""  # where the command ran, to say what it has nothing to do with

    def __bool__(self) -> bool:
        return bool(self.artifacts or self.junit)


@dataclass(frozen=True)
class Found:
    """Paths in the workspace that an option names, and the links that it names too."""

    files: tuple[str, ...] = ()
    links: tuple[str, ...] = ()
    bytes: int = 0


@dataclass(frozen=True)
class View:
    """The files as they were when the step ended: what it changed, over what it stood on."""

    layer: Layer
    upper: Path
    base: Stack

    def size(self, path: str) -> int:
        """Give the size of a file, in bytes."""
        node = self.layer.written.get(path) or self.base.node(path)
        return int(getattr(getattr(node, "content", None), "size", 0))

    def open(self, path: str) -> int:
        """Open a file for reading; no component of its path is a link. Raises OSError, Unreadable."""
        try:
            if path in self.layer.written:
                return open_beneath(self.upper, path)
            place = self.base.place(path)
            if place is None:
                raise FileNotFoundError(path)
            return os.open(place, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
        except PermissionError as error:  # where Stepwell is not root
            raise Unreadable(f"{shown(path)} cannot be kept: its mode lets nobody read it. Give it another.") from error


@dataclass
class Collected:
    """What was kept. `facts` are for the journal, `notes` for the step's log; `files` leave the layer."""

    facts: dict[str, Any] | None = None
    files: tuple[str, ...] = ()
    notes: list[str] = field(default_factory=list)


class Collector:
    """Keeps collected files as blobs of their run."""

    def __init__(self, blobs: BlobFiles, artifacts: Bound) -> None:
        self._blobs = blobs
        self._artifacts = artifacts

    def collect(self, run: str, asked: Asked, view: View, masks: Sequence[str] = ()) -> Collected:
        """Keep what a step's options name; on disk when this returns. Raises TooMuchCollected, OSError.

        `masks` are the step's secrets: what reports say of tests stands on pages, as logs do.
        """
        result = Collected()
        artifacts = find(asked.artifacts, view)
        reports = find(asked.junit, view, own=True)
        check("artifacts=", artifacts, self._artifacts)
        reports = _bounded(reports, result.notes)
        for patterns, found in ((asked.artifacts, artifacts), (asked.junit, reports)):
            result.notes += _notes(patterns, found, asked.cwd)
        result.files = tuple(sorted({*artifacts.files, *reports.files}))
        if result.files:
            batch = self._blobs.batch(run)
            try:
                read = _masked(_read(reports.files, view), masks) if reports.files else None
                result.notes += [f"Report {path}: {why}" for path, why in (read.problems if read else [])[:SHOWN]]
                result.facts = _kept(batch, {"artifacts": artifacts.files, "reports": reports.files}, view, read)
                batch.keep()
            finally:
                batch.drop()
        return result


def _bounded(reports: Found, notes: list[str]) -> Found:
    """Leave reports out that are too much: the tests have passed or failed without them."""
    try:
        check("junit=", reports, REPORTS)
    except TooMuchCollected as error:
        notes.append(f"{error} No report was read.")
        return Found(links=reports.links)
    return reports


def _read(paths: Sequence[str], view: View) -> Report:
    report = Report()
    for path in paths:
        with os.fdopen(view.open(path), "rb") as source:
            report.add(shown(path), source)
    return report


def _masked(report: Report, secrets: Sequence[str]) -> Report:
    masker = Masker(masks_of(secrets))
    for n, case in enumerate(report.cases if secrets else ()):
        told = "\0".join((case.group, case.name, case.message, case.text, case.file))  # no XML has the separator
        clean = masker.clean(told.encode("utf-8", "replace")).decode("utf-8", "replace")
        if clean != told:
            group, name, message, text, file = clean.split("\0")
            report.cases[n] = replace(case, group=group, name=name, message=message, text=text, file=file)
    return report


def _kept(batch: BlobBatch, wanted: Mapping[str, Sequence[str]], view: View, report: Report | None) -> dict[str, Any]:
    """Copy the files and the list of them."""
    ids: dict[str, int] = {}
    numbers: dict[str, tuple[int, int]] = {}
    listed: dict[str, Any] = {}
    facts: dict[str, Any] = {}
    for kind, paths in wanted.items():
        for path in paths:
            if path not in numbers:
                id, size = _copy(batch, view, path)
                numbers[path] = ids.setdefault(id, len(ids)), size
        listed[kind] = [[shown(path), numbers[path][1], numbers[path][0]] for path in paths]
        facts[kind] = len(paths)
        facts[f"{kind}_bytes"] = sum(numbers[path][1] for path in paths)
    if report is not None:
        id, size = batch.add_bytes(json.dumps(report.as_json(), separators=(",", ":")).encode())
        ids.setdefault(id, len(ids))
        facts["tests"] = {"id": id, "size": size, **report.counts()}
    manifest = json.dumps({"blobs": list(ids), **listed}, separators=(",", ":"))
    id, size = batch.add_bytes(manifest.encode())
    return {"id": id, "size": size, **facts}


def _copy(batch: BlobBatch, view: View, path: str) -> tuple[str, int]:
    with os.fdopen(view.open(path), "rb") as source:
        if not stat.S_ISREG(os.fstat(source.fileno()).st_mode):
            raise OSError(f"{path!r} is no regular file any more")
        return batch.add(source)


def shown(path: str) -> str:
    """Give a path as text: bytes that are no UTF-8 become escapes."""
    return path.encode("utf-8", "backslashreplace").decode()


def find(patterns: Sequence[str], view: View, *, own: bool = False) -> Found:
    """Return what matches after the step; with `own`, only what it wrote itself."""
    if not patterns:
        return Found()
    nodes = {path: node for path, node in view.layer.written.items() if _matches(path, patterns)}
    files = {path for path, node in nodes.items() if isinstance(node, File)}
    links = {path for path, node in nodes.items() if isinstance(node, Link)}
    for start in () if own else _starts(patterns):
        for path, node in _walk(view.base, start):
            if _matches(path, patterns) and _remains(path, view.layer):
                (files if isinstance(node, File) else links).add(path)
    return Found(tuple(sorted(files)), tuple(sorted(links)), sum(map(view.size, files)))


def find_files(patterns: Sequence[str], base: Stack) -> list[tuple[str, Path]]:
    """Return the files and links of a stack that match, by path, with where on the host they are."""
    found = {path for start in _starts(patterns) for path, _ in _walk(base, start) if _matches(path, patterns)}
    places = ((path, base.place(path)) for path in sorted(found))
    return [(path, place) for path, place in places if place is not None]


def check(option: str, found: Found, bound: Bound) -> None:
    """Refuse what is beyond a bound."""
    if len(found.files) > bound.files:
        raise TooMuchCollected(
            f"{option} names {len(found.files):,} files; at most {bound.files:,} are kept of a step. "
            "Name fewer, or pack them into one file."
        )
    if found.bytes > bound.bytes:
        raised = f" The operator sets the limit: {bound.raised_by}." if bound.raised_by else ""
        raise TooMuchCollected(
            f"{option} names files of {found.bytes:,} bytes; at most {bound.bytes:,} ({bound.bytes >> 20} MiB) "
            f"are kept of a step. Name fewer, or make them smaller.{raised}"
        )


def _notes(patterns: Sequence[str], found: Found, cwd: str) -> list[str]:
    notes = []
    if patterns and not found.files:
        below = f'Patterns begin at the top of the workspace, not in cwd={cwd!r}: write "{tidied(cwd)}/…".'
        every = 'To name all files below a folder, write "folder/**".'
        notes.append(f"No file matches {', '.join(patterns)}. {below if tidied(cwd) else every}")
    if found.links:
        more = f" and {len(found.links) - SHOWN} more" if len(found.links) > SHOWN else ""
        named = ", ".join(map(shown, found.links[:SHOWN]))
        notes.append(f"Links are not collected, only files: {named}{more}.")
    return notes


def without(layer: Layer, files: Sequence[str], base: Stack) -> Layer:
    """Return `layer` less the collected files, and less the directories that were made for nothing else."""
    taken = set(files)
    written = {path: node for path, node in layer.written.items() if path not in taken}
    for folder in sorted({above for path in taken for above in parents(path)}, reverse=True):
        if folder in written and base.node(folder) is None and not any(parent(path) == folder for path in written):
            del written[folder]
    wanted = {above for path in written for above in parents(path)}
    return replace(layer, written=written, passed={path: layer.passed[path] for path in layer.passed if path in wanted})


def _remains(path: str, layer: Layer) -> bool:
    if path in layer.deleted or path in layer.written:
        return False
    return all(isinstance(layer.written.get(above, Folder(0)), Folder) for above in parents(path))


def _walk(base: Stack, start: str) -> list[tuple[str, File | Link]]:
    """List the regular files and links of the stack at or under `start`."""
    found: list[tuple[str, File | Link]] = []
    waiting = [start]
    while waiting:
        path = waiting.pop()
        node = base.node(path)
        if isinstance(node, File | Link):
            found.append((path, node))
        elif isinstance(node, Folder) or not path:
            waiting += [join(path, name) for name in base.names(path)]
    return found


def _starts(patterns: Sequence[str]) -> list[str]:
    """Return where to look: the directories at the start of the patterns, none within another."""
    starts = {_fixed(pattern) for pattern in patterns}
    return sorted(one for one in starts if not one or not starts & {"", *parents(one)})


def _fixed(pattern: str) -> str:
    """Return the directories at the start of a pattern that contain no wildcard, or the whole pattern."""
    parts = tidied(pattern).split("/")
    for number, part in enumerate(parts):
        if re.search(r"[*?\[]", part):
            return "/".join(parts[:number])
    return "/".join(parts)


def _matches(path: str, patterns: Sequence[str]) -> bool:
    return any(glob_pattern(tidy).fullmatch(path) for pattern in patterns if (tidy := tidied(pattern)))
