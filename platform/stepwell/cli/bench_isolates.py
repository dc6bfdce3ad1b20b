"""What an isolate costs: request to wall up and ready for code, and request to the first output of a command.

From nothing and from the pool of blanks, and beside them what others start for the same, where the host has it.
"""

import asyncio
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stepwell.ci.memory import freeze
from stepwell.cli.bench import Sample
from stepwell.engine.seams import Code, IsolateSpec
from stepwell.errors import Unavailable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from stepwell_runners.isolates import ZygoteIsolates

_WARMING = 20
_BLANKS = 4
_CODE = "import asyncio"


def isolate_boot_ms() -> Sample:
    """From the request to an isolate whose wall is up, asyncio loaded, a tree mounted at /workspace; from nothing."""
    return Sample(tuple(asyncio.run(boots(blanks=0))), "ms")


def isolate_ready_ms() -> Sample:
    """The same from the pool of blanks."""
    return Sample(tuple(asyncio.run(boots(blanks=_BLANKS))), "ms")


def isolate_command_ms() -> Sample:
    """From the request to the first output of `sh -c 'echo'` in an isolate of its own; from nothing."""
    return Sample(tuple(asyncio.run(commands(blanks=0))), "ms")


def isolate_command_ready_ms() -> Sample:
    """The same from the pool of blanks."""
    return Sample(tuple(asyncio.run(commands(blanks=_BLANKS))), "ms")


def bubblewrap_python_ms() -> Sample:
    """From the request to `import asyncio` done in Python behind bubblewrap's namespaces."""
    program = shutil.which("bwrap")
    if program is None:
        raise Unavailable("bubblewrap is not installed, so nothing stands beside the boot of an isolate.")
    wall = [program, "--unshare-all", "--die-with-parent", "--ro-bind", "/", "/", "--proc", "/proc", "--dev", "/dev"]
    python = [os.path.realpath(sys.executable), "-I", "-S", "-c", f"{_CODE}; print()"]
    return Sample(tuple(_printed([*wall, "--tmpfs", "/tmp", *python], 30)), "ms")  # noqa: S108 - inside


def docker_run_ms() -> Sample:
    """From the request to the first output of `docker run IMAGE echo`, without a network."""
    from stepwell.cli.bench_runners import an_image

    if shutil.which("docker") is None:
        raise Unavailable("The program `docker` is not installed, so nothing stands beside the boot of an isolate.")
    return Sample(tuple(_printed(["docker", "run", "--rm", "--network", "none", an_image(), "echo"], 10)), "ms")


def _printed(command: list[str], samples: int) -> list[float]:
    """Milliseconds to the first byte that each start of a program prints."""
    found = []
    for _ in range(samples + 1):
        started = time.perf_counter()
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            assert process.stdout is not None
            printed = process.stdout.read(1)
            found.append((time.perf_counter() - started) * 1000)
            trouble = process.communicate()[1].decode(errors="replace").strip()
        if not printed:
            raise Unavailable(f"`{command[0]}` does not start here: {trouble[:200]}")
    return found[1:]


async def boots(blanks: int, samples: int = 200) -> list[float]:
    """Milliseconds of each boot."""
    async with _isolates(blanks) as (isolates, tree):
        spec = IsolateSpec("bench", "turn", Code("bench", {}, "pipeline.py:Bench", tree=str(tree)))

        async def once() -> float:
            await isolates.filled()
            started = time.perf_counter()
            isolate = await isolates.open(spec)
            took = time.perf_counter() - started
            isolate.kill()
            isolate.sock.close()
            await isolate.ended()
            return took * 1000

        return await _repeat(once, samples)


async def commands(blanks: int, samples: int = 100) -> list[float]:
    """Milliseconds to the first output of each command."""
    from stepwell_runners.spec import CommandSpec

    async with _isolates(blanks) as (isolates, _):
        spec = CommandSpec("bench", ("sh", "-c", "echo"), cwd="/")
        loop = asyncio.get_running_loop()

        async def once() -> float:
            await isolates.filled()
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
async def _isolates(blanks: int) -> "AsyncIterator[tuple[ZygoteIsolates, Path]]":
    from stepwell_runners.isolates import ZygoteIsolates
    from stepwell_runners.options import IsolateOptions

    with tempfile.TemporaryDirectory(prefix="stepwell-bench-") as folder:
        tree = Path(folder) / "tree"
        tree.mkdir()
        isolates = ZygoteIsolates(Path(folder), Path, IsolateOptions(blanks=blanks))
        await isolates.start()
        freeze()
        try:
            yield isolates, tree
        finally:
            await isolates.stop()


MEASURES: Mapping[str, Callable[[], Sample]] = {
    function.__name__: function
    for function in (
        isolate_boot_ms,
        isolate_ready_ms,
        isolate_command_ms,
        isolate_command_ready_ms,
        bubblewrap_python_ms,
        docker_run_ms,
    )
}
