"""States of runs that rest or are over, folded from their journals and kept for the next look.

How large a journal is, its author decides: together they are kept only up to a bound, or a few dozen large runs that
somebody looks at would take all memory of the server.
"""

from dataclasses import replace
from typing import NamedTuple

from stepwell.ci.history import History
from stepwell.ci.remembered import Remembered
from stepwell.ci.views import RunSummary, WaitingView
from stepwell.engine.fold import fold
from stepwell.engine.state import RunState

FOLDED = 64
"""Runs that are over, and as many that wait, whose state is kept for the next view."""
ROOM = 100_000
"""Entries of all their journals together, of about 2 kB each; every 1,000 characters of JSON count like one more."""


class _Folded(NamedTuple):
    state: RunState
    weight: int


class FoldedRuns:
    """Gives the state of a run that the caller has checked."""

    def __init__(self, history: History) -> None:
        self._history = history
        self._known: Remembered[_Folded] = Remembered(2 * FOLDED, weigh=lambda one: one.weight, room=ROOM)

    def of(self, run: str, seq: int | None = None) -> RunState:
        """Fold the whole journal of a run that is over, or up to the entry at which it rests."""

        def read() -> _Folded:
            entries, characters = self._history.measured(run, limit=seq)
            return _Folded(fold(entries), len(entries) + characters // 1000)

        return self._known.of(f"{run} {seq}", read).state


def as_of(summary: RunSummary, run: RunState) -> RunSummary:
    """Bring a summary to the moment of a state that may be newer than its row."""
    waiting = [run.steps[key] for key in run.approvals]
    return replace(
        summary,
        state=run.state,
        reason=run.reason or "",
        started_at=run.started_at,
        ended_at=run.ended_at,
        counts={state: number for state, number in run.counts.items() if number},
        waiting=tuple(WaitingView(step.key, step.name, str(step.options.get("environment") or "")) for step in waiting),
        waited=run.waited,
        asks_since=run.asks_since,
        seq=run.seq,
    )
