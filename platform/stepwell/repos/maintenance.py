"""Keeping repositories fast and clean. Only the service does this: git's own gc could break forks.

Packs are rolled up geometrically: each has at least twice the objects of all smaller ones together, so that what is
new is packed together and what is large is seldom written again. An index over all packs, with bitmaps, keeps clones
and lookups as fast as one pack would. Unreachable objects stay, packed as all others: a hibernating run may come back
to them. Readers that have a pack open keep it when it goes, and whoever misses one looks again, as git does.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path

from stepwell.errors import Invalid, Unavailable
from stepwell.repos.common_memory import COMMON
from stepwell.repos.process import bound, environment
from stepwell.repos.refs import loose_files

LOOSE_OBJECTS, PACKS, LOOSE_REFS = 2_000, 20, 1_000
"""With more of any, a repository needs maintenance."""
MEMORY_BYTES = 2 * 1024**3
_FOLDERS = 256
_REPACK_S = 3600
_STALE_S = 86_400.0
_LOOK_S = 0.2
_PATIENCE_S = 5.0
_NICE = 10
_WINDOW = 8
"""The objects that deltas are looked for in have this part of the memory."""


class Left(Exception):
    """Maintenance was ended because it is not wanted any more."""


def needs_maintenance(repository: Path) -> bool:
    """Say whether there are many packs, loose objects (estimated from one folder in 256, as git does) or loose refs.

    Each run copies loose tags into its fork, and each page with a choice of branches opens the files of all refs.
    """
    objects = repository / "objects"
    if sum(len(name) == 38 for name in _names(objects / "17")) > -(-LOOSE_OBJECTS // _FOLDERS):
        return True
    if next(islice(loose_files(f"{repository}/refs"), LOOSE_REFS, None), None):
        return True
    names = set(_names(objects / "pack"))
    return sum(name.endswith(".pack") and f"{name[:-5]}.keep" not in names for name in names) > PACKS


def maintain(
    repository: Path, *, memory_bytes: int = MEMORY_BYTES, is_wanted: Callable[[], bool] = lambda: True
) -> None:
    """Pack refs and objects, remove what is stale; safe beside pushes, reads and forks.

    Blocks: minutes for a large repository. Raises Left soon after it is not wanted, Invalid with git's own words.
    """

    def run(*arguments: str) -> None:
        _run(repository, arguments, memory_bytes, is_wanted)

    remove_leftovers(repository, time.time() - _STALE_S)
    run("pack-refs", "--all")
    run(
        "repack", "-q", "-d", "-l", "--geometric=2", "--write-midx", "--write-bitmap-index",
        f"--window-memory={memory_bytes // _WINDOW}",
    )  # fmt: skip
    run("commit-graph", "write", "--reachable")


def remove_leftovers(repository: Path, before: float) -> None:
    """Remove locks and half-received objects older than `before` (seconds since the epoch) that a crash left behind.

    A lock left on a branch would refuse every later push to it. No writer from before that time may be alive.
    """
    locks = [repository / name for name in ("packed-refs.lock", "HEAD.lock", "config.lock")]
    locks += [repository / "objects" / name for name in ("info/commit-graph.lock", "pack/multi-pack-index.lock")]
    for folder, _, files in os.walk(repository / "refs"):
        locks += [Path(folder) / name for name in files if name.endswith(".lock")]
    for lock in locks:
        if _older(lock, before):
            lock.unlink(missing_ok=True)
    objects = repository / "objects"
    for half in (*objects.glob("tmp_objdir-*"), *objects.glob("pack/tmp_*"), *objects.glob("pack/.tmp-*")):
        if _older(half, before):
            shutil.rmtree(half) if half.is_dir() else half.unlink(missing_ok=True)


def _older(path: Path, before: float) -> bool:
    try:
        return path.lstat().st_mtime < before
    except FileNotFoundError:
        return False


def _names(folder: Path) -> list[str]:
    try:
        return [path.name for path in folder.iterdir()]
    except FileNotFoundError:
        return []


def _run(repository: Path, arguments: Sequence[str], memory_bytes: int, is_wanted: Callable[[], bool]) -> None:
    """Run git within its bounds, behind everybody else."""
    command = ["git", "--git-dir", str(repository), *arguments]
    with tempfile.TemporaryFile() as words:
        try:
            process = subprocess.Popen(
                command, env=environment(), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=words,
                process_group=0,
            )  # fmt: skip
        except FileNotFoundError as error:
            raise Unavailable("Program 'git' was not found on PATH. Install git 2.34 or later.") from error
        try:
            bound(process.pid, memory_bytes, _REPACK_S)
            COMMON.watch(process.pid)
            with contextlib.suppress(ProcessLookupError):
                os.setpriority(os.PRIO_PGRP, process.pid, _NICE)
            _wait(process, arguments[0], is_wanted)
        finally:
            _end(process)
        if process.returncode != 0:
            words.seek(0)
            told = words.read().decode("utf-8", "replace").strip()[-2000:]
            raise Invalid(f"git {arguments[0]} ended with exit code {process.returncode}: {told or 'no message'}")


def _wait(process: "subprocess.Popen[bytes]", what: str, is_wanted: Callable[[], bool]) -> None:
    until = time.monotonic() + _REPACK_S
    while True:
        if not is_wanted():
            raise Left(what)
        if time.monotonic() > until:
            raise Invalid(f"git {what} was ended after {_REPACK_S} seconds.")
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_LOOK_S)
            return


def _end(process: "subprocess.Popen[bytes]") -> None:
    """End git and what it has started; asked first, it removes its locks, which would refuse pushes."""
    if process.poll() is not None:
        return
    for how in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, how)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_PATIENCE_S)
            return
