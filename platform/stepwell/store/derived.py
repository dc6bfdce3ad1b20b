"""What is kept beside a run's journal although it follows from it: its row, its due times, its layers.

Lists of runs and a starting engine read these instead of every journal. A journal is never changed to fit them.
"""

import json
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

from stepwell.engine.entries import Entry
from stepwell.store.asked import asked_of
from stepwell.store.journal import Summary
from stepwell.store.json_text import encode
from stepwell.store.queues import Rows

COLUMNS = (
    "id", "tenant", "scope", "number", "title", "state", "reason", "created_at", "started_at", "ended_at",
    "updated_at", "seq", "lease", "approvals", "awake", "played", "metadata", "summary",
)  # fmt: skip
"""Of the table `runs`, in its order."""
_JSON = frozenset({"metadata", "summary"})


@dataclass(frozen=True, slots=True)
class Derived:
    """A run as its journal or as the tables tell it. `row` maps COLUMNS to values."""

    row: Mapping[str, Any]
    timers: Mapping[str, float]  # key → due; not when the engine looks again at a held run, see queues.py
    layers: frozenset[str]


@dataclass(frozen=True, slots=True)
class Kept:
    """A run as it lies on disk. `entries` are raw rows: what cannot be read of one run must not stop the others."""

    run: str
    entries: list[tuple[Any, ...]]  # seq, at, type, key, attempt, turn, version, data
    derived: Derived | None


class Tables(Protocol):
    """The tables that follow from the journals. Everything outside of a `moment` is a transaction of its own."""

    def faults(self) -> list[str]:
        """Have the database look at itself; empty when it is sound."""
        ...

    def moment(self, *, write: bool) -> AbstractContextManager[None]:
        """One transaction: everything read inside belongs to one moment. Nothing is kept when it raises."""
        ...

    def estimate(self) -> int:
        """About how many runs there are, for progress."""
        ...

    def journals(self, after: str, limit: int) -> list[str]:
        """Ids of runs that have a journal, in order."""
        ...

    def kept(self, run: str) -> Kept: ...

    def read(self, run: str, row: tuple[Any, ...]) -> Entry:
        """Read a raw row; raises when it is none that this Stepwell can read."""
        ...

    def put(self, told: Derived) -> None:
        """Write what the journal tells in place of what is kept. Raises Conflict when its number is another run's."""

    def without_journal(self) -> list[str]:
        """Runs of which there are rows, but not one entry."""
        ...

    def remove(self, runs: Sequence[str]) -> None:
        """Remove all rows of runs, but not their journals."""

    def last_numbers(self) -> dict[str, int]:
        """The last number given in each scope."""
        ...

    def put_last_number(self, scope: str, last: int) -> None:
        """Have the next run of the scope numbered above `last`."""

    def queues(self) -> Rows:
        """What is kept about queues of runs."""
        ...

    def put_queues(self, rows: Rows) -> None:
        """Write all queues of runs anew."""


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing that is kept otherwise than the journal says. None: it is not there."""

    run: str
    what: str  # a column, "row", "timer KEY", "layer ID", "last number of SCOPE"
    kept: Any
    journal: Any

    def __str__(self) -> str:
        if self.kept is None and self.what == "row":
            return f"run {self.run}: its row is missing"
        if self.journal is None and self.what == "row":
            return f"run {self.run}: there are rows of it, but no journal"
        return (
            f"{f'run {self.run}: ' if self.run else ''}{self.what} is {self.kept!r}, the journal says {self.journal!r}"
        )


def row_of(created: Entry, now: Summary, lease: int) -> dict[str, Any]:
    """Give the row of `runs` that belongs to the first entry of a run's journal and its summary."""
    data = created.data
    ancestry = data.get("ancestry")
    created_at = ancestry["at"] if ancestry else created.at
    return {
        "id": created.run, "tenant": data["tenant"], "scope": data["scope"], "number": data["number"],
        "title": data["title"], "created_at": data.get("created_at", created_at),
        "lease": lease, "metadata": encode(data["metadata"]),
        "state": now.state, "reason": now.reason, "started_at": now.started_at, "ended_at": now.ended_at,
        "updated_at": now.updated_at, "seq": now.seq, "approvals": now.approvals, "awake": int(now.awake),
        "played": now.played, "summary": now.text,
    }  # fmt: skip


def differences(kept: Derived | None, told: Derived) -> list[Difference]:
    """Compare what is kept with what the journal tells.

    A row that says `running` of a run which a server was playing may be right: functions in an isolate are executed
    before any entry tells of them. The next turn writes it anew. A run that has ended and stands on no layer
    has let go of them all.
    """
    run = told.row["id"]
    if kept is None:
        return [Difference(run, "row", None, told.row["state"])]
    found = []
    for name in COLUMNS:
        old, new = kept.row[name], told.row[name]
        if name == "state" and old == "running" and told.row["awake"]:
            continue
        if old != new and not (name in _JSON and _meant(old) == _meant(new)):
            found.append(Difference(run, name, old, new))
    for key in sorted({*kept.timers, *told.timers}):
        old, new = kept.timers.get(key), told.timers.get(key)
        if old != new:
            found.append(Difference(run, f"timer {key}", old, new))
    let_go = told.row["ended_at"] is not None and not kept.layers
    for layer in sorted(kept.layers ^ told.layers if not let_go else ()):
        old, new = (run if layer in of.layers else None for of in (kept, told))
        found.append(Difference(run, f"layer {layer}", old, new))
    return found


def _meant(text: Any) -> Any:
    """What a column of JSON says, however it was written."""
    try:
        told = json.loads(text)
        if isinstance(told, dict) and "approvals" in told:
            told["approvals"] = [asked_of(written) for written in told["approvals"]]
    except (TypeError, ValueError, KeyError, AttributeError):
        return text
    return told
