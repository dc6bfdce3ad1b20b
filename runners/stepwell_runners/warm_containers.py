"""The pool of containers that wait: as many of each kind as ran at a time lately, within a bound, and none for long.

A container that waits has been created and started, which is what takes a tenth of a second and more. It serves one
attempt of the tenant it was made for, and goes with it. Refilling begins a moment after an attempt did, so that it
does not take the processor from the attempt's own first moments; when memory is short nothing is added. Whoever asks
while one of the kind is being made waits for that one: it is there sooner than another would be.
"""

import asyncio
import logging
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from concurrent.futures import Executor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic, Protocol, TypeVar

log = logging.getLogger(__name__)

IDLE_SECONDS = 600.0
_QUIET_SECONDS = 0.05
_LEAST_FREE = 10  # one in so many bytes of the memory must be free for one more to be made


class CannotWait(Exception):
    """On this host no container can wait for its workspace."""


def memory_is_free(table: Path = Path("/proc/meminfo")) -> bool:
    """Say whether a tenth of this host's memory is free."""
    try:
        lines = table.read_text().splitlines()
        sizes = {name: int(rest.split()[0]) for name, _, rest in (line.partition(":") for line in lines)}
        return sizes["MemAvailable"] * _LEAST_FREE > sizes["MemTotal"]
    except (OSError, KeyError):
        return True


@dataclass(frozen=True)
class Kind:
    """What containers must have in common to be exchanged for each other. `image` is an id, never a name."""

    tenant: str
    image: str
    network: bool
    memory: int | None
    processes: int | None
    cpu: float | None


class Waiting(Protocol):
    """A container that waits. Both block; `discard` never raises."""

    def usable(self) -> bool:
        """Say whether it still waits."""
        ...

    def discard(self) -> None:
        """Remove it."""
        ...


W = TypeVar("W", bound=Waiting)


@dataclass
class _Use(Generic[W]):
    """How much of one kind is wanted."""

    running: int = 0
    peak: int = 0  # attempts at the same time, in this period and the one before
    peak_now: int = 0  # in this period
    asked: float = 0.0
    waiting: list[W] = field(default_factory=list)

    def idle_since(self, now: float) -> float:
        """For how many seconds nobody has asked and none runs."""
        return 0.0 if self.running else now - self.asked


class WarmContainers(Generic[W]):
    """Gives containers that wait and makes new ones. Belongs to one event loop; `boot` and discarding run in threads.

    `boot` gives None for a kind that cannot wait (its image has no shell), which is then never tried again, and raises
    CannotWait when none can.
    """

    def __init__(
        self,
        boot: Callable[[Kind], W | None],
        threads: Executor,
        *,
        size: int,
        idle_seconds: float = IDLE_SECONDS,
        has_memory: Callable[[], bool] = memory_is_free,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._boot = boot
        self._threads = threads
        self._size = size
        self._idle_seconds = idle_seconds
        self._has_memory = has_memory
        self._now = now
        self._uses: defaultdict[Kind, _Use[W]] = defaultdict(_Use)
        self._cold: set[Kind] = set()
        self._filling: asyncio.Task[None] | None = None
        self._making: tuple[Kind, asyncio.Event] | None = None  # what is being made, for nobody yet
        self._timer: asyncio.TimerHandle | None = None
        self._tidied = now()
        self._leaving: set[asyncio.Future[None]] = set()

    def standing(self, kind: Kind) -> int:
        """Say how many of a kind wait."""
        return len(self._uses[kind].waiting) if kind in self._uses else 0

    @property
    def size(self) -> int:
        """How many may wait."""
        return self._size

    def by_tenant(self) -> dict[str, int]:
        """Say how many wait for each tenant."""
        return dict(sum((Counter({kind.tenant: len(use.waiting)}) for kind, use in self._uses.items()), Counter()))

    async def take(self, kind: Kind) -> W | None:
        """Give one that waits, None when there is none; `left` must follow when the attempt is over."""
        if not self._size:
            return None
        use = self._uses[kind]
        use.running += 1
        use.asked = self._now()
        use.peak_now = max(use.peak_now, use.running)
        use.peak = max(use.peak, use.running)
        try:
            while use.waiting or await self._made(kind):
                if use.waiting and (found := await self._usable(use.waiting.pop())):
                    return found
        except BaseException:
            self.left(kind)
            raise
        return None

    async def _usable(self, found: W) -> W | None:
        """Give it back if it still waits, else remove it."""
        usable = False
        try:
            usable = await asyncio.get_running_loop().run_in_executor(self._threads, found.usable)
        finally:
            if not usable:
                self._discard([found])
        return found if usable else None

    def left(self, kind: Kind) -> None:
        """Say that an attempt which had asked is over."""
        if self._size:
            self._uses[kind].running -= 1
            self._uses[kind].asked = self._now()
            self.refill()

    def refill(self, *, at_once: bool = False) -> None:
        """Fill the pool in the background, in a moment or at once; see to it later that what idles goes."""
        if self._size and (self._filling is None or self._filling.done()):
            self._filling = asyncio.create_task(self._fill(0.0 if at_once else _QUIET_SECONDS))
        if self._size and self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._idle_seconds / 2, self._look)

    def give_up(self) -> None:
        """Wait with no container any more: this engine shows them nothing of what is mounted later."""
        self._size = 0
        for use in self._uses.values():
            self._discard(use.waiting)
            use.waiting = []

    async def filled(self) -> None:
        """Wait for the end of the filling that is under way, and for what leaves."""
        if self._filling is not None:
            await asyncio.wait({self._filling})
        if self._leaving:
            await asyncio.wait(self._leaving)

    async def stop(self) -> None:
        """Remove all that wait."""
        if self._timer is not None:
            self._timer.cancel()
        if self._filling is not None:
            self._size = 0  # what is being made in a thread is seen to by the filling itself
        self.give_up()
        await self.filled()

    def tidy(self) -> None:
        """Remove what nobody has asked for, and what was only wanted long ago. Called now and then."""
        now = self._now()
        new_period = now - self._tidied >= self._idle_seconds
        for kind, use in list(self._uses.items()):
            if new_period:
                use.peak, use.peak_now = max(use.peak_now, use.running), use.running
            if use.idle_since(now) >= self._idle_seconds:
                use.peak = 0
            self._discard(use.waiting[use.peak :])
            del use.waiting[use.peak :]
            if not use.peak and not use.running:
                del self._uses[kind]
        if new_period:
            self._tidied = now

    def _look(self) -> None:
        self._timer = None
        self.tidy()
        if self._uses:
            self._timer = asyncio.get_running_loop().call_later(self._idle_seconds / 2, self._look)

    async def _fill(self, pause: float) -> None:
        await asyncio.sleep(pause)
        while (kind := self._wanted()) is not None and self._has_memory():
            over, pause = asyncio.Event(), 0.0
            self._making = (kind, over)
            try:
                await self._make(kind)
            except CannotWait as error:
                log.info("Container steps start cold: %s", error)
                self.give_up()
                return
            except Exception as error:  # the next step that asks is told what is wrong, and starts cold if it can
                log.warning("No container could be made to wait: %s", error)
                return
            finally:
                if self._making is None:  # somebody waits for it, and begins now
                    pause = _QUIET_SECONDS
                self._making = None
                over.set()
            await asyncio.sleep(pause)

    async def _make(self, kind: Kind) -> None:
        made = await asyncio.get_running_loop().run_in_executor(self._threads, self._boot, kind)
        if made is None:
            self._cold.add(kind)
        elif kind in self._uses and self._size:
            self._uses[kind].waiting.append(made)
        else:
            self._discard([made])

    async def _made(self, kind: Kind) -> bool:
        """Wait for one of this kind that is being made and that nobody else waits for; False when there is none."""
        if self._making is None or self._making[0] != kind:
            return False
        over = self._making[1]
        self._making = None
        await over.wait()
        return True

    def _wanted(self) -> Kind | None:
        """Give the kind that most lacks one, asked for last; make room for it among those asked for longer ago."""
        lacking = [
            (use.asked, kind)
            for kind, use in self._uses.items()
            if kind not in self._cold and len(use.waiting) < min(use.peak, self._size)
        ]
        if not lacking or not self._size:
            return None
        asked, kind = max(lacking, key=lambda one: one[0])
        if sum(len(use.waiting) for use in self._uses.values()) < self._size:
            return kind
        oldest = min((use for use in self._uses.values() if use.waiting), key=lambda use: use.asked)
        if oldest.asked >= asked:
            return None
        self._discard([oldest.waiting.pop(0)])
        return kind

    def _discard(self, several: Iterable[W]) -> None:
        loop = asyncio.get_running_loop()
        for one in several:
            leaving = loop.run_in_executor(self._threads, one.discard)
            self._leaving.add(leaving)
            leaving.add_done_callback(self._leaving.discard)
