"""What the engine costs: plain measurements over any supply of isolates. Each gives its samples, none judges them.

Every measurement has an engine and a database of its own below `path`, which should lie on the disk that will serve.
The isolates must have been started on the running loop. Where they are booted meanwhile, the pool of blanks is at rest
before each sample, as it is between two people or two pushes on a server in use; a first sample is left out. The
interpreter is set as the server sets its own.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from stepwell.ci.memory import freeze
from stepwell.cli.bench import Sample
from stepwell.engine.engine import Engine
from stepwell.engine.entries import Entry
from stepwell.engine.local import NoLogs
from stepwell.engine.seams import Attempt, Code, Isolates, Outcome, Output, Prepared
from stepwell.engine.specs import Limits, Note, RunSpec
from stepwell.engine.state import RunState
from stepwell.store.journal_sqlite import SqliteJournal

RUNS, STEPS = 50, 10

SOURCE = """
from stepwell import Pipeline

async def work(n): return n

class Steps(Pipeline):
    async def run(self, event, step):
        for i in range(event.payload["steps"]):
            await step.do("step", work, i)

class Gated(Pipeline):
    async def run(self, event, step):
        for i in range(event.payload["before"]):
            await step.do("before", work, i)
        await step.wait_for_event("gate", type="go")
        for i in range(event.payload["steps"]):
            await step.do("step", work, i)

class Ready(Pipeline):
    async def run(self, event, step):
        await step.run("gate", "gate")
        for i in range(event.payload["steps"]):
            await step.do("step", work, i)
"""


class Bench:
    """An engine under measurement: tells when a run's entries are committed."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._awaited: dict[tuple[str, str], asyncio.Future[float]] = {}
        engine.subscribe(self._heed)

    def when(self, run: str, what: str) -> "asyncio.Future[float]":
        """Time of the next such news of a run: an entry's type, "step" for a done step, "left" for a turn's end."""
        return self._awaited.setdefault((run, what), asyncio.get_running_loop().create_future())

    def _heed(self, news: Entry | Note, state: RunState | None) -> None:
        what: str
        if isinstance(news, Note):
            what = "left" if news.text == "end" else news.type
        else:
            what = "step" if news.type == "done" and news.key.startswith("step#") else news.type
        awaited = self._awaited.pop((news.run, what), None)
        if awaited is not None and not awaited.done():
            awaited.set_result(time.perf_counter())

    async def create(self, run: str, entry: str, **payload: int) -> None:
        params = {"kind": "manual", "payload": payload}
        await self.engine.create(RunSpec(run, "bench", "bench/x", "", {"entry": entry}, params, entry))


async def _rest(isolates: Isolates) -> None:
    rested = getattr(isolates, "rested", None)  # not every supply has a pool
    if rested is not None:
        await rested()


class _Gate:
    """An executor whose steps end when the gate opens; until then their runs keep their isolates."""

    def __init__(self) -> None:
        self.open = asyncio.Event()

    async def recover(self, committed: Callable[[str], bool], ended: Callable[[str], bool]) -> None:
        """Nothing is left of earlier ones."""

    async def abandon(self, run: str, key: str) -> None:
        """Nothing is left of earlier ones."""

    async def forget(self, run: str) -> None:
        """Nothing is kept."""

    async def missing(self, layers: Sequence[str]) -> list[str]:
        return []

    async def drop(self, layers: Sequence[str]) -> None:
        """There are none."""

    async def erase(self, runs: Sequence[str], layers: Sequence[str]) -> None:
        """Nothing is kept."""

    async def execute(self, attempt: Attempt, prepared: Prepared, output: Output) -> Outcome:
        await self.open.wait()
        return Outcome(True, {"exit_code": 0, "seconds": 0.0, "outputs": {}})


async def _load(metadata: Mapping[str, object]) -> Code:
    entry = str(metadata["entry"])
    return Code(entry, {"pipeline.py": SOURCE}, f"pipeline.py:{entry}")


@asynccontextmanager
async def _bench(isolates: Isolates, path: Path, gate: _Gate | None = None) -> AsyncIterator[Bench]:
    with TemporaryDirectory(dir=path, prefix="bench-") as directory:
        journal = SqliteJournal(Path(directory) / "bench.db")
        engine = Engine(
            journal, isolates, _load, logs=NoLogs(), executor=gate, concurrent_turns=RUNS, concurrent_steps=RUNS,
            limits=Limits(linger=60),
        )  # fmt: skip
        await engine.start()
        try:
            yield Bench(engine)
        finally:
            await engine.stop()


async def start_to_first_step_ms(isolates: Isolates, path: Path, samples: int = 20) -> list[float]:
    """From asking for a run until its first step, in a new isolate, is on disk."""
    found = []
    async with _bench(isolates, path) as bench:
        for n in range(samples + 1):
            step, ended, left = (bench.when(f"r{n}", what) for what in ("step", "ended", "left"))
            await _rest(isolates)
            begun = time.perf_counter()
            await bench.create(f"r{n}", "Steps", steps=1)
            found.append((await step - begun) * 1000)
            await asyncio.gather(ended, left)
    return found[1:]  # the first one warms up


async def sequential_steps_per_s(isolates: Isolates, path: Path, samples: int = 10) -> list[float]:
    """One run of 100 steps one after the other; from its first step, the isolate's boot not included."""
    found = []
    async with _bench(isolates, path) as bench:
        for n in range(samples + 1):
            first, ended, left = (bench.when(f"r{n}", what) for what in ("step", "ended", "left"))
            await bench.create(f"r{n}", "Steps", steps=101)
            begun = await first
            found.append(100 / (await ended - begun))
            await left
    return found[1:]


async def concurrent_steps_per_s(isolates: Isolates, path: Path, samples: int = 5) -> list[float]:
    """50 runs of 10 steps, their 50 new isolates included, on a server that has had such a burst within minutes.

    The first burst is the warm-up: after it the pool has as many blanks as the next one asks for. Where the pool keeps
    its usual size this is `concurrent_steps_cold_per_s`, which nobody has prepared for.
    """
    found = []
    async with _bench(isolates, path) as bench:
        for n in range(samples + 1):
            await _rest(isolates)
            names = [f"r{n}.{k}" for k in range(RUNS)]
            news = [bench.when(name, what) for name in names for what in ("ended", "left")]
            begun = time.perf_counter()
            await asyncio.gather(*(bench.create(name, "Steps", steps=STEPS) for name in names))
            ended = await asyncio.gather(*news)
            found.append(RUNS * STEPS / (max(ended[::2]) - begun))
    return found[1:]


async def concurrent_steps_ready_per_s(isolates: Isolates, path: Path, samples: int = 5) -> list[float]:
    """The same 500 steps with the 50 isolates booted: each stands before its first step when the clock starts."""
    found = []
    gate = _Gate()
    async with _bench(isolates, path, gate) as bench:
        for n in range(samples):
            gate.open = asyncio.Event()
            names = [f"r{n}.{k}" for k in range(RUNS)]
            started = [bench.when(name, "started") for name in names]
            await asyncio.gather(*(bench.create(name, "Ready", steps=STEPS) for name in names))
            await asyncio.gather(*started)
            news = [bench.when(name, what) for name in names for what in ("ended", "left")]
            begun = time.perf_counter()
            gate.open.set()
            ended = await asyncio.gather(*news)
            found.append(RUNS * STEPS / (max(ended[::2]) - begun))
    return found


async def event_to_step_ms(isolates: Isolates, path: Path, samples: int = 20, entries: int = 10) -> list[float]:
    """From sending an event to a hibernating run of so many entries until its next step is on disk."""
    found = []
    async with _bench(isolates, path) as bench:
        for n in range(samples + 1):
            run = f"r{n}"
            left = bench.when(run, "left")
            await bench.create(run, "Gated", before=entries, steps=1)
            await left
            step, left = bench.when(run, "step"), bench.when(run, "left")
            await _rest(isolates)
            begun = time.perf_counter()
            await bench.engine.send_event(run, "go", None)
            found.append((await step - begun) * 1000)
            await left
    return found[1:]


_Measure = Callable[[Isolates, Path], Awaitable[list[float]]]


def _sample(measure: _Measure, unit: str, most_blanks: int | None = None) -> Callable[[], Sample]:
    """Give the measurement isolates of this host and a directory on its disk."""

    async def measured() -> list[float]:
        from stepwell_runners.isolates import ZygoteIsolates
        from stepwell_runners.options import IsolateOptions

        with TemporaryDirectory(prefix="stepwell-bench-") as directory:
            options = IsolateOptions() if most_blanks is None else IsolateOptions(most_blanks=most_blanks)
            isolates = ZygoteIsolates(Path(directory), Path, options)
            await isolates.start()
            freeze()
            try:
                return await measure(isolates, Path(directory))
            finally:
                await isolates.stop()

    return lambda: Sample(tuple(asyncio.run(measured())), unit)


MEASURES: Mapping[str, Callable[[], Sample]] = {
    "start_to_first_step_ms": _sample(start_to_first_step_ms, "ms"),
    "sequential_steps_per_s": _sample(sequential_steps_per_s, "steps/s"),
    "concurrent_steps_per_s": _sample(concurrent_steps_per_s, "steps/s"),
    "concurrent_steps_cold_per_s": _sample(concurrent_steps_per_s, "steps/s", most_blanks=0),
    "concurrent_steps_ready_per_s": _sample(concurrent_steps_ready_per_s, "steps/s"),
    "event_to_step_ms": _sample(event_to_step_ms, "ms"),
    "event_to_step_10000_ms": _sample(partial(event_to_step_ms, samples=5, entries=10_000), "ms"),
}
