"""What runs cost that wait: on disk, in memory, at a start, in lists, and to the one among them that is woken.

STEPWELL_BENCH_PARKED says how many wait, 10,000 when it is not set. One run is parked by playing it; the others are
written like it, through the journal, since a million isolates would only measure isolates. All are made once a process
and wait in one repository, which is the worst case for its lists.
"""

import asyncio
import atexit
import gc
import os
import resource
import sqlite3
import tempfile
import time
import uuid
from collections.abc import Awaitable, Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from stepwell.ci.history import Filter, History
from stepwell.ci.memory import give_back_memory
from stepwell.cli.bench import Sample
from stepwell.engine.engine import Engine
from stepwell.engine.entries import Entry
from stepwell.engine.local import NoLogs, ProcessIsolates
from stepwell.engine.seams import Code
from stepwell.engine.specs import RunSpec
from stepwell.engine.state import RunState, StepState
from stepwell.errors import Invalid
from stepwell.repos.repositories import Repositories
from stepwell.store.journal import NewRun, Summary, Write
from stepwell.store.journal_sqlite import SqliteJournal
from stepwell.store.json_text import encode
from stepwell.store.store import Store
from stepwell.tenants.actors import Actor

VARIABLE, DEFAULT = "STEPWELL_BENCH_PARKED", 10_000
AT_ONCE = 500
SAMPLES = 20
SOURCE = """
from stepwell import Pipeline

async def work(): return 1

class Parked(Pipeline):
    async def run(self, event, step):
        await step.approval("Go on?", timeout="7 days")
        await step.do("next", work)
"""
_ACTOR = Actor("bench", "bench", {"bench": "owner"})


@dataclass(frozen=True)
class Parked:
    """A state directory with runs that wait, numbered from 1."""

    state: Path
    runs: int
    before: int = 0  # bytes of the database before there was a run

    @property
    def database(self) -> Path:
        return self.state / "stepwell.db"

    def journal(self) -> SqliteJournal:
        return SqliteJournal(self.database)


async def _load(metadata: Mapping[str, object]) -> Code:
    return Code("parked", {"pipeline.py": SOURCE}, "pipeline.py:Parked")


def _engine(journal: SqliteJournal, isolates: ProcessIsolates) -> Engine:
    return Engine(journal, isolates, _load, logs=NoLogs())


async def park(state: Path, runs: int) -> Parked:
    """Make them: the first is played, the others are written."""
    database = Parked(state, runs).database
    Store(database).close()
    journal, isolates = SqliteJournal(database), ProcessIsolates()
    engine = _engine(journal, isolates)
    await engine.start()
    parked = Parked(state, runs, _used(database))
    waits = asyncio.Event()
    engine.subscribe(lambda news, _state: waits.set() if getattr(news, "text", "") == "end" else None)
    try:
        spec = RunSpec("first", "bench", "bench/x", "Parked", {"name": "bench/x"}, {"kind": "manual"}, "parked")
        await engine.create(spec)
        await waits.wait()
        entries = journal.entries("first")
        row = journal.db.execute("SELECT lease, summary, played, started_at FROM runs WHERE id = 'first'").fetchone()
        for start in range(1, runs, AT_ONCE):
            _write(journal, entries, row, range(start, min(start + AT_ONCE, runs)))
            await asyncio.sleep(0)
    finally:
        await engine.stop()
        await isolates.close()
    return parked


def _write(journal: SqliteJournal, entries: list[Entry], row: tuple[Any, ...], numbers: range) -> None:
    """Write runs like the first; each a second later."""
    lease, text, played, started_at = row
    data = {name: value for name, value in entries[0].data.items() if name != "number"}
    new, writes = [], []
    for number in numbers:
        run = uuid.uuid4().hex[:24]
        own = [entry._replace(run=run, at=entry.at + number) for entry in entries]
        last = own[-1]
        new.append(NewRun(run, own[0].at, data))
        timers: dict[str, float | None] = {
            entry.key: entry.data["due"] + number for entry in own if entry.type == "asked"
        }
        summary = Summary("waiting", None, started_at + number, None, last.at, last.seq, 1, False, played, text)
        writes.append(Write(run, 0, lease, summary, [(entry, encode(entry.data)) for entry in own[1:]], timers))
    journal.commit(writes, new)


@cache
def _parked() -> Parked:
    said = os.environ.get(VARIABLE, str(DEFAULT))
    if not said.isdigit() or not 1 <= int(said) <= 10_000_000:
        raise Invalid(f"{VARIABLE} has value {said!r}. Write how many runs shall wait, up to 10000000.")
    directory = tempfile.TemporaryDirectory(prefix="stepwell-bench-")
    atexit.register(directory.cleanup)
    return asyncio.run(park(Path(directory.name), int(said)))


def bytes_per_run(parked: Parked) -> list[float]:
    """Bytes by which each run makes the database larger: tables and indexes, without room that is free."""
    with closing(sqlite3.connect(parked.database)) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return [(_used(parked.database) - parked.before) / parked.runs]


def _used(database: Path) -> int:
    with closing(sqlite3.connect(database)) as db:
        size, pages, free = (
            int(db.execute(f"PRAGMA {name}").fetchone()[0]) for name in ("page_size", "page_count", "freelist_count")
        )
    return size * (pages - free)


async def start_ms(parked: Parked, samples: int = 5) -> list[float]:
    """From opening the journal until the engine runs."""
    found = []
    for _ in range(samples):
        isolates = ProcessIsolates()
        engine = _engine(parked.journal(), isolates)
        begun = time.perf_counter()
        await engine.start()
        found.append((time.perf_counter() - begun) * 1000)
        await engine.stop()
        await isolates.close()
    return found


async def memory_per_run(parked: Parked) -> list[float]:
    """Bytes by which the process is larger while an engine runs on them, after what the server does each minute."""
    isolates = ProcessIsolates()
    give_back_memory()
    before = _resident()
    engine = _engine(parked.journal(), isolates)
    await engine.start()
    await asyncio.sleep(0)
    await engine.relax()
    gc.collect()
    give_back_memory()
    grown = _resident() - before
    await engine.stop()
    await isolates.close()
    return [max(0, grown) / parked.runs]


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


async def wake_ms(parked: Parked, samples: int = SAMPLES) -> list[float]:
    """From approving one until its next step is on disk; one after the other, from everywhere among them."""
    isolates = ProcessIsolates()
    engine = _engine(parked.journal(), isolates)
    await engine.start()
    done = asyncio.Event()
    engine.subscribe(lambda news, _state: done.set() if news.type == "done" and news.key == "next#1" else None)
    ended = asyncio.Event()
    engine.subscribe(lambda news, _state: ended.set() if getattr(news, "text", "") == "end" else None)
    found = []
    try:
        for run in _some_waiting(parked, samples + 1):
            done.clear()
            ended.clear()
            begun = time.perf_counter()
            await engine.decide(run, "Go on?#1", {"by": "bench", "approve": True}, _approved)
            await done.wait()
            found.append((time.perf_counter() - begun) * 1000)
            await ended.wait()
    finally:
        await engine.stop()
        await isolates.close()
    return found[1:]  # the first one warms up


def _approved(_run: RunState, _step: StepState) -> "Any":
    return "approved"


def _some_waiting(parked: Parked, count: int) -> list[str]:
    pick = "SELECT id FROM runs WHERE scope = 'bench/x' AND number > ? AND approvals > 0 ORDER BY number LIMIT 1"
    with closing(sqlite3.connect(parked.database)) as db:
        steps = (parked.runs * place // count for place in range(count))
        return list(dict.fromkeys(str(db.execute(pick, (number,)).fetchone()[0]) for number in steps))


def _list_ms(parked: Parked, listed: Callable[[History], object], samples: int = SAMPLES) -> list[float]:
    store, repositories = Store(parked.database), Repositories(parked.state)
    history = History(store, repositories)
    found = []
    try:
        for _ in range(samples + 1):
            begun = time.perf_counter()
            listed(history)
            found.append((time.perf_counter() - begun) * 1000)
    finally:
        repositories.close()
        store.close()
    return found[1:]


def list_ms(parked: Parked, samples: int = SAMPLES) -> list[float]:
    """The newest 50 of the repository, as its page lists them."""
    return _list_ms(parked, lambda history: history.page(_ACTOR, Filter("bench", "x"), None, 50), samples)


def inbox_ms(parked: Parked, samples: int = SAMPLES) -> list[float]:
    """What waits for a person: those that are counted, and the oldest 100, as every page and the inbox show them."""

    def look(history: History) -> None:
        history.asking(_ACTOR, 100)
        history.waiting(_ACTOR, 100)

    return _list_ms(parked, look, samples)


def _sample(measure: Callable[[Parked], list[float] | Awaitable[list[float]]], unit: str) -> Callable[[], Sample]:
    def measured() -> Sample:
        found = measure(_parked())
        return Sample(tuple(found if isinstance(found, list) else asyncio.run(_awaited(found))), unit)

    return measured


async def _awaited(found: Awaitable[list[float]]) -> list[float]:
    return await found


MEASURES: Mapping[str, Callable[[], Sample]] = {
    "parked_bytes_on_disk": _sample(bytes_per_run, "bytes"),
    "parked_bytes_of_memory": _sample(memory_per_run, "bytes"),
    "parked_start_ms": _sample(start_ms, "ms"),
    "parked_list_ms": _sample(list_ms, "ms"),
    "parked_inbox_ms": _sample(inbox_ms, "ms"),
    "parked_wake_ms": _sample(wake_ms, "ms"),
}
