"""What a turn's ending means for its run."""

from dataclasses import dataclass
from typing import Any, Literal

from stepwell.engine.live import Live
from stepwell.engine.parts import Parts
from stepwell.engine.state import Inflight


@dataclass(frozen=True)
class Ending:
    """How a turn ended. `after` are seconds until another try makes sense; None: when something happens."""

    kind: Literal["hibernated", "ended", "continued", "failed", "lost", "postponed", "abandoned"]
    reason: str = ""
    after: float | None = None


def conclude(live: Live, ending: Ending, parts: Parts) -> float | None:
    """Draft what follows from it; give the seconds until the next try when one is due by itself.

    An isolate's own death is a failed attempt of the step that ran in it. When several ran, nobody knows whose fault it
    was: all were lost, and five losses in a row fail a step. When none ran, it is the turn that failed.
    """
    inflight = list(live.state.inflight.values())
    if ending.kind == "continued":
        return None
    if ending.kind == "hibernated":
        live.lost_turns = 0
        parts.commits.touch(live)
        return None
    if ending.kind == "postponed":
        return _postpone(live, ending, parts)
    if ending.kind == "lost" or len(inflight) > 1:
        return _lose(live, inflight, ending.reason, parts)
    if ending.kind == "failed" and inflight:
        _fail_attempt(live, inflight[0], ending.reason, parts)
    elif ending.kind == "failed":
        parts.commits.append(live, "turn_failed", "", {"reason": ending.reason, "counted": True})
        if live.state.failed_turns >= parts.limits.failed_turns:
            message = f"The code was ended {live.state.failed_turns} times in a row. {ending.reason}"
            end_run(live, parts, "failed", None, _error("TurnFailed", message))
    return None


def _postpone(live: Live, ending: Ending, parts: Parts) -> float | None:
    cancel, after = live.state.cancel, ending.after
    if cancel and not cancel.get("undo"):
        grace = cancel["at"] + parts.limits.grace - parts.clock.now()
        if after is None or not 0 < grace <= 2 * parts.limits.grace:  # more: the clock was set back meanwhile
            end_run(live, parts, "cancelled", None, None)  # code that cannot be had has nothing to clean up with
            return None
        after = min(after, grace)
    live.blocked_at = live.heard
    if live.state.reason != ending.reason:
        parts.commits.append(live, "turn_failed", "", {"reason": ending.reason, "counted": False})
    return after


def _lose(live: Live, inflight: list[Inflight], reason: str, parts: Parts) -> float | None:
    for one in inflight:
        parts.commits.append(live, "lost", one.key, {"reason": reason, **_over(one, parts)}, one.attempt)
        step = live.state.steps[one.key]
        if step.losses >= parts.limits.losses:
            message = f"{one.name!r} was lost {step.losses} times in a row; the last time: {reason}"
            error = {"ok": False, "error": _error("Lost", message), "seconds": 0.0}
            parts.commits.append(live, "done", one.key, error, one.attempt)
    live.lost_turns += 1
    parts.commits.touch(live)
    if inflight or live.lost_turns < parts.limits.losses:
        return None
    live.lost_turns, live.blocked_at = 0, live.heard
    return parts.limits.again


def _fail_attempt(live: Live, one: Inflight, reason: str, parts: Parts) -> None:
    data = {"error": _error("IsolateDied", reason), **_over(one, parts)}
    if one.delay is None:
        parts.commits.append(live, "done", one.key, {"ok": False, **data}, one.attempt)
    else:
        parts.commits.append(live, "retry", one.key, {"due": parts.clock.now() + one.delay, **data}, one.attempt)


def _over(one: Inflight, parts: Parts) -> dict[str, Any]:
    """What every entry says that ends the attempt of an inline step."""
    inline = {"kind": "do", "name": one.name, "fingerprint": one.fingerprint}
    return {"seconds": round(max(0.0, parts.clock.now() - one.since), 6), "inline": inline}


def _error(kind: str, message: str) -> dict[str, str]:
    return {"type": kind, "message": message, "traceback": ""}


def end_run(live: Live, parts: Parts, state: str, result: Any, error: dict[str, Any] | None) -> None:
    """Draft the last entry of a run."""
    if not live.state.finished and not live.gone:
        data = {"state": state, "result": result} if error is None else {"state": state, "error": error}
        parts.commits.append(live, "ended", "", data)
