"""How much running attempts hold on disk, watched while they run: no file system here counts that for a directory.

One look serves all of them. It is cheap as long as little is written: only when the disk has lost enough, or a minute
has gone by, are their directories walked, and what a walk takes is waited ten times over before the next one. Every
file counts at least what file systems commonly set aside for one inode, for they run out of inodes as well as of bytes.
When the disk has lost more than the walks explain, files without a name are looked for (`nameless.py`).

Others write and remove on the same disk meanwhile. That may cause a walk too many, or hide growth for a minute.
"""

import asyncio
import os
import time
from collections import defaultdict
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

from stepwell_runners import nameless

_LOOK_SECONDS = 1.0
_LONGEST_SECONDS = 60.0  # between two walks
INODE = 16 << 10  # bytes
_STEP = 16  # a walk each time the disk has lost this part of a limit
_NAMELESS = 8  # this part of that unexplained: at most an eighth of what has a name goes unseen
_PATH = 3_500  # characters that the kernel takes at once, and some to spare

Whose = Literal["disk", "tenant disk"]


class Halting(Protocol):
    """A command in an isolate: `init` is its process 1 as the host sees it."""

    init: int

    def halt(self) -> None:
        """Have every process but the first stopped soon; for those that are gone it does nothing."""
        ...

    def go_on(self) -> None:
        """Have them continue."""
        ...


@dataclass(eq=False)
class Writer:
    """An attempt that writes below `upper`; `process` has isolates' means to stand still, if it is one."""

    tenant: str
    upper: Path
    limit: int  # bytes
    tenant_limit: int  # bytes of all writers of its tenant together
    process: "Halting | None" = None
    size: int = 0  # when last walked
    nameless: int = 0  # of it
    excess: "asyncio.Future[Whose]" = field(default_factory=lambda: asyncio.get_running_loop().create_future())
    rests_until: float = 0.0

    @property
    def step(self) -> int:
        """So much may be lost without a look."""
        return min(self.limit, self.tenant_limit) // _STEP

    def walk(self) -> int:
        """Measure what has a name; how much all of it has grown."""
        begun, before = time.monotonic(), self.size
        self.size = size(self.upper, self.limit) + self.nameless
        self.rests_until = time.monotonic() + 10 * (time.monotonic() - begun)
        return self.size - before

    async def search(self) -> None:
        """Measure what has no name; the processes stand still meanwhile."""
        if self.process is None:
            return
        self.process.halt()
        try:
            found = await asyncio.to_thread(nameless.held, self.process.init)
        finally:
            self.process.go_on()
        self.size, self.nameless = self.size - self.nameless + found, found


class DiskWatch:
    """Watches all attempts of a runner. Belongs to one event loop."""

    def __init__(self) -> None:
        self._writers: set[Writer] = set()
        self._looking: asyncio.Task[None] | None = None

    async def outgrown(self, writer: Writer) -> Whose:
        """Return which bound this writer went beyond: its own, or its tenant's as the one that holds most."""
        self._writers.add(writer)
        if self._looking is None or self._looking.done() or self._looking.cancelling():
            self._looking = asyncio.create_task(self._look())
        try:
            return await writer.excess
        finally:
            self._writers.discard(writer)
            if not self._writers:
                self._looking.cancel()

    async def _look(self) -> None:
        free: dict[int, int] = {}  # by device: what was left when its writers were last walked
        walked = time.monotonic()
        while self._writers:
            left = await asyncio.to_thread(_left, tuple(self._writers))
            due = time.monotonic() - walked > _LONGEST_SECONDS
            for device, (now, writers) in left.items():
                free[device] = max(free.get(device, now), now)  # others have given some back
                lost = free[device] - now
                if due or lost >= min(writer.step for writer in writers):
                    await _measure(writers, lost)
                    free[device] = now
            if due:
                walked = time.monotonic()
            _judge(self._writers)
            await asyncio.sleep(_LOOK_SECONDS)


def _left(writers: Collection[Writer]) -> dict[int, tuple[int, list[Writer]]]:
    """By device: bytes and inodes that are left, as bytes, and who writes there."""
    found: dict[int, tuple[int, list[Writer]]] = {}
    for writer in writers:
        with suppress(OSError):  # it has just ended
            device = writer.upper.stat().st_dev
            if device not in found:
                status = os.statvfs(writer.upper)
                found[device] = (status.f_bfree * status.f_frsize + status.f_ffree * INODE, [])
            found[device][1].append(writer)
    return found


async def _measure(writers: Collection[Writer], lost: int) -> None:
    """Walk them, those with the most work last; what one explains the next need not."""
    for writer in sorted(writers, key=lambda one: one.rests_until):
        if time.monotonic() >= writer.rests_until:
            lost -= await asyncio.to_thread(writer.walk)
            if writer.nameless or lost >= writer.step // _NAMELESS:
                before = writer.size
                await writer.search()
                lost -= writer.size - before


def _judge(writers: Collection[Writer]) -> None:
    """Tell those that went too far."""
    held: dict[str, list[Writer]] = defaultdict(list)
    for writer in writers:
        if writer.size > writer.limit:
            _tell(writer, "disk")
        elif not writer.excess.done():
            held[writer.tenant].append(writer)
    for together in held.values():
        together.sort(key=lambda one: one.size)
        while together and sum(one.size for one in together) > min(one.tenant_limit for one in together):
            _tell(together.pop(), "tenant disk")


def _tell(writer: Writer, whose: Whose) -> None:
    if not writer.excess.done():
        writer.excess.set_result(whose)


def size(top: Path, enough: int, least: int = INODE) -> int:
    """Bytes on disk below a directory that others write to, links not followed; stops counting above `enough`.

    Each file and directory counts `least` bytes at least.
    """
    found, folders = 0, [str(top)]
    while folders and found <= enough:
        folder = folders.pop()
        try:
            descriptor = _open(folder)
        except OSError:
            continue  # it was removed meanwhile
        try:
            with os.scandir(descriptor) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        folders.append(f"{folder}/{entry.name}")
                    with suppress(OSError):
                        found += max(least, entry.stat(follow_symlinks=False).st_blocks * 512)
        except OSError:
            continue  # as much as could be read counts
        finally:
            os.close(descriptor)
    return found


def _open(folder: str) -> int:
    """Open a directory, piece by piece where its path is longer than the kernel takes: nothing hides that deep."""
    at: int | None = None
    while True:
        cut = len(folder) if len(folder) <= _PATH else folder.rindex("/", 1, _PATH)
        try:
            opened = os.open(folder[:cut], os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=at)
        finally:
            if at is not None:
                os.close(at)
        if cut == len(folder):
            return opened
        at, folder = opened, folder[cut + 1 :]
