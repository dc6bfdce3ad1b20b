"""The shelf: directories that are made once per key, read by many attempts, and go when they take too much space.

A directory appears under its key only when it is complete and on disk. The longest unused goes first, and never one
that an attempt holds: its files may be mapped into running programs. What each takes is counted once, when it is made.
"""

import asyncio
import os
import secrets
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

from stepwell.store.durable import sync_file_system, sync_folder
from stepwell_runners.outgrown import size
from stepwell_runners.reduce import remove

DEFAULT_LIMIT = 20 << 30  # bytes


class Shelf:
    """Keeps directories below `folder`, about `limit` bytes of them. Lives on one event loop."""

    def __init__(self, folder: Path, limit: int = DEFAULT_LIMIT) -> None:
        self.folder = folder
        self.limit = limit
        self._sizes = folder / ".sizes"
        self._sizes.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o700)  # what strangers made lies here before it is looked at
        self._holders: Counter[str] = Counter()
        self._locks: dict[str, asyncio.Lock] = {}

    @asynccontextmanager
    async def held(
        self, key: str, make: Callable[[Path], Awaitable[None]], wait: Callable[[], None] = lambda: None
    ) -> AsyncIterator[Path]:
        """Hold the directory of `key`, filled by `make` when it is new; `wait` is told when another is at it."""
        async with self._held(key, make, wait) as place:
            assert place is not None
            yield place

    def found(self, key: str, wait: Callable[[], None] = lambda: None) -> AbstractAsyncContextManager[Path | None]:
        """Hold the directory of `key` if there is one; when another is at making it, that one's."""
        return self._held(key, None, wait)

    @asynccontextmanager
    async def _held(
        self, key: str, make: Callable[[Path], Awaitable[None]] | None, wait: Callable[[], None]
    ) -> AsyncIterator[Path | None]:
        place = self.folder / key
        self._holders[key] += 1
        try:
            lock = self._locks.setdefault(key, asyncio.Lock())
            if lock.locked():
                wait()
            async with lock:
                there = place.exists()
                if not there and make is not None:
                    await self._make(key, make)
                    await self._trim()
                    there = True
            if there:
                await asyncio.to_thread(os.utime, self._sizes / key)
            yield place if there else None
        finally:
            self._holders[key] -= 1
            if not self._holders[key]:
                del self._holders[key], self._locks[key]

    def recover(self) -> None:
        """Remove what a crash cut short, and count what has not been counted."""
        for scrap in self.folder.glob(".*"):
            if scrap != self._sizes:
                remove(scrap)
        for place in self.folder.glob("[!.]*"):
            if not (self._sizes / place.name).exists():
                self._count(place)
        for counted in self._sizes.iterdir():
            if not (self.folder / counted.name).exists():
                counted.unlink()

    async def _make(self, key: str, make: Callable[[Path], Awaitable[None]]) -> None:
        fresh = self.folder / f".new-{secrets.token_hex(6)}"
        try:
            await make(fresh)
            await asyncio.to_thread(self._publish, fresh, self.folder / key)
        finally:
            await asyncio.shield(asyncio.to_thread(remove, fresh))

    def _publish(self, fresh: Path, place: Path) -> None:
        sync_file_system(fresh)
        fresh.rename(place)
        sync_folder(place.parent)
        self._count(place)

    def _count(self, place: Path) -> None:
        (self._sizes / place.name).write_text(str(size(place, 1 << 60, least=0)))

    async def _trim(self) -> None:
        """Remove what was unused for longest until the rest is within the limit."""
        counted = await asyncio.to_thread(self._counted)
        total = sum(bytes_ for _, bytes_, _ in counted)
        for _, bytes_, key in counted:
            if total <= self.limit:
                return
            if self._holders[key]:
                continue
            del self._holders[key]
            scrap = self.folder / f".old-{secrets.token_hex(6)}"
            (self.folder / key).rename(scrap)  # on the loop: nobody can begin to hold it meanwhile
            (self._sizes / key).unlink()
            total -= bytes_
            await asyncio.to_thread(remove, scrap)

    def _counted(self) -> list[tuple[float, int, str]]:
        """(last used, bytes, key), the longest unused first."""
        return sorted((at.stat().st_mtime, int(at.read_text()), at.name) for at in self._sizes.iterdir())
