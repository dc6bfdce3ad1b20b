"""Stop the engine at every transaction of a run, before and after it is acknowledged; go on; nothing may differ.

A crash here is a journal that, from a chosen commit on, refuses everything: what the engine still does in memory leaves
no trace, and all its isolates are killed. Then a new engine opens the same file.
"""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Literal

import pytest

from stepwell.engine.engine import Engine
from stepwell.engine.fold import RunState, fold
from stepwell.engine.local import NoLogs, ProcessIsolates
from stepwell.engine.rebuild import Rebuild
from stepwell.engine.seams import Attempt, Code, Outcome, Output, Prepared
from stepwell.engine.specs import Limits, Note, RunSpec
from stepwell.errors import StepwellError
from stepwell.store.derived_sqlite import SqliteTables
from stepwell.store.journal import Committed, NewRun, Write
from stepwell.store.journal_sqlite import SqliteJournal

HEAD = """
import asyncio
from asyncio import gather
from stepwell import ApprovalTimeout, EventTimeout, Pipeline, Rejected, Retry, StepFailed

def effect(path, key, value=None):
    with open(path, "a") as file:
        file.write(key + "\\n")
    return value

def fails_once(path, key):
    effect(path, key)
    if open(path).read().splitlines().count(key) < 2:
        raise ValueError("the first time")
    return "second"
"""

WORKFLOWS = {
    "sequence": """
class W(Pipeline):
    async def run(self, event, step):
        total = 0
        for i in range(4):
            total += await step.do("add", effect, event.payload["effects"], f"add#{i + 1}", i)
        return total
""",
    "parallel": """
class W(Pipeline):
    async def run(self, event, step):
        path = event.payload["effects"]
        return await gather(
            *(step.do(f"p{i}", effect, path, f"p{i}#1", i) for i in range(3)),
            step.run("r", "ok"), step.run("s", "ok"), return_exceptions=False) and "all"
""",
    "commands": """
class W(Pipeline):
    async def run(self, event, step):
        a = await step.run("build", "ok")
        try:
            await step.run("bad", "fail")
        except StepFailed as error:
            b = error.type
        c = await step.run("flaky", "flaky", retries=Retry(3, delay=0.01))
        return [a.exit_code, b, c.exit_code]
""",
    "retries": """
class W(Pipeline):
    async def run(self, event, step):
        path = event.payload["effects"]
        once = await step.do("once", fails_once, path, "once#1", retries=Retry(5, delay=0.01))
        return [once, await step.do("then", effect, path, "then#1", 7)]
""",
    "timers": """
class W(Pipeline):
    async def run(self, event, step):
        path = event.payload["effects"]
        await step.sleep("nap", 0.02)
        await step.do("a", effect, path, "a#1")
        try:
            async with asyncio.timeout(0.02):
                await step.wait_for_event("never", type="never")
        except TimeoutError:
            await step.do("b", effect, path, "b#1")
        try:
            await step.wait_for_event("late", type="never", timeout=0.02)
        except EventTimeout:
            return await step.do("c", effect, path, "c#1", "late")
""",
    "events": """
class W(Pipeline):
    async def run(self, event, step):
        path = event.payload["effects"]
        first = await step.wait_for_event("first", type="go")
        await step.do("a", effect, path, "a#1")
        second = await step.wait_for_event("second", type="go")
        return [first, second, await step.do("b", effect, path, "b#1", 1)]
""",
    "approvals": """
class W(Pipeline):
    async def run(self, event, step):
        path = event.payload["effects"]
        yes = await step.approval("ship", environment="production")
        await step.do("a", effect, path, "a#1")
        try:
            await step.approval("no", environment="production")
        except Rejected:
            await step.do("b", effect, path, "b#1")
        await step.run("deploy", "ok", environment="production")
        return yes.by
""",
    "finally": """
class W(Pipeline):
    async def run(self, event, step):
        path = event.payload["effects"]
        try:
            got = await step.wait_for_event("first", type="go")
        finally:
            await step.do("cleanup", effect, path, "cleanup#1")
            await step.sleep("rest", 0.01)
        return got
""",
    "cancelled": """
class W(Pipeline):
    async def run(self, event, step):
        path = event.payload["effects"]
        await step.do("a", effect, path, "a#1")
        try:
            await gather(step.run("long", "long"), step.wait_for_event("wait", type="never"))
        finally:
            await step.do("cleanup", effect, path, "cleanup#1")
""",
    "race": """
class W(Pipeline):
    async def run(self, event, step):
        path = event.payload["effects"]
        tasks = [asyncio.ensure_future(step.run("long", "long")), asyncio.ensure_future(step.run("quick", "ok"))]
        done, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in pending:
            task.cancel()
        await step.do("a", effect, path, "a#1")
        return len(done)
""",
}  # fmt: skip


class Crashed(Exception):
    """The journal is gone, as after a power cut."""


class CrashingJournal(SqliteJournal):
    """Serves so many commits, then stops the world before or after making the last one durable."""

    def __init__(self, path: Path, commits: int, moment: Literal["before", "after"]) -> None:
        super().__init__(path, wal_bytes=4096)
        self.left = commits
        self.moment = moment
        self.crashed = asyncio.Event()

    def commit(self, writes: Sequence[Write], new: Sequence[NewRun] = ()) -> Committed:
        if self.left <= 0:
            raise Crashed
        self.left -= 1
        if self.left == 0:
            self.crashed.set()
            if self.moment == "after":
                super().commit(writes, new)
            raise Crashed
        return super().commit(writes, new)


class FakeExecutor:
    """Does what the command's word says, and notes that it did."""

    def __init__(self, effects: Path) -> None:
        self.effects = effects

    async def recover(self, committed: Callable[[str], bool]) -> None: ...

    async def forget(self, run: str) -> None: ...

    async def execute(self, attempt: Attempt, prepared: Prepared, output: Output) -> Outcome:
        with self.effects.open("a") as file:
            file.write(attempt.key + "\n")
        word = attempt.options["command"]
        if word == "long":
            await asyncio.Event().wait()
        good = Outcome(True, {"exit_code": 0, "seconds": 0.0, "outputs": {}}, exit_code=0, layer=f"layer-{attempt.key}")
        bad = Outcome(False, error={"type": "CommandFailed", "message": "exit 1", "traceback": ""}, exit_code=1)
        if word == "fail" or (word == "flaky" and self.effects.read_text().splitlines().count(attempt.key) < 2):
            return bad
        return good


class Gatekeeper:
    """Holds steps of every environment until somebody approved them."""

    def holds(self, run: RunState, step: Any) -> bool:
        return not step.decisions


class Driver:
    """Does what people and programs outside do, whenever the run waits for it."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.news = asyncio.Event()
        self.stop = engine.subscribe(self._heed)

    def _heed(self, news: object, state: RunState | None) -> None:
        if not isinstance(news, Note):
            self.news.set()

    async def until_finished(self) -> RunState:
        while True:
            self.news.clear()
            state = await self.engine.get("r")
            if state is not None and state.finished:
                self.stop()
                return state
            if state is not None:
                await self._act(state)
            await self.news.wait()

    async def _act(self, state: RunState) -> None:
        for step in state.steps.values():
            if step.state != "waiting":
                continue
            try:
                if step.kind == "event" and step.options["type"] == "go":
                    await self.engine.send_event("r", "go", step.key, id=step.key)
                elif step.key == "wait#1" and "long#1" in state.steps:
                    await self.engine.cancel("r", "ann", "enough")
                elif step.kind in {"approval", "run"}:
                    decision = {"by": "ann", "approve": step.name != "no", "comment": "", "fields": {}}
                    await self.engine.decide("r", step.key, decision, _judge)
            except StepwellError:
                self.news.set()  # refused by a dying journal, or decided meanwhile: looked at again
                await asyncio.sleep(0)


def _judge(run: RunState, step: Any) -> Literal["approved", "rejected"]:
    return "approved" if step.decisions[-1]["approve"] else "rejected"


@pytest.fixture
async def isolates() -> AsyncIterator[ProcessIsolates]:
    isolates = ProcessIsolates()
    yield isolates
    await isolates.close()


class World:
    """One state directory and the engines that live in it one after the other."""

    def __init__(self, path: Path, workflow: str, isolates: ProcessIsolates) -> None:
        path.mkdir()
        self.database = path / "s.db"
        self.effects = path / "effects"
        self.effects.touch()
        self.isolates = isolates
        self.code = Code("d", {"pipeline.py": HEAD + WORKFLOWS[workflow]}, "pipeline.py:W")

    def engine(self, journal: SqliteJournal) -> Engine:
        async def loader(metadata: object) -> Code:
            return self.code

        limits = Limits(nap=0.5, linger=0.01)
        executor = FakeExecutor(self.effects)
        return Engine(
            journal, self.isolates, loader, logs=NoLogs(), executor=executor, gate=Gatekeeper(), limits=limits
        )

    async def begin(self, engine: Engine) -> None:
        params = {"kind": "manual", "payload": {"effects": str(self.effects)}}
        await engine.create(RunSpec("r", "t", "t/x", "W", {}, params, "d"))

    def done(self) -> Counter[str]:
        return Counter(self.effects.read_text().splitlines())

    async def play(self) -> tuple[RunState, int]:
        """Play without a crash; give the state and the number of commits that took."""
        journal = CrashingJournal(self.database, 1_000_000, "after")
        engine = self.engine(journal)
        await engine.start()
        driver = Driver(engine)
        await self.begin(engine)
        state = await asyncio.wait_for(driver.until_finished(), 20)
        await engine.stop()
        return state, 1_000_000 - journal.left

    async def crash(self, commits: int, moment: Literal["before", "after"]) -> bool:
        """Play until the given commit; false when the run ended before."""
        journal = CrashingJournal(self.database, commits, moment)
        engine = self.engine(journal)
        await engine.start()
        driver = Driver(engine)

        async def play() -> None:
            try:
                await self.begin(engine)
            except StepwellError:
                return
            await driver.until_finished()

        playing = asyncio.ensure_future(play())
        crashed = asyncio.ensure_future(journal.crashed.wait())
        await asyncio.wait({playing, crashed}, return_when=asyncio.FIRST_COMPLETED, timeout=20)
        for task in (playing, crashed):
            task.cancel()
        await asyncio.gather(playing, crashed, return_exceptions=True)
        driver.stop()
        await engine.stop()
        self.compare()
        return journal.crashed.is_set()

    def compare(self) -> None:
        """Hold what is kept beside the journal to what the journal says."""
        journal = SqliteJournal(self.database, wal_bytes=4096)
        journal.open()
        with closing(journal):
            report = Rebuild(SqliteTables(journal), mend=False).run()
        assert (report.told, report.damaged) == ([], [])


def shape(state: RunState) -> str:
    """What must not differ: how the run ended, and each step with its state and value."""
    steps = {key: (step.state, _value(step.value), (step.error or {}).get("type")) for key, step in state.steps.items()}
    return json.dumps([state.state, state.result, (state.error or {}).get("type"), sorted(steps.items())])


def _value(value: Any) -> Any:
    return {name: part for name, part in value.items() if name != "at"} if isinstance(value, dict) else value


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("workflow", sorted(WORKFLOWS))
async def test_a_crash_at_any_commit_changes_nothing(
    workflow: str, moment: Literal["before", "after"], tmp_path: Path, isolates: ProcessIsolates
) -> None:
    expected, commits = await World(tmp_path / "whole", workflow, isolates).play()
    assert expected.state == ("cancelled" if workflow == "cancelled" else "passed"), expected.error
    for commit in range(1, commits + 1):
        world = World(tmp_path / str(commit), workflow, isolates)
        await world.crash(commit, moment)
        before, passed = world.done(), _passed(world)
        state, _ = await world.play()
        assert shape(state) == shape(expected), f"crashed {moment} commit {commit}"
        after = world.done()
        again = {key: after[key] for key in passed if after[key] != before[key]}
        assert not again, f"crashed {moment} commit {commit}: completed steps ran again"
        assert after["cleanup#1"] <= 1 + (before["cleanup#1"] > 0)


def _passed(world: World) -> list[str]:
    """Keys that the journal on disk says are over."""
    journal = SqliteJournal(world.database, wal_bytes=4096)
    journal.open()
    try:
        entries = journal.entries("r")
    finally:
        journal.close()
    if not entries:
        return []
    return [key for key, step in fold(entries).steps.items() if step.state in {"passed", "failed"}]
