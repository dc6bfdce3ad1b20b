"""People's power over a run, turned into drafts of its journal: pause, resume, cancel, terminate.

A cancelled run has to run once more, to clean up: so a pause ends with it. A cancellation is not paused either, since
its grace would go on. Who wants neither terminates.
"""

from stepwell.engine.endings import end_run
from stepwell.engine.live import Live
from stepwell.engine.parts import Parts
from stepwell.errors import Conflict


def draft_pause(live: Live, parts: Parts, by: str, reason: str) -> None:
    """Pause a run that has not ended. Raises Conflict."""
    state = live.state
    if state.paused:
        raise Conflict(
            f"Run #{state.number} is paused already, by {state.paused.get('by')}. Resume it to have it go on."
        )
    if state.cancel:
        raise Conflict(
            f"Run #{state.number} is being cancelled by {state.cancel.get('by')}. Terminate it to end it now."
        )
    parts.commits.append(live, "paused", "", {"by": by, "reason": reason})


def draft_resumption(live: Live, parts: Parts, by: str) -> None:
    """Resume a paused run. Raises Conflict."""
    if not live.state.paused:
        raise Conflict(f"Run #{live.state.number} is not paused: it is {live.state.state}.")
    parts.commits.append(live, "resumed", "", {"by": by})


def draft_cancel(live: Live, parts: Parts, by: str, reason: str, undo: bool) -> None:
    """Cancel a run, once, and have it undone if wanted; one that never began ends at once."""
    state = live.state
    if state.finished or state.cancel is not None:
        return
    untouched = state.started_at is None and not (live.turn and live.turn.attached)
    if state.paused:
        parts.commits.append(live, "resumed", "", {"by": by})
    parts.commits.append(live, "cancel", "", {"by": by, "reason": reason, **({"undo": True} if undo else {})})
    if untouched:
        end_run(live, parts, "cancelled", None, None)


def draft_termination(live: Live, parts: Parts, by: str, reason: str) -> None:
    """End a run with no word to its code."""
    if not live.state.finished:
        parts.commits.append(live, "cancel", "", {"by": by, "reason": reason, "now": True})
        end_run(live, parts, "cancelled", None, None)
