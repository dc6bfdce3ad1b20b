"""How long a run stands still when the server is killed: kill -9 while its step is in flight, start again at once.

What is killed is a process of its own, `python -m stepwell.cli.bench_restart DIRECTORY`: engine, zygote and isolates,
as `stepwell up` has them. Python's start and the imports count.
"""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

from stepwell.cli.bench import Sample
from stepwell.errors import Unavailable

WAIT_S = 60
SOURCE = """
import asyncio
from stepwell import Pipeline

async def work(): await asyncio.sleep(0.02)

class Slow(Pipeline):
    async def run(self, event, step):
        while True:
            await step.do("step", work)
"""


async def restart_to_step_ms(path: Path, samples: int = 5) -> list[float]:
    """From starting the killed server again until the run's next step is on disk."""
    found = []
    for _ in range(samples):
        with TemporaryDirectory(dir=path, prefix="bench-") as name:
            await _until_steps([name, "new"], 10)
            begun = time.perf_counter()
            await _until_steps([name], 1)
            found.append((time.perf_counter() - begun) * 1000)
    return found


async def _until_steps(said: list[str], steps: int) -> None:
    """Start the server, wait for so many steps, kill it."""
    errors = Path(said[0]) / "errors"
    with errors.open("wb") as file:
        server = await asyncio.create_subprocess_exec(
            sys.executable, "-m", __name__, *said, stdout=subprocess.PIPE, stderr=file, start_new_session=True
        )
    assert server.stdout is not None
    try:
        async with asyncio.timeout(WAIT_S):
            for _ in range(steps):
                if not await server.stdout.readline():
                    raise Unavailable(f"The server to be killed ended by itself: {errors.read_text()[-500:]}")
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        await server.wait()


async def _serve(directory: Path, new: bool) -> None:
    """Print a line for each step that is on disk, until killed."""
    from stepwell.engine.engine import Engine
    from stepwell.engine.local import NoLogs
    from stepwell.engine.seams import Code
    from stepwell.engine.specs import RunSpec
    from stepwell.store.journal_sqlite import SqliteJournal
    from stepwell_runners.isolates import ZygoteIsolates

    async def load(metadata: Mapping[str, object]) -> Code:
        return Code("slow", {"pipeline.py": SOURCE}, "pipeline.py:Slow")

    isolates = ZygoteIsolates(directory, Path)
    await isolates.start()
    engine = Engine(SqliteJournal(directory / "bench.db"), isolates, load, logs=NoLogs())
    engine.subscribe(lambda news, _state: print("step", flush=True) if news.type == "done" else None)
    await engine.start()
    if new:
        await engine.create(RunSpec("slow", "bench", "bench/x", "", {}, {"kind": "manual"}, "slow"))
    await asyncio.Event().wait()


def _measured() -> Sample:
    with TemporaryDirectory(prefix="stepwell-bench-") as directory:
        return Sample(tuple(asyncio.run(restart_to_step_ms(Path(directory)))), "ms")


MEASURES: Mapping[str, Callable[[], Sample]] = {"restart_to_step_ms": _measured}

if __name__ == "__main__":
    asyncio.run(_serve(Path(sys.argv[1]), "new" in sys.argv[2:]))
