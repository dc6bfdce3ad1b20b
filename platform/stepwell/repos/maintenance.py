"""Keeping repositories fast and clean. Only the service does this: git's own gc could break forks.

Unreachable objects go into a cruft pack and stay: a hibernating run may come back to them.
"""

import os
import shutil
import time
from pathlib import Path

from stepwell.repos.process import git_version, run_git

_CRUFT = (2, 37)
_REPACK_S = 3600.0
_STALE_S = 86_400.0


def maintain(repository: Path) -> None:
    """Pack refs and objects, remove what is stale; safe beside pushes, reads and forks.

    Blocks: minutes for a large repository.
    """
    remove_leftovers(repository, time.time() - _STALE_S)
    run_git(repository, ["pack-refs", "--all"], timeout_s=_REPACK_S)
    keep = ["--cruft"] if git_version() >= _CRUFT else ["-a", "-k"]
    run_git(repository, ["repack", "-q", "-d", "-l", "--write-bitmap-index", *keep], timeout_s=_REPACK_S)
    run_git(repository, ["commit-graph", "write", "--reachable"], timeout_s=_REPACK_S)


def remove_leftovers(repository: Path, before: float) -> None:
    """Remove locks and half-received objects older than `before` (seconds since the epoch) that a crash left behind.

    A lock left on a branch would refuse every later push to it. No writer from before that time may be alive.
    """
    locks = [repository / name for name in ("packed-refs.lock", "HEAD.lock", "config.lock")]
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
