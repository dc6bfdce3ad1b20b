"""Collected files: what `junit=` and `artifacts=` name is kept per step, beside the workspace and never in a layer.

So three parallel steps that each write junit.xml neither conflict nor see each other's.
"""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import quote

from stepwell.authoring.globs import glob_pattern
from stepwell_runners.layers import File, Folder, Layer, join, parent, parents
from stepwell_runners.reduce import Stack, copy_file, remove
from stepwell_runners.workspaces import sync_file_system, sync_folder

_PLAIN = re.compile(r"[A-Za-z0-9_-]{1,100}")
MOST_FILES = 10_000
MOST_BYTES = 1 << 30


@dataclass(frozen=True)
class Collected:
    """What was found: `files` are paths in the workspace; `left_out` says in words what the bounds kept out."""

    files: tuple[str, ...]
    left_out: str = ""


def folder_of(state: Path, run: str, key: str) -> Path:
    """Return where the collected files of a step are kept."""
    return folder_of_run(state, run) / quote(key, safe="")


def folder_of_run(state: Path, run: str) -> Path:
    """Return where the collected files of all steps of a run are kept, and nothing else."""
    # Ids are callers' own: ".." would lead elsewhere, and this directory is removed with the run.
    name = run if _PLAIN.fullmatch(run) else f"run-{hashlib.sha256(run.encode()).hexdigest()[:20]}"
    return state / "artifacts" / name


def find(patterns: Sequence[str], layer: Layer, base: Stack) -> Collected:
    """Return the files that match after the step: those it wrote, and those that were there before."""
    found = {path for path, node in layer.written.items() if isinstance(node, File) and _matches(path, patterns)}
    for pattern in patterns:
        found |= {path for path in _walk(base, _fixed(pattern)) if _matches(path, [pattern]) and _remains(path, layer)}
    return _bounded(sorted(found), layer, base)


def without(layer: Layer, files: Sequence[str], base: Stack) -> Layer:
    """Return `layer` less the collected files, and less the directories that were made for nothing else."""
    taken = set(files)
    written = {path: node for path, node in layer.written.items() if path not in taken}
    for folder in sorted({above for path in taken for above in parents(path)}, reverse=True):
        if folder in written and base.node(folder) is None and not any(parent(path) == folder for path in written):
            del written[folder]
    wanted = {above for path in written for above in parents(path)}
    return replace(layer, written=written, passed={path: layer.passed[path] for path in layer.passed if path in wanted})


def keep(files: Sequence[str], layer: Layer, upper: Path, base: Stack, target: Path) -> None:
    """Copy collected files to `target`."""
    for path in files:
        source = upper / path if path in layer.written else base.place(path)
        if source is not None:
            (target / path).parent.mkdir(parents=True, exist_ok=True)
            copy_file(source, target / path)


def publish(fresh: Path, target: Path) -> None:
    """Put a directory of collected files in the place of an earlier attempt's."""
    target.parent.mkdir(parents=True, exist_ok=True)
    remove(target)
    sync_file_system(fresh)
    fresh.rename(target)
    sync_folder(target.parent)


def _bounded(paths: Sequence[str], layer: Layer, base: Stack) -> Collected:
    files: list[str] = []
    total = 0
    for path in paths:
        node = layer.written.get(path) or base.node(path)
        total += getattr(getattr(node, "content", None), "size", 0)
        if len(files) >= MOST_FILES or total > MOST_BYTES:
            rest = len(paths) - len(files)
            return Collected(tuple(files), f"{rest} more files, from {path!r} on, are over the bound and were not kept")
        files.append(path)
    return Collected(tuple(files))


def _remains(path: str, layer: Layer) -> bool:
    if path in layer.deleted or path in layer.written:
        return False
    return all(isinstance(layer.written.get(above, Folder(0)), Folder) for above in parents(path))


def _walk(base: Stack, start: str) -> list[str]:
    """List the regular files of the stack at or under `start`."""
    found: list[str] = []
    waiting = [start]
    while waiting:
        path = waiting.pop()
        node = base.node(path)
        if isinstance(node, File):
            found.append(path)
        elif isinstance(node, Folder):
            waiting += [join(path, name) for name in base.names(path)]
    return found


def _fixed(pattern: str) -> str:
    """Return the directories at the start of a pattern that contain no wildcard, or the whole pattern."""
    parts = _tidy(pattern).split("/")
    for number, part in enumerate(parts):
        if re.search(r"[*?\[]", part):
            return "/".join(parts[:number])
    return "/".join(parts)


def _tidy(pattern: str) -> str:
    return "/".join(part for part in pattern.split("/") if part not in ("", "."))


def _matches(path: str, patterns: Sequence[str]) -> bool:
    return any(glob_pattern(tidy).fullmatch(path) for pattern in patterns if (tidy := _tidy(pattern)))
