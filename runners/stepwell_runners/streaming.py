"""Streaming: a command's output goes to its log as it comes, in order, complete, and bounded."""

import asyncio
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

from stepwell.engine.seams import Output
from stepwell_runners.outgrown import INODE, DiskWatch, Halting, Whose, Writer
from stepwell_runners.spec import Excess, Exit

KILL_PATIENCE = 30.0  # seconds until a killed process that does not go is called stuck
_BLOCK = 256 << 10
_MOST_BEHIND = 4 << 20  # bytes in memory, until the command has to wait for its log
_PAUSE_SECONDS = 0.01
_EACH = f" (a file counts {INODE >> 10} KiB at least, also one that was removed and is still open)"


@dataclass(frozen=True)
class Bounds:
    """What the operator lets one attempt print, write and ask for."""

    output: int = 200 << 20  # bytes
    disk: int = 20 << 30  # bytes in its workspace, beside what it found there
    tenant_disk: int = 60 << 30  # bytes of all attempts of its tenant that are under way
    memory: int | None = None  # bytes at most, as its limit


DEFAULT_BOUNDS = Bounds()
_TOO_MUCH: dict[Whose, Callable[[Bounds], str]] = {
    "disk": lambda bounds: f"it wrote more than {bounds.disk >> 30} GiB into its workspace{_EACH}",
    "tenant disk": lambda bounds: (
        f"the tenant's steps that run now wrote more than {bounds.tenant_disk >> 30} GiB together, this one the most"
    ),
}


class Stuck(Exception):
    """A killed attempt does not end: its processes hang in the kernel, so its files must not be touched."""


class Process(Protocol):
    """A command that runs: CommandProcess and ContainerProcess. `output` is a non-blocking pipe to read and close.

    `halting` is None where only a container engine could stop its processes.
    """

    output: int

    @property
    def halting(self) -> Halting | None: ...

    async def wait(self) -> Exit: ...

    def kill(self) -> None: ...


@dataclass
class Stream:
    """Copies a pipe to a log from now until `finish`."""

    descriptor: int
    output: Output
    limit: int
    full: "asyncio.Future[None]" = field(default_factory=lambda: asyncio.get_running_loop().create_future())
    _written: int = 0
    _open: bool = True
    _loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.get_running_loop)

    def start(self) -> None:
        """Begin to copy."""
        self._loop.add_reader(self.descriptor, self._follow)

    def finish(self) -> None:
        """Copy what is left, which is everything: nobody who could write more is alive; then close."""
        while self._open and self._copy():
            pass
        self._stop()
        os.close(self.descriptor)

    def _follow(self) -> None:
        """Copy one block; leave the rest in the pipe for a moment when the log does not come after."""
        self._copy()
        if self._open and self.output.behind() > _MOST_BEHIND:
            self._loop.remove_reader(self.descriptor)
            self._loop.call_later(_PAUSE_SECONDS, self._go_on)

    def _go_on(self) -> None:
        if not self._open:
            return
        if self.output.behind() > _MOST_BEHIND // 2:
            self._loop.call_later(_PAUSE_SECONDS, self._go_on)
        else:
            self._loop.add_reader(self.descriptor, self._follow)

    def _copy(self) -> bool:
        """Copy one block; whether there may be more."""
        try:
            block = os.read(self.descriptor, _BLOCK)
        except BlockingIOError:
            return False
        if not block:
            self._stop()
            return False
        self._keep(block)
        return True

    def _keep(self, block: bytes) -> None:
        room = self.limit - self._written
        self._written += len(block)
        if room > 0:
            self.output.write(block[:room])
        if room < len(block) and not self.full.done():
            self.output.note(f"Only the first {self.limit >> 20} MiB of the output are kept.")
            self.full.set_result(None)

    def _stop(self) -> None:
        if self._open:
            self._open = False
            self._loop.remove_reader(self.descriptor)


@dataclass(frozen=True)
class Place:
    """Where a command writes, and who watches over what its tenant's commands hold there."""

    disk: DiskWatch
    tenant: str
    upper: Path


async def watch(
    process: Process, output: Output, seconds: float, bounds: Bounds = DEFAULT_BOUNDS, place: Place | None = None
) -> tuple[Exit, bool]:
    """Follow a command to its end; how it ended, and whether the timeout of `seconds` did it.

    One that prints too much, or writes too much into its `place`, is killed, and its exit names that limit. When this
    returns or raises, every process of the command is gone; only then. Raises Stuck when that cannot be had.
    """
    stream = Stream(process.output, output, bounds.output)
    stream.start()
    ending = asyncio.ensure_future(process.wait())
    growing = asyncio.ensure_future(_outgrown(process, bounds, place))
    watched: set[asyncio.Future[Any]] = {ending, stream.full, growing}
    try:
        done, _ = await asyncio.wait(watched, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        if ending not in done:
            await _end(process, ending)
        exit_ = await ending
    except asyncio.CancelledError:
        await asyncio.shield(asyncio.ensure_future(_end(process, ending)))
        raise
    finally:
        growing.cancel()
        stream.finish()
    if stream.full.done():
        return _beyond(exit_, "output", f"it printed more than {bounds.output >> 20} MiB"), False
    if growing in done:
        return _beyond(exit_, growing.result(), _TOO_MUCH[growing.result()](bounds)), False
    return exit_, not done


async def _outgrown(process: Process, bounds: Bounds, place: Place | None) -> Whose:
    """Return when it has written too much, never without a place."""
    if place is None:
        nothing: asyncio.Future[Whose] = asyncio.get_running_loop().create_future()
        return await nothing
    writer = Writer(place.tenant, place.upper, bounds.disk, bounds.tenant_disk, process.halting)
    return await place.disk.outgrown(writer)


def _beyond(exit_: Exit, limit: Excess, reason: str) -> Exit:
    return replace(exit_, code=None, signal=int(signal.SIGKILL), reason=reason, exceeded=limit, lost=False)


async def _end(process: Process, ending: "asyncio.Future[Exit]") -> None:
    process.kill()
    done, _ = await asyncio.wait({ending}, timeout=KILL_PATIENCE)
    if not done:
        ending.cancel()
        raise Stuck
