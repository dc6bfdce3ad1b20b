"""Journals of older versions and of older rules of the replay, kept as they were written: folded, replayed and gone on
with, for ever.

The states beside them are what their fold gave when they were written, but for when inline steps began, which the fold
took for when they ended. Fields that a state has got since are not in them, and are not compared.
"""

import dataclasses
import json
import sqlite3
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any, Literal

import pytest
from engines import FakeExecutor, Workshop, passed

from stepwell.authoring.version import REPLAY
from stepwell.engine.clock import TestClock
from stepwell.engine.entries import VERSION
from stepwell.engine.fold import fold
from stepwell.engine.rebuild import Rebuild
from stepwell.engine.seams import Code
from stepwell.engine.state import RunState, StepState
from stepwell.errors import Unavailable
from stepwell.store.derived_sqlite import SqliteTables
from stepwell.store.journal_file import FORM
from stepwell.store.journal_sqlite import SqliteJournal
from stepwell.store.packed import unpack

JOURNALS = Path(__file__).resolve().parents[1] / "fixtures" / "journals"
VERSIONS = range(1, VERSION + 1)
ENDED = ("whole", "cancelled", "failed", "unawaited")


def states(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((JOURNALS / f"{name}.states.json").read_text())
    return found


def plain(value: Any) -> Any:
    """A state as JSON keeps it."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {one.name: plain(getattr(value, one.name)) for one in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(name): plain(part) for name, part in value.items()}
    if isinstance(value, set | frozenset):
        return sorted(value)
    return [plain(part) for part in value] if isinstance(value, list | tuple) else value


def same(stored: Any, found: Any, where: str = "") -> list[str]:
    """Where what is found differs from what was stored; what was not stored does not count."""
    if isinstance(stored, dict) and isinstance(found, dict):
        return [line for name, part in stored.items() for line in same(part, found.get(name), f"{where}.{name}")]
    if isinstance(stored, list) and isinstance(found, list) and len(stored) == len(found):
        pairs = enumerate(zip(stored, found, strict=True))
        return [line for n, pair in pairs for line in same(*pair, f"{where}[{n}]")]
    return [] if stored == found else [f"{where}: {stored!r} is now {found!r}"]


@dataclasses.dataclass
class Old:
    """A database with the journals of a version or of its rules, and what plays them."""

    shop: Workshop
    name: str
    clock: TestClock
    root: str = ".stepwell"

    async def load(self, metadata: Mapping[str, Any]) -> Code:
        source, entry = (JOURNALS / f"{self.name}.py").read_text(), metadata["entry"]
        return Code(f"{self.name} {entry}", {"pipeline.py": source}, f"pipeline.py:{entry}", self.root)

    def cut(self) -> None:
        """Take the last entry of ended runs away, so that their code is to be played once more."""
        with closing(sqlite3.connect(self.shop.database, isolation_level=None)) as db:
            db.execute("DELETE FROM journal WHERE type = 'ended'")

    def rebuild(self) -> None:
        journal = self.shop.journal()
        journal.open()
        with closing(journal):
            assert Rebuild(SqliteTables(journal), mend=True).run().damaged == []


@asynccontextmanager
async def laid(name: str, tables: str, path: Path) -> AsyncIterator[Old]:
    """Lay kept journals into a database whose tables are of that time, or of any before."""
    shop = Workshop(path)
    lines = [json.loads(line) for line in (JOURNALS / f"{name}.jsonl").read_text().splitlines()]
    with closing(sqlite3.connect(shop.database, isolation_level=None)) as db:
        db.executescript((JOURNALS / f"{tables}.sql").read_text())
        rows = [(*row[:-1], json.dumps(row[-1])) for row in lines]
        db.executemany("INSERT INTO journal VALUES(?,?,?,?,?,?,?,?,?)", rows)
    yield Old(shop, name, TestClock(max(row[2] for row in lines) + 1))
    await shop.isolates.close()


@pytest.fixture(params=[f"version{number}" for number in VERSIONS])
async def old(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Old]:
    async with laid(request.param, request.param, tmp_path) as one:
        yield one


@pytest.fixture
async def begun(tmp_path: Path) -> AsyncIterator[Old]:
    """Runs that were begun by the second rules, by each of which the third differ."""
    async with laid("rules2", "version1", tmp_path) as one:
        one.root = ""  # as embedded code has it
        yield one


def test_each_past_rules_have_their_journals() -> None:
    assert {path.stem for path in JOURNALS.glob("rules*.py")} == {f"rules{number}" for number in range(2, REPLAY)}


async def test_the_fold_of_an_old_journal_is_what_it_was(old: Old) -> None:
    assert set(states(old.name)) == {"asks", "sleeps", *ENDED}
    assert differences(old) == []


def differences(old: Old) -> list[str]:
    """Where the folds of the journals differ from what they were."""
    journal = old.shop.journal()
    journal.open()
    with closing(journal):
        folds = {run: plain(fold(journal.entries(run))) for run in states(old.name)}
    return same(states(old.name), folds)


async def test_old_runs_that_wait_go_on_where_they_were(old: Old) -> None:
    old.rebuild()
    executor = FakeExecutor(built=passed("layer-other"))
    async with old.shop.running(loader=old.load, clock=old.clock, executor=executor):
        await old.shop.hibernating("asks")
        await old.shop.hibernating("sleeps")
        await old.shop.engine.decide("asks", "ship#1", {"by": "ann", "approve": True}, _approved)
        asks = await old.shop.finished("asks")
        assert (asks.state, asks.result[0], asks.result[2]) == ("passed", [0, 1, 2], [1, {"two": None}])
        old.clock.advance(10**6)
        sleeps = await old.shop.finished("sleeps")
        assert (sleeps.state, sleeps.result) == ("passed", [True, {"b": 2, "a": 1}])
    assert executor.attempts == [], "a step that was done ran again"


async def test_old_runs_that_ended_end_alike_when_they_are_replayed(old: Old) -> None:
    old.cut()
    old.rebuild()
    executor = FakeExecutor()
    async with old.shop.running(loader=old.load, clock=old.clock, executor=executor):
        for run in ENDED:
            state, stored = plain(await old.shop.finished(run)), states(old.name)[run]
            assert {name: state[name] for name in ("final", "result")} == {
                name: stored[name] for name in ("final", "result")
            }, state["error"]
            assert (state["error"] or {}).get("type") == (stored["error"] or {}).get("type")
    assert executor.attempts == [], "a step that was done ran again"


async def test_runs_of_the_second_rules_are_folded_as_they_were(begun: Old) -> None:
    assert {state["replay"] for state in states(begun.name).values()} == {2}
    assert differences(begun) == []


async def test_runs_of_the_second_rules_go_on_by_them(begun: Old) -> None:
    begun.rebuild()
    async with begun.shop.running(loader=begun.load, clock=begun.clock) as engine:
        for run in ("conditions", "limits", "names"):
            await begun.shop.hibernating(run)
        await engine.send_event("conditions", "go", "first")
        await engine.send_event("conditions", "go", "second")
        await engine.decide("limits", "go on#1", {"by": "ann", "approve": True}, _approved)
        conditions, limits = await begun.shop.finished("conditions"), await begun.shop.finished("limits")
        assert (conditions.result, limits.result) == (
            ["true", "not 1", "a text", 1, "first", 2, "second"],
            [1, "Timeout", "ann", 3],
        ), [conditions.reason, limits.reason]
        begun.clock.advance(10**6)
        await begun.shop.until(lambda state: "long#2" in state.steps, "names")
        begun.clock.advance(10**6)
        told = (await begun.shop.finished("names")).result
        assert [text.splitlines()[1::2] for text in told] == [
            ['  File ".stepwell/pipeline.py", line 59, in run', f"LookupError: {number}"] for number in range(2)
        ]


@pytest.mark.parametrize("kept", [1, 2, 7, 20])
async def test_runs_of_the_second_rules_end_alike_when_they_are_replayed(begun: Old, kept: int) -> None:
    with closing(sqlite3.connect(begun.shop.database, isolation_level=None)) as db:
        db.execute("DELETE FROM journal WHERE type = 'ended' OR (run IN ('undone', 'cleaned') AND seq > ?)", (kept,))
        db.execute("DELETE FROM journal WHERE run NOT IN ('undone', 'cleaned')")
    begun.rebuild()
    async with begun.shop.running(loader=begun.load, clock=begun.clock) as engine:
        if kept < 4:
            await begun.shop.hibernating("cleaned")
            await engine.cancel("cleaned", "ann")
        for run in ("undone", "cleaned"):
            state, stored = plain(await begun.shop.finished(run)), states(begun.name)[run]
            assert (state["final"], state["result"], state["error"]) == (
                stored["final"],
                stored["result"],
                stored["error"],
            )
            assert {key: (step["state"], step["value"]) for key, step in state["steps"].items()} == {
                key: (step["state"], step["value"]) for key, step in stored["steps"].items()
            }


async def test_a_file_written_by_a_newer_stepwell_is_not_opened(tmp_path: Path) -> None:
    journal = SqliteJournal(tmp_path / "s.db", wal_bytes=4096)
    journal.open()
    journal.db.execute(f"PRAGMA user_version={FORM + 1}")
    journal.close()
    with pytest.raises(Unavailable, match=rf"form {FORM + 1}; .* Start the newer Stepwell"):
        journal.open()


@pytest.mark.parametrize(
    ("damage", "why"),
    [
        (f"version = {VERSION + 1}", "Start the newer Stepwell"),
        ("data = '{'", "cannot be read"),
        ("data = x'01'", "its end is missing"),
        ("data = x'7F07'", "packed in a way that is not known here"),
        ("data = 'null'", "makes no sense"),
        ("type = 'flown'", "makes no sense"),
    ],
)
async def test_a_run_that_cannot_be_read_is_set_aside_and_mended_later(tmp_path: Path, damage: str, why: str) -> None:
    shop, clock = Workshop(tmp_path), TestClock()
    body = 'await step.sleep("nap", 60)\nawait step.sleep("more", 60)\nreturn await step.do("give", give, 1)'
    async with shop.running(clock=clock):
        for run in ("broken", "sound"):
            await shop.create(body, run)
            await shop.hibernating(run)
    with closing(sqlite3.connect(shop.database, isolation_level=None)) as db:
        good = db.execute("SELECT version, data, type FROM journal WHERE run='broken' AND seq=2").fetchone()
        db.execute(f"UPDATE journal SET {damage} WHERE run = 'broken' AND seq = 2")
        async with shop.running(clock=clock):
            clock.advance(60)
            await shop.until(lambda state: "more#1" in state.steps, "sound")
            clock.advance(60)
            assert (await shop.finished("sound")).result == 1
            (reason,) = db.execute("SELECT reason FROM runs WHERE id='broken'").fetchone()
            assert why in reason
            with pytest.raises(Unavailable, match=why):
                await shop.engine.cancel("broken", "ann")
        set_back = "UPDATE journal SET version=?, data=?, type=? WHERE run = 'broken' AND seq = 2"
        db.execute(set_back, good)
    journal = shop.journal()
    journal.open()
    with closing(journal):
        assert Rebuild(SqliteTables(journal), mend=True).run().wrong == 1
    async with shop.running(clock=clock):
        clock.advance(0)
        await shop.until(lambda state: "more#1" in state.steps, "broken")
        clock.advance(60)
        assert (await shop.finished("broken")).result == 1
    await shop.isolates.close()


async def test_a_run_records_replay_and_python_and_stops_where_its_replay_is_unknown(tmp_path: Path) -> None:
    shop = Workshop(tmp_path)
    async with shop.running():
        await shop.create('return (await step.approval("ship")).by')
        state = await shop.hibernating()
        assert (state.replay, state.python.count(".")) == (REPLAY, 2)
    _set_replay(shop.database, 99)
    async with shop.running():
        await shop.engine.decide("r", "ship#1", {"by": "ann", "approve": True}, _approved)
        state = await shop.until(lambda state: state.reason is not None)
        assert state.reason is not None and "begun with version 99 of the replay; this Stepwell plays 1" in state.reason
        assert not state.finished
    _set_replay(shop.database, 1)
    async with shop.running():
        assert (await shop.finished()).result == "ann"
    await shop.isolates.close()


SECOND = """
async def ready(): return 1
later = step.do("x", ready, timeout=0)
if later and later != 1:
    return [await later, await step.wait_for_event("w", type="go")]
"""


async def test_a_run_of_before_the_third_rules_goes_on_as_it_was_written(tmp_path: Path) -> None:
    shop = Workshop(tmp_path)
    with pytest.MonkeyPatch.context() as before:
        before.setattr("stepwell.engine.engine.REPLAY", 2)
        async with shop.running():
            await shop.create(SECOND)
            await shop.hibernating()
    async with shop.running():
        await shop.engine.send_event("r", "go", 2)
        assert (await shop.finished()).result == [1, 2]
        await shop.create(SECOND, "new")
        assert "timeout has value 0" in str((await shop.finished("new")).reason)
    await shop.isolates.close()


def _set_replay(database: Path, replay: int) -> None:
    with closing(sqlite3.connect(database, isolation_level=None)) as db:
        (kept,) = db.execute("SELECT data FROM journal WHERE seq = 1").fetchone()
        db.execute("UPDATE journal SET data = json_set(?, '$.replay', ?) WHERE seq = 1", (unpack(kept), replay))


def _approved(run: RunState, step: StepState) -> Literal["approved"]:
    return "approved"
