"""Streaming: a command's output goes to its log as it comes, in order, complete, and bounded."""

import asyncio
import os
from dataclasses import dataclass, field
from typing import Protocol

from stepwell.engine.seams import Output
from stepwell_runners.spec import Exit

MOST_OUTPUT = 200 << 20  # bytes of one attempt
KILL_PATIENCE = 30.0  # seconds until a killed process that does not go is called stuck
_BLOCK = 256 << 10


class Stuck(Exception):
    """A killed attempt does not end: its processes hang in the kernel, so its files must not be touched."""


class Process(Protocol):
    """A command that runs: CommandProcess and ContainerProcess. `output` is a non-blocking pipe to read and close."""

    output: int

    async def wait(self) -> Exit: ...

    def kill(self) -> None: ...


@dataclass
class Stream:
    """Copies a pipe to a log from now until `finish`."""

    descriptor: int
    output: Output
    limit: int = MOST_OUTPUT
    _written: int = 0
    _open: bool = True
    _loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.get_running_loop)

    def start(self) -> None:
        """Begin to copy."""
        self._loop.add_reader(self.descriptor, self._copy)

    def finish(self) -> None:
        """Copy what is left, which is everything: nobody who could write more is alive; then close."""
        while self._open and self._copy():
            pass
        self._stop()
        os.close(self.descriptor)

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
        if 0 <= room < len(block):
            self.output.note(f"Only the first {self.limit >> 20} MiB of the output are kept. The step goes on.")

    def _stop(self) -> None:
        if self._open:
            self._open = False
            self._loop.remove_reader(self.descriptor)


async def watch(process: Process, output: Output, seconds: float, limit: int = MOST_OUTPUT) -> tuple[Exit, bool]:
    """Follow a command to its end; how it ended, and whether the timeout of `seconds` did it.

    When this returns or raises, every process of the command is gone; only then. Raises Stuck when that cannot be had.
    """
    stream = Stream(process.output, output, limit)
    stream.start()
    ending = asyncio.ensure_future(process.wait())
    try:
        done, _ = await asyncio.wait({ending}, timeout=seconds)
        if not done:
            await _end(process, ending)
        return await ending, not done
    except asyncio.CancelledError:
        await asyncio.shield(asyncio.ensure_future(_end(process, ending)))
        raise
    finally:
        stream.finish()


async def _end(process: Process, ending: "asyncio.Future[Exit]") -> None:
    process.kill()
    done, _ = await asyncio.wait({ending}, timeout=KILL_PATIENCE)
    if not done:
        ending.cancel()
        raise Stuck
