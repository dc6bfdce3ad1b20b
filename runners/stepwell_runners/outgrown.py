"""How much an attempt has written, watched while it runs: no file system here counts that for one directory.

Looking is cheap as long as little is written: only when the whole disk has lost enough is the directory walked, and
what a walk takes is waited ten times over before the next one. Every file counts at least what file systems commonly
set aside for one inode, for they run out of inodes as well as of bytes.
"""

import asyncio
import os
import time
from pathlib import Path

_LOOK_SECONDS = 1.0
INODE = 16 << 10  # bytes
_STEP = 16  # a walk each time the disk has lost this part of the limit


async def outgrown(upper: Path | None, limit: int) -> None:
    """Return when more than `limit` bytes are below `upper`; never without a directory."""
    if upper is None:
        await asyncio.get_running_loop().create_future()
        return
    free = await asyncio.to_thread(_free, upper)
    pause = _LOOK_SECONDS
    while True:
        await asyncio.sleep(pause)
        left = await asyncio.to_thread(_free, upper)
        pause = _LOOK_SECONDS
        if free - left < limit // _STEP:
            free = max(free, left)  # others have given some back
            continue
        begun = time.monotonic()
        if await asyncio.to_thread(size, upper, limit) > limit:
            return
        free = left
        pause = max(_LOOK_SECONDS, 10 * (time.monotonic() - begun))


def size(top: Path, enough: int, least: int = INODE) -> int:
    """Bytes on disk below a directory that others write to, links not followed; stops counting above `enough`.

    Each file and directory counts `least` bytes at least.
    """
    found, folders = 0, [str(top)]
    while folders and found <= enough:
        try:
            with os.scandir(folders.pop()) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        folders.append(entry.path)
                    found += max(least, entry.stat(follow_symlinks=False).st_blocks * 512)
        except OSError:
            continue  # it was removed meanwhile, or its path is too long to be seen
    return found


def _free(place: Path) -> int:
    """Bytes and inodes that are left, as bytes."""
    status = os.statvfs(place)
    return status.f_bfree * status.f_frsize + status.f_ffree * INODE
