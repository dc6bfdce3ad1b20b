"""Hosts whose steps end, and whose disk refuses, when a test says so."""

import asyncio
import json
import sqlite3
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path

from stepwell.engine.clock import TestClock
from stepwell.engine.engine import Engine
from stepwell.engine.entries import Entry
from stepwell.engine.local import NoLogs
from stepwell.engine.seams import Attempt, Isolates, Loader, Outcome, Output, Prepared
from stepwell.engine.specs import Limits
from stepwell.store.journal import Committed, NewRun, Write
from stepwell.store.journal_sqlite import SqliteJournal


class HeldExecutor:
    """Lets a test say when each attempt ends, and how."""

    def __init__(self, effects: Path) -> None:
        self.effects = effects
        self.held: dict[tuple[str, str], asyncio.Future[Outcome]] = {}

    @property
    def stuck(self) -> set[str]:
        return {key for _, key in self.held}

    async def recover(self, committed: Callable[[str], bool], ended: Callable[[str], bool]) -> None: ...

    async def abandon(self, run: str, key: str) -> None: ...

    async def forget(self, run: str) -> None: ...

    async def missing(self, layers: Sequence[str]) -> list[str]:
        return []

    async def drop(self, layers: Sequence[str]) -> None: ...

    async def erase(self, runs: Sequence[str], layers: Sequence[str]) -> None: ...

    async def execute(self, attempt: Attempt, prepared: Prepared, output: Output) -> Outcome:
        with self.effects.open("a") as file:
            file.write(f"{attempt.run} {attempt.key}\n")
        place = (attempt.run, attempt.key)
        self.held[place] = asyncio.get_running_loop().create_future()
        try:
            return await self.held[place]
        finally:
            del self.held[place]


class Record:
    """Every entry that disks have taken, also of rounds whose journal is gone; and in which transaction."""

    def __init__(self) -> None:
        self.runs: dict[str, list[Entry]] = defaultdict(list)
        self.transactions: dict[tuple[str, int], int] = {}
        self._last = 0

    def take(self, writes: Sequence[Write], new: Sequence[NewRun], committed: Committed) -> None:
        """Note a transaction that is on disk."""
        self._last += 1
        for run, created in zip(new, committed.created, strict=True):
            if created.entry is not None:
                self._add([created.entry, *(entry for entry, _ in (run.adopted.entries if run.adopted else ()))])
        for write in writes:
            if write.run not in committed.stale:
                self._add([entry for entry, _ in write.entries])

    def when(self, entry: Entry) -> int:
        """Give the number of the transaction in which an entry was written."""
        return self.transactions[entry.run, entry.seq]

    def _add(self, entries: Sequence[Entry]) -> None:
        for entry in entries:
            self.runs[entry.run].append(entry._replace(data=json.loads(json.dumps(entry.data))))
            self.transactions[entry.run, entry.seq] = self._last


class FailingDisk(SqliteJournal):
    """Refuses so many commits, and records the others."""

    refusals = 0
    has_refused = False

    def __init__(self, path: Path, record: Record) -> None:
        super().__init__(path, wal_bytes=4096)
        self.record = record

    def commit(self, writes: Sequence[Write], new: Sequence[NewRun] = ()) -> Committed:
        if self.refusals > 0:
            self.refusals -= 1
            self.has_refused = True
            raise sqlite3.OperationalError("database or disk is full")
        committed = super().commit(writes, new)
        self.record.take(writes, new, committed)
        return committed


class Reader(SqliteJournal):
    """Reads a journal that somebody has opened; nothing is made ready for writing, which waits for the disk."""

    def open(self) -> None:
        self._db = sqlite3.connect(self.path, isolation_level=None)


class Host:
    """An engine with its journal and executor. `alone`: from its start on; `reliable`: and its disk took everything."""

    def __init__(self, path: Path, isolates: Isolates, loader: Loader, clock: TestClock, record: Record) -> None:
        self.alone = True
        self.journal = FailingDisk(path / "s.db", record)
        self.executor = HeldExecutor(path / "commands")
        self.engine = Engine(
            self.journal, isolates, loader, logs=NoLogs(), executor=self.executor, clock=clock,
            limits=Limits(nap=0, linger=0),
        )  # fmt: skip

    @property
    def reliable(self) -> bool:
        return self.alone and not self.journal.has_refused


def outcome(how: str) -> Outcome:
    """Make the end of an attempt that passes, fails or is lost."""
    error = {"type": "CommandFailed", "message": how, "traceback": ""}
    if how == "passes":
        return Outcome(True, {"exit_code": 0, "seconds": 0.0, "outputs": {}}, exit_code=0)
    return Outcome(False, error=error, exit_code=1, lost=how == "is lost")
