"""What an attempt did in `.git`: read after its last process is dead, as data that a stranger wrote.

Branches, tags and HEAD are compared with those that the attempt was given; where they moved, the objects behind them
are taken in (see intake) and kept with the layer. Everything else of `.git` goes with the attempt: index, config,
hooks, stashes, remote-tracking refs. A `.git` that is no directory any more, or another one, is not looked into.
"""

import os
import shutil
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from stepwell.errors import Invalid
from stepwell.repos.captured import BRANCHES, TAGS, Captured, RefChange, is_id, is_ref
from stepwell.repos.intake import MOST_BYTES, MOST_OBJECTS, Wanted, take_in
from stepwell_runners.layers import File, reduce
from stepwell_runners.reduce import Stack, entries, is_opaque, open_beneath, scan
from stepwell_runners.run_forks import GitView

MOST_REFS = 1_000
_MOST_FILES = 20_000  # below refs/, beyond those that were there
_MOST_PACKED = 8 << 20  # bytes, likewise
_LONGEST = 1_024  # bytes of a file with one ref
_SYMBOLIC = "ref: "
REPLACED = (
    "This step removed or replaced .git: commits and tags in it are not kept. "
    "To keep them, work in the one that is there."
)
CLOSED = "This step closed .git for its owner: commits and tags in it are not kept."


@dataclass(frozen=True)
class Left:
    """Where an attempt wrote: its upper directory, a complete copy where there was no overlay; what it was given."""

    upper: Path
    is_copy: bool
    git: GitView
    commit: str  # of the run
    step: str = ""  # its name


def capture(left: Left, target: Path) -> tuple[Captured | None, str]:
    """Keep what an attempt did in git as the directory `target`, and say what was; (None, why) when nothing is.

    Raises Invalid for what cannot be kept as it is: the step has then not done what it meant to do.
    """
    place = left.upper / ".git"
    given = left.git.lower / ".git"
    try:
        if not left.is_copy and not any(os.path.lexists(place / name) for name in ("HEAD", "refs", "packed-refs")):
            return None, REPLACED if os.path.lexists(place) and _is_replaced(place, left) else ""
        if _is_replaced(place, left):
            return None, REPLACED
        before, after = _refs(given, given, is_copy=True), _refs(place, given, is_copy=left.is_copy)
        found = Captured(left.commit, _changes(before, after), _head(place, given, after, left.is_copy), left.step)
        if not found:
            return None, ""
        target.mkdir()
        _take_objects(place, found, [*before.values(), left.commit, *_detached(given)], left, target)
    except PermissionError:  # where Stepwell is not root
        return None, CLOSED
    except OSError as error:
        raise Invalid(f"What the step committed cannot be kept: {error.strerror or error}.") from error
    found.write(target)
    return found, f"Kept with this step: {found.described()}." if found.refs else ""


def _is_replaced(place: Path, left: Left) -> bool:
    """Whether `.git` is not the directory any more that the attempt was given."""
    for part in ("", "refs", "objects", "objects/info"):
        here = place / part
        if not os.path.lexists(here):
            if left.is_copy:
                return True
            continue
        if not stat.S_ISDIR(here.lstat().st_mode) or (not left.is_copy and is_opaque(str(here))):
            return True
    alternates = place / "objects/info/alternates"
    return (left.is_copy or os.path.lexists(alternates)) and _text(alternates, 4096) != f"{left.git.at}\n"


def _refs(place: Path, given: Path, *, is_copy: bool) -> dict[str, str]:
    """Return branches and tags of `place`, which lies over `given`."""
    most = _MOST_PACKED + _size(given / "packed-refs")
    packed = _text(place / "packed-refs", most)
    if packed is None and not is_copy and not os.path.lexists(place / "packed-refs"):
        packed = _text(given / "packed-refs", most)
    found = dict(_packed(packed or ""))
    loose = _loose(given) if place == given else _merged(place, given, is_copy)
    return {**found, **loose}


def _merged(place: Path, given: Path, is_copy: bool) -> dict[str, str]:
    """Return the loose refs of an overlay: what its upper has or hides, over the others."""
    if not os.path.lexists(place / "refs"):
        return _loose(given)
    before = _loose(given)
    for count, _ in enumerate(entries(place / "refs")):
        if count > 2 * len(before) + _MOST_FILES:
            raise Invalid(f"The step left more than {_MOST_FILES:,} files below .git/refs. Keep fewer branches, tags.")
    lowers = [given / "refs"] if (given / "refs").exists() else []  # most forks have packed ones only
    layer = reduce(scan(place / "refs", {""} if is_copy else ()), Stack(lowers))
    result = {ref: id_ for ref, id_ in before.items() if ref.removeprefix("refs/") not in layer.deleted}
    for path, node in layer.written.items():
        if isinstance(node, File) and (id_ := _value(f"refs/{path}", _text(place / "refs" / path, _LONGEST))):
            result[f"refs/{path}"] = id_
    return result


def _loose(given: Path) -> dict[str, str]:
    """Return the loose refs of a `.git` of ours."""
    found = {}
    for kind in ("heads", "tags"):
        for path in (given / "refs" / kind).rglob("*"):
            if path.is_file():
                found[path.relative_to(given).as_posix()] = path.read_text("utf-8").strip()
    return found


def _packed(text: str) -> Iterator[tuple[str, str]]:
    for line in text.splitlines():
        id_, _, ref = line.partition(" ")
        if ref.startswith((BRANCHES, TAGS)) and is_id(id_):
            yield ref, id_


def _value(ref: str, text: str | None) -> str:
    """Return the id in the file of a branch or tag; "" for what is none and does not count."""
    if not ref.startswith((BRANCHES, TAGS)) or ref.endswith(".lock") or text is None:
        return ""
    id_ = text.strip()
    if not is_id(id_):
        raise Invalid(f"The step left {ref[:200]!r} without the id of a commit in it. Make branches and tags with git.")
    return id_


def _changes(before: Mapping[str, str], after: Mapping[str, str]) -> dict[str, RefChange]:
    moved = [ref for ref in sorted({*before, *after}) if before.get(ref) != after.get(ref)]
    if len(moved) > MOST_REFS:
        raise Invalid(f"The step moved {len(moved):,} branches and tags; at most {MOST_REFS:,} are kept. Move fewer.")
    for ref in moved:
        if not is_ref(ref):
            raise Invalid(f"The step made {ref[:200]!r}, which is no name of a branch or tag. Choose another.")
    return {ref: RefChange(before.get(ref), after.get(ref)) for ref in moved}


def _head(place: Path, given: Path, refs: Mapping[str, str], is_copy: bool) -> str:
    """Return where HEAD is if it has moved, and to something that is there."""
    if not is_copy and not os.path.lexists(place / "HEAD"):
        return ""
    text = (_text(place / "HEAD", _LONGEST) or "").strip()
    if text == (given / "HEAD").read_text("utf-8").strip():
        return ""
    if text.startswith(_SYMBOLIC):
        return text if text.removeprefix(_SYMBOLIC) in refs and text.startswith(_SYMBOLIC + BRANCHES) else ""
    return text if is_id(text) else ""


def _detached(given: Path) -> list[str]:
    """Return the commit at which HEAD was left by earlier steps: what leads there was made by them, not by this one."""
    text = (given / "HEAD").read_text("utf-8").strip()
    return [text] if is_id(text) else []


def _take_objects(place: Path, found: Captured, known: list[str], left: Left, target: Path) -> None:
    wanted = [(ref, change.after) for ref, change in found.refs.items() if change.after]
    if found.head and not found.head.startswith(_SYMBOLIC):
        wanted.append((BRANCHES + "HEAD", found.head))
    if not wanted:
        return
    objects = [path for path in (left.git.objects, left.git.lower / ".git/objects") if path.exists()]
    asked = Wanted(wanted, sorted(set(known)), left.git.objects.parent, objects)
    listed = _listed(place)
    scratch = target.with_name(f"{target.name}.scratch")
    scratch.mkdir()
    try:
        loose, packs = ((open_beneath(place, path) for path in paths) for paths in listed)
        take_in(loose, packs, asked, scratch, target / "objects")
    finally:
        shutil.rmtree(scratch)


def _listed(place: Path) -> tuple[list[str], list[str]]:
    """Return the files with loose objects, and packs."""
    loose: list[str] = []
    packs: list[str] = []
    count = size = 0
    if not os.path.lexists(place / "objects"):
        return [], []
    for path, entry in entries(place / "objects"):
        status = entry.stat(follow_symlinks=False)
        if not stat.S_ISREG(status.st_mode):
            continue
        folder, _, name = path.rpartition("/")
        is_loose = len(folder) == 2 and is_id(folder + name)
        if not is_loose and not (folder == "pack" and name.endswith(".pack")):
            continue
        (loose if is_loose else packs).append(f"objects/{path}")
        count, size = count + 1, size + status.st_size
        if count > MOST_OBJECTS or size > MOST_BYTES:
            raise Invalid(
                f"What the step committed is too much: at most {MOST_OBJECTS:,} new objects and {MOST_BYTES >> 20} MiB "
                "are kept of a step. Hand large files on in the workspace, or as artifacts."
            )
    return loose, packs


def _size(given: Path) -> int:
    """Return the size of a file of ours; 0 when there is none."""
    return given.stat().st_size if given.exists() else 0


def _text(path: Path, most: int) -> str | None:
    """Read a small regular file, not following a link; None when it is none. Raises Invalid beyond the bound."""
    try:
        status = path.lstat()
        if not stat.S_ISREG(status.st_mode):
            return None
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC), "rb") as file:
            data = file.read(most + 1)
    except FileNotFoundError:
        return None
    if len(data) > most:
        raise Invalid(f"The step left a file of more than {most:,} bytes as .git/{path.name}. Keep fewer refs.")
    return data.decode("utf-8", "replace")
