"""Check what is kept beside the journals against them, and mend it: run by run, in small transactions.

A run whose journal cannot be read whole is named and left alone; nothing is guessed about it. A mended run that has not
ended is played anew from its first entry: that costs one turn, and no wake-up can be lost by it.
"""

import contextlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from stepwell.engine.derive import derive
from stepwell.engine.entries import Entry
from stepwell.engine.rebuild_queues import ToldQueues
from stepwell.errors import Conflict, StepwellError
from stepwell.store.derived import Derived, Difference, Kept, Tables, differences
from stepwell.store.json_text import encode
from stepwell.store.queues import Rows

RUNS_AT_ONCE = 100
DIFFERENCES_TOLD = 1000


@dataclass(frozen=True, slots=True)
class Damaged:
    """A run whose journal does not tell a whole story."""

    run: str
    why: str

    def __str__(self) -> str:
        return f"run {self.run}: its journal is damaged: {self.why}"


@dataclass
class Report:
    """What was found. Of the differences the first DIFFERENCES_TOLD are kept, and all are counted."""

    runs: int = 0
    entries: int = 0
    wrong: int = 0  # runs and last numbers
    told: list[Difference] = field(default_factory=list)
    damaged: list[Damaged] = field(default_factory=list)
    mended: bool = False

    def add(self, found: Sequence[Difference]) -> None:
        """Count a run's differences."""
        self.wrong += bool(found)
        self.told += found[: DIFFERENCES_TOLD - len(self.told)]


class Rebuild:
    """Goes through all journals once. With `mend`, no engine may use the same database."""

    def __init__(self, tables: Tables, *, mend: bool, progress: Callable[[Report], None] = lambda report: None) -> None:
        self._tables = tables
        self._mend = mend
        self._progress = progress
        self._numbers: dict[str, int] = {}  # scope → highest number of a journal
        self._told = ToldQueues()
        self.report = Report(mended=mend)

    def run(self) -> Report:
        """Do it."""
        after = ""
        while True:
            with self._tables.moment(write=self._mend):
                runs = self._tables.journals(after, RUNS_AT_ONCE)
                for run in runs:
                    self._look_at(self._tables.kept(run))
            if not runs:
                break
            after = runs[-1]
            self._progress(self.report)
        self._rows_without_journal()
        self._last_numbers()
        self._queues()
        return self.report

    def _look_at(self, kept: Kept) -> None:
        self.report.runs += 1
        self.report.entries += len(kept.entries)
        try:
            entries = _whole([self._tables.read(kept.run, row) for row in kept.entries])
            told = _told(entries, kept.derived)
            self._told.add(entries)
        except StepwellError as error:
            self.report.damaged.append(Damaged(kept.run, str(error).partition(" Run: ")[0]))
            return
        except Exception as error:  # whatever is in it: it must not hide what is wrong with the other runs
            self.report.damaged.append(Damaged(kept.run, f"{type(error).__name__}: {error}"))
            return
        scope, number = told.row["scope"], told.row["number"]
        self._numbers[scope] = max(number, self._numbers.get(scope, 0))
        found = differences(kept.derived, told)
        if found and self._mend:
            try:
                self._tables.put(_anew(entries, told))
            except Conflict as error:
                self.report.damaged.append(Damaged(kept.run, str(error)))
                return
        self.report.add(found)

    def _rows_without_journal(self) -> None:
        with self._tables.moment(write=self._mend):
            lost = self._tables.without_journal()
            for run in lost:
                self.report.add([Difference(run, "row", "there", None)])
            if self._mend:
                self._tables.remove(lost)

    def _last_numbers(self) -> None:
        with self._tables.moment(write=self._mend):
            kept = self._tables.last_numbers()
            for scope, number in sorted(self._numbers.items()):
                if kept.get(scope, 0) < number:
                    self.report.add([Difference("", f"last number of {scope}", kept.get(scope), number)])
                    if self._mend:
                        self._tables.put_last_number(scope, number)

    def _queues(self) -> None:
        now = time.time()
        with self._tables.moment(write=self._mend):
            kept = self._tables.queues()
            found = self._told.differences(kept, now)
            if found and not self._mend:  # a server may have gone on since: once more, all of it in this moment
                found = self._told_now(kept).differences(kept, now)
            for difference in found:
                self.report.add([difference])
            if found and self._mend:
                self._tables.put_queues(self._told.rows(kept, now))

    def _told_now(self, kept: Rows) -> ToldQueues:
        told = ToldQueues(uses=self._told.uses)
        for run in sorted({place.run for place in kept.places} | self._told.runs()):
            rows = self._tables.kept(run).entries
            with contextlib.suppress(Exception):  # a damaged journal, named before
                told.add(_whole([self._tables.read(run, row) for row in rows]))
        return told


def _whole(entries: list[Entry]) -> list[Entry]:
    begins = entries[0].type
    if begins not in {"created", "continued"}:
        raise ValueError(f"it begins with {begins!r}, not with 'created'")
    for place, entry in enumerate(entries, 1 if begins == "created" else entries[0].seq):
        if entry.seq != place:
            raise ValueError(f"entry {place} is missing, {entry.seq} follows {place - 1}")
    return entries


def _told(entries: list[Entry], kept: Derived | None) -> Derived:
    row = kept.row if kept is not None else {}
    lease, played = (row.get(name) for name in ("lease", "played"))
    return derive(
        entries, _texts(entries), lease if isinstance(lease, int) else 0, played if isinstance(played, int) else 0
    )


def _anew(entries: list[Entry], told: Derived) -> Derived:
    """The same with nothing played: what made the row wrong may have made that wrong too."""
    return derive(entries, _texts(entries), told.row["lease"], 0)


def _texts(entries: list[Entry]) -> list[str]:
    return [encode(entry.data) for entry in entries]
