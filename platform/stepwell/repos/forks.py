"""Forks: a run's own repository, which reads the origin's objects and has its own refs and its own new objects.

Written by hand in under a millisecond whatever the size, where `git clone --shared` takes 8 to 3,000 ms. Pins stay out
of it: they would tell one run about the others. The origin must keep the commit as long as the fork lives: see pins.
"""

import contextlib
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

from stepwell.errors import Conflict
from stepwell.repos.refs import read_packed
from stepwell.repos.repositories import LEAN, write_bare

_CONFIG = """\
[core]
\trepositoryformatversion = 0
\tfilemode = true
\tbare = true
\thooksPath = /dev/null
[gc]
\tauto = 0
"""
_OWN = ("heads", "tags")
_PINS = re.compile(rb"^[0-9a-f]+ refs/runs/[^\n]*\n(?:\^[^\n]*\n)?", re.MULTILINE)


def create_fork(origin: Path, fork: Path, commit: str, branch: str | None = None) -> Path:
    """Make the fork with all branches and tags of now; HEAD is the branch, set to the commit, or the commit itself.

    Blocks for less than a millisecond. Raises Conflict when the fork exists.
    """
    fresh = fork.with_name(f".new-{fork.name}")
    if fresh.exists():
        shutil.rmtree(fresh)
    write_bare(fresh, f"ref: refs/heads/{branch}\n" if branch else f"{commit}\n", _CONFIG, LEAN)
    (fresh / "objects" / "info" / "alternates").write_text(f"{origin.resolve()}/objects\n", "utf-8")
    # Loose before packed: a ref that moves from one to the other meanwhile is then seen at least once.
    for kind in _OWN:
        (fresh / "refs" / kind).mkdir()
        copy_refs(f"{origin}/refs/{kind}", f"{fresh}/refs/{kind}", _copy_ref)
    _snapshot(origin / "packed-refs", fresh / "packed-refs")
    if branch:
        _write_branch(fresh / "refs" / "heads" / branch, commit)
    try:
        fresh.rename(fork)
    except OSError as error:
        shutil.rmtree(fresh)
        raise Conflict(f"Fork {fork.name!r} exists already.") from error
    return fork


def remove_fork(fork: Path) -> None:
    """Remove a fork; nothing happens when there is none."""
    try:
        shutil.rmtree(fork)
    except FileNotFoundError:
        return


def copy_refs(source: str, target: str, copy: Callable[[str, str], None]) -> None:
    """Copy the loose refs below a directory into one that is there; for every run, hence texts instead of paths."""
    with os.scandir(source) as entries:
        for entry in entries:
            into = f"{target}/{entry.name}"
            if entry.is_dir(follow_symlinks=False):
                with contextlib.suppress(FileExistsError):
                    os.mkdir(into)  # noqa: PTH102
                with contextlib.suppress(FileNotFoundError):  # its last ref was deleted or packed meanwhile
                    copy_refs(entry.path, into, copy)
            elif not entry.name.endswith(".lock"):
                copy(entry.path, into)


def refs_of(fork: Path) -> dict[str, str]:
    """Return all refs of a fork with their ids."""
    packed = {ref: value.partition("\n")[0] for ref, value in read_packed(fork / "packed-refs").items()}
    loose = (path for path in (fork / "refs").rglob("*") if path.is_file())
    return packed | {path.relative_to(fork).as_posix(): path.read_text("utf-8").strip() for path in loose}


def _copy_ref(source: str, target: str) -> None:
    try:
        content = Path(source).read_bytes()
    except FileNotFoundError:
        return  # deleted or packed meanwhile
    Path(target).write_bytes(content)


def _snapshot(source: Path, target: Path) -> None:
    try:
        packed = source.read_bytes()
    except FileNotFoundError:
        return
    # Sorted, as git and we write them, pins are one block; only that block is looked at line by line.
    start, end = packed.find(b" refs/runs/"), packed.rfind(b" refs/runs/")
    if start >= 0:
        start, end = packed.rfind(b"\n", 0, start) + 1, packed.find(b"\n", end) + 1
        packed = packed[:start] + _PINS.sub(b"", packed[start:end]) + packed[end:]
    target.write_bytes(packed)


def _write_branch(file: Path, commit: str) -> None:
    # Since the push, the branch may have become a folder of branches or the other way round: then those give way.
    if file.is_dir():
        shutil.rmtree(file)
    for parent in file.parents:
        if parent.is_file():
            parent.unlink()
        if parent.name == "heads":
            break
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(f"{commit}\n", "utf-8")
