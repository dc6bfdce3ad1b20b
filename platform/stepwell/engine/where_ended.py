"""Where a run came to its end: the step from which a restart goes on. Pure.

A failure that the code has caught is not where the run ended, and a command that lost a race was not cut off by that.
So what counts is the error of the run, which names its step, and then what was still open when the run was cancelled or
ended. Going on from a caught failure would do again what had passed behind it.
"""

from collections.abc import Mapping
from typing import Any

from stepwell.engine.state import RunState, StepState


def where_ended(state: RunState) -> str:
    """Give the key of the step at which an ended run came to its end, "" when none did."""
    if not state.finished or state.final == "passed":
        return ""
    cut_off = _cut_off(state)
    if state.cancel is not None:
        return cut_off
    error = state.error or {}
    named = str(error.get("step") or "")
    return named if named in state.steps else _told(state, error) or cut_off or _first_failed(state, error)


def _cut_off(state: RunState) -> str:
    """Give the first step that was under way when the run was cancelled, or when it ended."""
    at = float(state.cancel["at"] if state.cancel else state.ended_at or 0.0)
    return next((step.key for step in state.steps.values() if _open_at(step, at)), "")


def _open_at(step: StepState, at: float) -> bool:
    return step.state in {"cancelled", "skipped"} and step.asked_at <= at <= (step.ended_at or at)


def _told(state: RunState, error: Mapping[str, Any]) -> str:
    """Give the step whose failure the message tells of: errors of older runs do not name it."""
    message = str(error.get("message", ""))
    failed = [step for step in state.steps.values() if step.state == "failed"]
    told = [step.key for step in failed if step.name in message and (step.error or {}).get("message", "\0") in message]
    return told[-1] if told else ""


def _first_failed(state: RunState, error: Mapping[str, Any]) -> str:
    """Give the first step that failed when the code's own word ended the run: it may have gathered failures."""
    own = error.get("traceback") and "file" not in error  # else the engine ended it
    return next((step.key for step in state.steps.values() if step.state == "failed"), "") if own else ""
