"""Hosts that are stopped at a chosen commit and followed by others on the same journal, and the world around them.

A crash is a journal that from a chosen commit on refuses everything: what the engine still does in memory leaves no
trace, and its isolates are killed. Time stands still until the run has nothing else to do, so the same program takes
the same way in every life.
"""

import ast
import asyncio
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Literal, Protocol

from gates import Gatekeeper
from hosts import Reader

from stepwell.engine.clock import TestClock
from stepwell.engine.engine import Engine
from stepwell.engine.entries import Entry
from stepwell.engine.rebuild import Rebuild
from stepwell.engine.seams import Attempt, BindingCall, Code, Isolates, Outcome, Output, Prepared
from stepwell.engine.specs import Limits, Note, RunSpec
from stepwell.engine.state import RunState, StepState
from stepwell.errors import Conflict, TryLater
from stepwell.store.blobs import BlobFiles
from stepwell.store.derived_sqlite import SqliteTables
from stepwell.store.journal import Committed, NewRun, Write
from stepwell.store.journal_sqlite import SqliteJournal

PROGRAMS = Path(__file__).resolve().parents[1] / "integration" / "programs"
RUN = "r"
Moment = Literal["before", "after"]
Action = tuple[Any, ...]


class Program:
    """One of the programs, with what people and clocks do around it.

    `OUTSIDE` in its file maps the key of a step to actions that are taken when the run has nothing else to do but wait
    and that step is one of its waits, all at once; "" stands for the run's creation. Actions: ("event", type, payload),
    ("approve",), ("reject",), ("cancel",), ("cancel", "undo"), ("pause", seconds): resumed after that time. When no
    action is due, time goes on to the next due time.
    """

    def __init__(self, name: str) -> None:
        source = (PROGRAMS / f"{name}.py").read_text()
        values = _literals(source)
        self.name = name
        self.ends: str = values.get("ENDS", "passed")
        self.log: list[str] | None = values.get("LOG")  # what it prints, when its file says so
        self.outside: Mapping[str, list[Action]] = values.get("OUTSIDE", {})
        files = {"pipeline.py": source, "effects.py": (PROGRAMS / "effects.py").read_text()}
        self.code = Code(f"digest of {name}", files, values.get("ENTRY", "pipeline.py"))

    @staticmethod
    def names() -> list[str]:
        """List all programs."""
        return sorted(path.stem for path in PROGRAMS.glob("*.py") if path.stem != "effects")


def _literals(source: str) -> dict[str, Any]:
    return {
        node.targets[0].id: ast.literal_eval(node.value)
        for node in ast.parse(source).body
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and node.targets[0].id.isupper()
    }


class Crashed(Exception):
    """The journal is gone, as after a power cut."""


class CrashingJournal(SqliteJournal):
    """Serves so many commits, then stops the world before or after making the last one durable."""

    def __init__(self, path: Path, commits: int, moment: Moment) -> None:
        super().__init__(path, wal_bytes=4096)
        self.served = 0
        self.commits = commits
        self.moment = moment
        self.crashed = False

    def commit(self, writes: Sequence[Write], new: Sequence[NewRun] = ()) -> Committed:
        if self.crashed:
            raise Crashed
        self.served += 1
        if self.served == self.commits:
            self.crashed = True
            if self.moment == "after":
                super().commit(writes, new)
            raise Crashed
        return super().commit(writes, new)


class WordExecutor:
    """Does what the command's first word says, and leaves its key among the effects."""

    def __init__(self, effects: Path) -> None:
        self.effects = effects
        self.stuck: set[str] = set()

    async def recover(self, committed: Callable[[str], bool], ended: Callable[[str], bool]) -> None: ...

    async def abandon(self, run: str, key: str) -> None: ...

    async def forget(self, run: str) -> None: ...

    async def missing(self, layers: Sequence[str]) -> list[str]:
        return []

    async def drop(self, layers: Sequence[str]) -> None: ...

    async def erase(self, runs: Sequence[str], layers: Sequence[str]) -> None: ...

    async def execute(self, attempt: Attempt, prepared: Prepared, output: Output) -> Outcome:
        label = attempt.key if attempt.run == RUN else f"{attempt.key} of {attempt.run}"
        with self.effects.open("a") as file:
            file.write(label + "\n")
        if attempt.kind == "read":
            return Outcome(True, f"text of {attempt.options['path']}")
        command = attempt.options["command"]
        word, *rest = command.split() if isinstance(command, str) else command
        if word == "long":
            self.stuck.add(attempt.key)
            try:
                await asyncio.Event().wait()
            finally:
                self.stuck.discard(attempt.key)
        await asyncio.sleep(0)
        again = self.effects.read_text().splitlines().count(label) > 1
        if word == "fail" or (word == "flaky" and not again):
            error = {"type": "CommandFailed", "message": "exit code 1", "traceback": ""}
            return Outcome(False, error=error, exit_code=1)
        code = int(rest[0]) if word == "exit" else 0
        value = {"exit_code": code, "seconds": 0.0, "outputs": {}}
        return Outcome(True, value, exit_code=code, layer=f"layer of {label}")


class Notebook:
    """A binding that leaves the first argument of a call among the effects, and gives the second."""

    def __init__(self, effects: Path) -> None:
        self.effects = effects

    async def call(self, call: BindingCall) -> Any:
        with self.effects.open("a") as file:
            file.write(f"{call.args[0]}\n")
        await asyncio.sleep(0)
        if call.name == "refuse":
            raise Conflict("The notebook is full.")
        return call.args[1]


class KeptLog:
    """A LogSink in memory, which outlives the hosts; lines by step."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def writer(self, run: str, key: str, attempt: int, masks: Sequence[str]) -> "_Lines":
        return _Lines(self, key)

    def keep_rounds(self, run: str, rounds: Mapping[int, Sequence[str]]) -> None:
        """Keep them: tests look at them in the end."""


class _Lines:
    def __init__(self, log: KeptLog, key: str) -> None:
        self.log = log
        self.key = key

    def write(self, data: bytes) -> None:
        self.log.lines += [f"{self.key}: {line}" for line in data.decode().splitlines()]

    def note(self, text: str) -> None:
        """Drop it."""

    def behind(self) -> int:
        """Kept as soon as written."""
        return 0

    def beside(self, name: str) -> "_Lines":
        return _Lines(self.log, f"{self.key}@{name}")

    def close(self) -> None:
        """Nothing to close."""

    async def kept(self) -> None:
        """Kept as soon as written."""


class World:
    """One journal, the hosts that live on it one after the other, and what they did to the world outside."""

    def __init__(self, path: Path, program: Program, isolates: Isolates) -> None:
        path.mkdir()
        self.database = path / "s.db"
        self.effects = path / "effects"
        self.effects.touch()
        self.program = program
        self.isolates = isolates
        self.clock = TestClock()
        self.log = KeptLog()
        self.accepted: list[Action] = []  # what the host has acknowledged to those outside
        self.told: dict[int, str] = {}  # what it has told its subscribers: seq → type

    async def play(self, commits: int = 1_000_000, moment: Moment = "after") -> tuple[RunState | None, int]:
        """Let one host play until the run has ended or the host was stopped; its state then, and the commits made."""
        journal = CrashingJournal(self.database, commits, moment)
        executor = WordExecutor(self.effects)
        engine = Engine(
            journal, self.isolates, self._load, logs=self.log, executor=executor, gate=Gatekeeper(), clock=self.clock,
            blobs=BlobFiles(self.database.parent / "blobs"), limits=Limits(nap=0, linger=0),
        )  # fmt: skip
        engine.offer("notebook", Notebook(self.effects))
        engine.subscribe(self._hear)
        await engine.start()
        try:
            state = await asyncio.wait_for(self._live(engine, journal, executor), 30)
        finally:
            await engine.stop()
        self.compare()
        return state, journal.served

    def compare(self) -> None:
        """Hold what is kept beside the journal to what the journal says."""
        journal = Reader(self.database)
        journal.open()
        with closing(journal):
            report = Rebuild(SqliteTables(journal), mend=False).run()
        assert (report.told, report.damaged) == ([], []), [*map(str, report.told), *map(str, report.damaged)]

    async def _load(self, metadata: object) -> Code:
        return self.program.code

    def _hear(self, news: Entry | Note, state: RunState | None) -> None:
        if isinstance(news, Entry) and news.run == RUN:
            self.told[news.seq] = news.type

    async def _live(self, engine: Engine, journal: CrashingJournal, executor: WordExecutor) -> RunState | None:
        params = {"kind": "manual", "payload": str(self.effects)}
        try:
            ref = await engine.create(RunSpec(RUN, "t", "t/x", "W", {}, params, self.program.code.digest))
            self.accepted += [("created", "", "")] if ref.created else []
            while not journal.crashed:
                if at_rest(engine, executor):
                    state = await engine.get(RUN)
                    assert state is not None
                    if state.finished and await _all_finished(engine):
                        return state
                    await self._go_on(engine, state, lambda: journal.crashed)
                await asyncio.sleep(0.0003)
        except TryLater:
            assert journal.crashed
        return None

    async def _go_on(self, engine: Engine, state: RunState, stopped: Callable[[], bool]) -> None:
        # A host that cannot write any more would try again every few seconds of the time that passes.
        if state.paused:
            self.clock.advance(float(str(state.paused["reason"]).split()[-1]), stopped)
            await engine.resume(RUN, "ann")
            return
        waits = {"", *(key for key, step in state.steps.items() if step.state == "waiting")}
        entries = await engine.journal(RUN)
        for key, actions in self.program.outside.items():
            left = [action for action in _named(key, actions) if not _taken(entries, action)]
            if left and (key in waits or len(left) < len(actions)):
                await asyncio.gather(*(self._act(engine, action) for action in left))
                return
        due = engine._journal.next_due()  # of called runs, too
        assert due is not None, f"nothing can happen any more: {shape(state)}"
        self.clock.advance(max(0.0, due - self.clock.now()), stopped)

    async def _act(self, engine: Engine, action: Action) -> None:
        await act(engine, action)
        self.accepted.append(action)

    def entries(self) -> list[Entry]:
        """Read what is on disk of the run."""
        journal = Reader(self.database)
        journal.open()
        with closing(journal):
            return journal.entries(RUN)

    def done(self) -> Counter[str]:
        """Count the effects by their labels."""
        return Counter(self.effects.read_text().splitlines())

    def lost(self) -> list[Any]:
        """List what was acknowledged or told and is not on disk."""
        entries = self.entries()
        on_disk = {entry.seq: entry.type for entry in entries}
        since = min(on_disk, default=1)  # what was told of rounds before is gone, rightly
        gone: list[Any] = [seq for seq, kind in self.told.items() if seq >= since and on_disk.get(seq) != kind]
        return gone + [action for action in self.accepted if not _taken(entries, action)]


async def _all_finished(engine: Engine) -> bool:
    states = [await engine.get(run.id) for run in await engine.numbered("t/x", None, 100)]
    return all(state is not None and state.finished for state in states)


class Busy(Protocol):
    """An executor that knows which of its attempts end only when a test says so."""

    @property
    def stuck(self) -> Collection[str]: ...


def at_rest(engine: Engine, executor: Busy) -> bool:
    """Say whether everything has been played that can be: only people, programs outside or time can go on."""
    for live in engine._memory:
        turn = live.turn
        if live.draft or live.wants_turn or live.clearing or any(key not in executor.stuck for key in live.attempts):
            return False
        if turn is not None and (not turn.attached or turn.ending or turn._idle < turn._sent):
            return False
    return True


async def act(engine: Engine, action: Action, run: str = RUN) -> None:
    """Do what somebody outside does: (kind, …, key of the step, name of the action)."""
    kind, *rest, key, name = action
    if kind == "event":
        await engine.send_event(run, rest[0], rest[1], id=name)
    elif kind == "cancel":
        await engine.cancel(run, "ann", "enough", undo="undo" in rest)
    elif kind == "pause":
        await engine.pause(run, "ann", name)
    else:
        decision = {"by": "ann", "approve": kind == "approve", "comment": "", "fields": {"version": "1.0"}}
        await engine.decide(run, key, decision, judge)


def judge(run: RunState, step: StepState) -> Literal["approved", "rejected"]:
    """Let one person decide."""
    return "approved" if step.decisions[-1]["approve"] else "rejected"


def _named(key: str, actions: Sequence[Action]) -> list[Action]:
    return [(*action, key, f"{key} {number} {action[-1]}") for number, action in enumerate(actions)]


def _taken(entries: Sequence[Entry], action: Action) -> bool:
    kind, *_, key, name = action
    if kind == "created":
        return bool(entries)
    if kind == "event":
        before = entries[0].data["event_ids"] if entries and entries[0].type == "continued" else []
        return name in before or any(entry.type == "event" and entry.data["id"] == name for entry in entries)
    if kind == "cancel":
        return any(entry.type == "cancel" for entry in entries)
    if kind == "pause":
        return any(entry.type == "paused" and entry.data["reason"] == name for entry in entries)
    return any(entry.type == "decision" and entry.key == key for entry in entries)


def shape(state: RunState) -> dict[str, Any]:
    """What a crash may not change: the final fold without times, sequence numbers and attempts."""
    error = {name: part for name, part in (state.error or {}).items() if name != "traceback"}
    return {
        "run": [state.state, state.result, error, state.number, state.cancel and state.cancel["by"]],
        "steps": {key: _step(step) for key, step in sorted(state.steps.items())},
        "kept events": [[event.type, event.payload] for event in state.events.values()],
        "event ids": sorted(state.event_ids),
        "layers": sorted(layer for _, layer in state.layers),
        "left": [state.timers, state.approvals, state.inflight, state.failed_turns],
    }


def _step(step: StepState) -> list[Any]:
    value = {k: v for k, v in step.value.items() if k != "at"} if isinstance(step.value, dict) else step.value
    gone = step.state in {"cancelled", "skipped"}  # whether it had begun is a matter of luck
    return [
        step.name, step.kind, "cancelled" if gone else step.state, value, (step.error or {}).get("type"), step.options,
        len(step.decisions), step.event is not None, None if gone else [step.layer, step.exit_code],
    ]  # fmt: skip
