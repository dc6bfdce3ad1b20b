"""An engine over a real SQLite journal and real processes, for tests of what it does with them."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

from stepwell.dynamic import route
from stepwell.engine.engine import Engine
from stepwell.engine.local import NoLogs, ProcessIsolates
from stepwell.engine.order import Order
from stepwell.engine.seams import Attempt, Code, Outcome, Output, Prepared
from stepwell.engine.specs import RunSpec
from stepwell.engine.state import RunState
from stepwell.store.journal_sqlite import SqliteJournal

HEAD = """
import asyncio, os
from asyncio import gather
from stepwell import *

def give(value=None): return value
"""


class Workshop:
    """One database, one supply of isolates, one engine at a time."""

    def __init__(self, path: Path, isolates: ProcessIsolates | None = None) -> None:
        self.database = path / "s.db"
        self.isolates = isolates or ProcessIsolates()
        self.sources: dict[str, str] = {}
        self.engine: Engine

    def journal(self) -> SqliteJournal:
        return SqliteJournal(self.database, wal_bytes=4096)

    @asynccontextmanager
    async def _running(self, options: dict[str, Any]) -> Any:
        loader = options.pop("loader", None) or route(self.load)
        journal = options.pop("journal", None) or self.journal()
        isolates = options.pop("isolates", None) or self.isolates
        self.engine = Engine(journal, isolates, loader, logs=options.pop("logs", NoLogs()), **options)
        await self.engine.start()
        try:
            yield self.engine
        finally:
            await self.engine.stop()

    def running(self, **options: Any) -> AbstractAsyncContextManager[Engine]:
        return self._running(options)

    async def load(self, metadata: Mapping[str, Any]) -> Code:
        source = self.sources[metadata["source"]]
        return Code(f"digest of {hash(source)}", {"pipeline.py": HEAD + source}, "pipeline.py:W")

    async def create(
        self, body: str, run: str = "r", tenant: str = "t", payload: Any = None, order: Order | None = None
    ) -> None:
        """Create a run whose `run` method has this body."""
        lines = "".join(f"        {line}\n" for line in body.strip().splitlines())
        await self.create_source(
            f"class W(Pipeline):\n    async def run(self, event, step):\n{lines}", run, tenant, payload, order
        )

    async def create_source(
        self, source: str, run: str = "r", tenant: str = "t", payload: Any = None, order: Order | None = None
    ) -> None:
        self.sources[run] = source
        metadata = {"source": run}
        code = await self.load(metadata)
        params = {"kind": "manual", "payload": payload}
        await self.engine.create(RunSpec(run, tenant, f"{tenant}/x", "W", metadata, params, code.digest, order=order))

    async def until(self, claim: Callable[[RunState], object], run: str = "r", seconds: float = 60) -> RunState:
        """Wait until the claim about a run is true, looking at it whenever something happens."""
        news = asyncio.Event()
        stop = self.engine.subscribe(lambda *_: news.set())

        async def look() -> RunState:
            while True:
                news.clear()
                state = await self.engine.get(run)
                if state is not None and claim(state):
                    return state
                await news.wait()

        try:
            return await asyncio.wait_for(look(), seconds)
        finally:
            stop()

    async def until_any(self, claim: Callable[[RunState], object], seconds: float = 60) -> RunState:
        """Wait until the claim is true of a run that something happens to."""
        found: asyncio.Future[RunState] = asyncio.get_running_loop().create_future()

        def look(news: object, state: RunState | None) -> None:
            if state is not None and not found.done() and claim(state):
                found.set_result(state.snapshot())

        stop = self.engine.subscribe(look)
        try:
            return await asyncio.wait_for(found, seconds)
        finally:
            stop()

    async def finished(self, run: str = "r", seconds: float = 60) -> RunState:
        return await self.until(lambda state: state.finished, run, seconds)

    async def hibernating(self, run: str = "r") -> RunState:
        """Wait until a run waits and nothing of it is left in memory."""
        return await self.until(lambda state: state.state == "waiting" and not self.engine.holds(run), run)

    async def standing(self, run: str = "r") -> RunState:
        """Wait until a run is paused and nothing of it is left in memory."""
        return await self.until(lambda state: state.state == "paused" and not self.engine.holds(run), run)


class FakeExecutor:
    """An executor whose outcomes the test writes down, by the step's command."""

    def __init__(self, **outcomes: Outcome | list[Outcome]) -> None:
        self.outcomes = outcomes
        self.attempts: list[Attempt] = []
        self.killed: list[str] = []
        self.forgotten: list[str] = []
        self.abandoned: list[tuple[str, str]] = []
        self.gone: set[str] = set()  # layers
        self.erased: list[tuple[list[str], list[str]]] = []
        self.in_use: Callable[[str], bool] | None = None
        self.gate = asyncio.Event()  # the command "gate" ends when it is set
        self.most_at_once = 0
        self.now = 0

    async def recover(self, committed: Callable[[str], bool], ended: Callable[[str], bool]) -> None:
        self.in_use = committed

    async def forget(self, run: str) -> None:
        self.forgotten.append(run)

    async def abandon(self, run: str, key: str) -> None:
        self.abandoned.append((run, key))

    async def missing(self, layers: Sequence[str]) -> list[str]:
        return [layer for layer in layers if layer in self.gone]

    async def drop(self, layers: Sequence[str]) -> None:
        self.gone.update(layers)

    async def erase(self, runs: Sequence[str], layers: Sequence[str]) -> None:
        self.erased.append((list(runs), list(layers)))
        await self.drop(layers)

    async def execute(self, attempt: Attempt, prepared: Prepared, output: Output) -> Outcome:
        self.attempts.append(attempt)
        self.now += 1
        self.most_at_once = max(self.now, self.most_at_once)
        try:
            word = attempt.options["command"]
            if word == "forever":
                await asyncio.Event().wait()
            if word == "gate":
                await self.gate.wait()
            await asyncio.sleep(0)
            planned = self.outcomes.get(word, passed())
            return planned.pop(0) if isinstance(planned, list) else planned
        except asyncio.CancelledError:
            self.killed.append(attempt.key)
            raise
        finally:
            self.now -= 1


def passed(layer: str | None = None) -> Outcome:
    return Outcome(True, {"exit_code": 0, "seconds": 0.0, "outputs": {}}, exit_code=0, layer=layer)


def failed() -> Outcome:
    return Outcome(False, error={"type": "CommandFailed", "message": "exit code 1", "traceback": ""}, exit_code=1)


def lost() -> Outcome:
    return Outcome(False, error={"type": "Lost", "message": "the host went away", "traceback": ""}, lost=True)
