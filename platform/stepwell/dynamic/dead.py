"""Runs that will not go on by themselves, or came to an end that was not of their code's making, with the reason.

`stands`: the code, or an isolate for it, is not to be had; the run is kept, and goes on when it is.
`load`: the code was there and could not be imported. `diverged`: it asks otherwise than its journal says.
`turns`: it was ended again and again, or did not yield. `unreadable`: the journal is damaged, and was set aside.
A run whose code raised an error has failed by its own word and is not among them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from stepwell.dynamic.survey import Survey, cursor_of
from stepwell.engine.engine import Engine
from stepwell.engine.entries import Entry
from stepwell.engine.selection import Selection
from stepwell.engine.versions import REMEDY

if TYPE_CHECKING:
    from stepwell.store.journal import RunRow

Death = Literal["stands", "load", "diverged", "turns", "unreadable"]
MOST = 100
_ENDED = frozenset({"TurnFailed", "Stalled"})
"""Errors that the engine gives to code that it had to end."""


@dataclass(frozen=True)
class Dead:
    """One of them; `since` is when it came to this, in seconds since the epoch."""

    run: str
    tenant: str
    scope: str
    number: int
    title: str
    state: str
    death: Death
    reason: str
    since: float


@dataclass(frozen=True)
class DeadRuns:
    """Some of them. `next` is where to go on, or None when every run has been looked at."""

    runs: tuple[Dead, ...]
    looked_at: int
    next: str | None


async def dead_runs(
    engine: Engine, which: Selection | None = None, after: str | None = None, most: int = MOST
) -> DeadRuns:
    """Find at most `most` of them, from the beginning or from where an answer ended (`after`)."""
    which = replace(which or Selection(), explained=True)
    survey = Survey(engine, which, cursor_of(after, f"dead {which.fingerprint}", engine.clock.now()))
    found: list[Dead] = []
    while not survey.over and len(found) < most:
        rows = await survey.more()
        ends = await engine.last_entries([row.id for row in rows if row.state != "diverged"])
        for row in rows:
            if (death := _death(row, ends)) is not None:
                found.append(_dead(row, death))
                if len(found) == most:
                    survey.stop_behind(row)
                    break
    return DeadRuns(tuple(found), survey.looked_at, survey.next)


def _death(row: "RunRow", ends: "Mapping[str, Entry | None]") -> Death | None:
    told = told_by_row(row.state, row.reason, row.ended_at)
    if told != "ask":
        return told
    if row.id not in ends:
        return None
    last = ends[row.id]
    return "unreadable" if last is None else told_by_entry(last)


def told_by_row(state: str, reason: str | None, ended_at: float | None) -> Death | Literal["ask"] | None:
    """Tell what a run died of from its row alone; "ask" when its last entry must say it, None when it has not died."""
    if state == "diverged":
        return "diverged"
    if reason is None or state in {"passed", "cancelled"}:
        return None
    if ended_at is None and reason.endswith(REMEDY):
        return "unreadable"
    return "ask"


def told_by_entry(last: Entry) -> Death | None:
    """Tell it from the last entry of a run's journal."""
    if last.type == "turn_failed":
        return "turns" if last.data.get("counted", True) else "stands"
    error = last.data.get("error") if last.type == "ended" else None
    if error and error.get("type") in _ENDED:
        return "turns"
    return "load" if error and ("file" in error or error.get("type") == "PipelineRefused") else None


def _dead(row: "RunRow", death: Death) -> Dead:
    reason = row.reason or ""
    return Dead(row.id, row.tenant, row.scope, row.number, row.title, row.state, death, reason, row.updated_at)
