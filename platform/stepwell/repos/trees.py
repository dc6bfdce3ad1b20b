"""Walks over the folders of a commit. Links and submodules are never followed.

Ten trees, each with the next one in it ten times, are ten thousand million folders: every walk counts its steps.
"""

from collections.abc import Iterator
from itertools import count

from stepwell.errors import Invalid
from stepwell.repos.objects import Bounds, EntryKind
from stepwell.repos.odb import Odb

_DEEPEST = 100  # folders
MOST_FOLDERS = 50_000  # of one walk


class TooManyFolders(Invalid):
    """The walk was given up."""


def find(odb: Odb, tree: str, path: str) -> tuple[EntryKind, str] | None:
    """Return kind and id of what is at a path below a tree; None when there is nothing."""
    kind: EntryKind = "folder"
    for part in [part for part in path.split("/") if part]:
        if kind != "folder":
            return None
        entry = next(((found, sha) for name, found, _, sha in odb.tree(tree) if name == part), None)
        if entry is None:
            return None
        kind, tree = entry
    return kind, tree


def files(
    odb: Odb, tree: str, prefix: str = "", depth: int = 0, *, steps: Iterator[int] | None = None
) -> Iterator[tuple[str, str]]:
    """Yield path and id of every file below a tree."""
    steps = steps or count()
    _check_depth(prefix, depth, steps)
    for name, kind, _, sha in odb.tree(tree):
        if kind == "folder":
            yield from files(odb, sha, f"{prefix}{name}/", depth + 1, steps=steps)
        elif kind in ("file", "executable"):
            yield prefix + name, sha


def differences(
    odb: Odb, old: str | None, new: str | None, prefix: str = "", depth: int = 0, *, steps: Iterator[int] | None = None
) -> Iterator[str]:
    """Yield the paths that differ; a path may come twice when a file became a folder. Equal folders are not read."""
    if old == new:
        return
    steps = steps or count()
    _check_depth(prefix, depth, steps)
    before = {name: (kind, mode, sha) for name, kind, mode, sha in odb.tree(old)} if old else {}
    after = {name: (kind, mode, sha) for name, kind, mode, sha in odb.tree(new)} if new else {}
    for name in before.keys() | after.keys():
        left, right = before.get(name), after.get(name)
        if left == right:
            continue
        older, newer = (side[2] if side and side[0] == "folder" else None for side in (left, right))
        if older or newer:
            yield from differences(odb, older, newer, f"{prefix}{name}/", depth + 1, steps=steps)
        if any(side and side[0] != "folder" for side in (left, right)):
            yield prefix + name


def read_texts(odb: Odb, tree: str, folder: str, bounds: Bounds) -> dict[str, str]:
    """Return path → text of every file below a tree; raises Invalid naming the file that is no text, or the bound."""
    texts: dict[str, str] = {}
    total = 0
    for path, sha in files(odb, tree):
        shown = f"{folder}/{path}"
        texts[path] = _text(odb.blob(sha, shown, bounds.file_bytes), shown)
        total += len(texts[path])
        if len(texts) > bounds.files or total > bounds.total_bytes:
            raise Invalid(
                f"Folder {folder!r} has more than {bounds.files} files or {bounds.total_bytes:,} bytes."
                " Keep only what the pipeline imports in it."
            )
    return texts


def _text(data: bytes, path: str) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeError as error:
        raise Invalid(f"File {path!r} is not UTF-8 text. Keep binary files outside of that folder.") from error


def _check_depth(prefix: str, depth: int, steps: Iterator[int]) -> None:
    if next(steps) >= MOST_FOLDERS:
        raise TooManyFolders(f"There are more than {MOST_FOLDERS:,} folders below {prefix[:40]!r}.")
    if depth > _DEEPEST:
        raise Invalid(f"Folder {prefix[:80]!r} is nested more than {_DEEPEST} deep.")
