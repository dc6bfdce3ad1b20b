"""What an isolate costs: request to wall up and ready for code, and request to the end of a first command."""

import asyncio
import os
import tempfile
import time
from collections.abc import Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stepwell.cli.bench import Sample
from stepwell.engine.seams import Code, IsolateSpec

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from stepwell_runners.isolates import ZygoteIsolates

_WARMING = 20


def isolate_boot_ms() -> Sample:
    """From the request to an isolate whose wall is up, asyncio loaded, a tree mounted at /workspace."""
    return Sample(tuple(asyncio.run(boots())), "ms")


def isolate_command_ms() -> Sample:
    """From the request to the first output of `sh -c 'echo'` in an isolate of its own."""
    return Sample(tuple(asyncio.run(commands())), "ms")


async def boots(samples: int = 200) -> list[float]:
    """Milliseconds of each boot."""
    async with _isolates() as (isolates, tree):
        spec = IsolateSpec("bench", "turn", Code("bench", {}, "pipeline.py:Bench", tree=str(tree)))

        async def once() -> float:
            started = time.perf_counter()
            isolate = await isolates.open(spec)
            took = time.perf_counter() - started
            isolate.kill()
            isolate.sock.close()
            await isolate.ended()
            return took * 1000

        return await _repeat(once, samples)


async def commands(samples: int = 100) -> list[float]:
    """Milliseconds to the first output of each command."""
    from stepwell_runners.spec import CommandSpec

    async with _isolates() as (isolates, _):
        spec = CommandSpec("bench", ("sh", "-c", "echo"), cwd="/")
        loop = asyncio.get_running_loop()

        async def once() -> float:
            started = time.perf_counter()
            process = await isolates.command(spec)
            printed = asyncio.Event()
            loop.add_reader(process.output, printed.set)
            await printed.wait()
            took = time.perf_counter() - started
            loop.remove_reader(process.output)
            await process.wait()
            os.close(process.output)
            return took * 1000

        return await _repeat(once, samples)


async def _repeat(once: Callable[[], Coroutine[Any, Any, float]], samples: int) -> list[float]:
    for _ in range(_WARMING):
        await once()
    return [await once() for _ in range(samples)]


@asynccontextmanager
async def _isolates() -> "AsyncIterator[tuple[ZygoteIsolates, Path]]":
    from stepwell_runners.isolates import ZygoteIsolates

    with tempfile.TemporaryDirectory(prefix="stepwell-bench-") as folder:
        tree = Path(folder) / "tree"
        tree.mkdir()
        isolates = ZygoteIsolates(Path(folder), Path)
        await isolates.start()
        try:
            yield isolates, tree
        finally:
            await isolates.stop()


MEASURES: Mapping[str, Callable[[], Sample]] = {
    "isolate_boot_ms": isolate_boot_ms,
    "isolate_command_ms": isolate_command_ms,
}
