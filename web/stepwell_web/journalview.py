"""The journal in words for people: one line for each entry."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from stepwell.engine.entries import Entry
from stepwell_web import times


@dataclass(frozen=True)
class JournalLine:
    """An entry as the journal's page shows it."""

    seq: int
    at: float
    step: str
    words: str
    tone: str  # the state whose shape stands before the words; "" for what is no outcome


def line(entry: Entry) -> JournalLine:
    """Say what an entry means."""
    data: Mapping[str, Any] = entry.data if isinstance(entry.data, Mapping) else {}
    return JournalLine(entry.seq, entry.at, entry.key, _words(entry, data), _tone(entry, data))


def _tone(entry: Entry, data: Mapping[str, Any]) -> str:
    if entry.type in ("done", "decision"):
        return "passed" if data.get("ok") or data.get("approve") else "failed"
    return str(data.get("state") or "") if entry.type == "ended" else _TONES.get(entry.type, "")


_TONES = {
    "retry": "failed", "turn_failed": "failed", "lost": "lost", "dropped": "cancelled", "cancel": "cancelled",
    "paused": "paused",
}  # fmt: skip


def _words(entry: Entry, data: Mapping[str, Any]) -> str:
    say = _SAYINGS.get(entry.type)
    return say(entry, data) if say else entry.type


def _created(_: Entry, data: Mapping[str, Any]) -> str:
    before = data.get("ancestry")
    adopted = (
        f", restarted from {before['step']}: what comes before is another run's{_decided(before)}" if before else ""
    )
    return f"Run created from {data.get('entry') or 'its code'}{adopted}"


def _decided(before: Mapping[str, Any]) -> str:
    if before.get("same_code") is None:
        return ""
    return ", with its approvals" if before["same_code"] else ", without approvals: the code is another"


def _asked(_: Entry, data: Mapping[str, Any]) -> str:
    held = ", held for its environment" if data.get("held") else ""
    if data.get("kind") == "run" and data.get("due") is not None:
        held += ", to begin later as its environment wants"
    return f"Code asked for {_KINDS.get(str(data.get('kind')), 'a step')}{held}"


def _decision(_: Entry, data: Mapping[str, Any]) -> str:
    comment = f": “{data['comment']}”" if data.get("comment") else ""
    return f"{data.get('by')} {'approved' if data.get('approve') else 'rejected'}{comment}"


def _done(_: Entry, data: Mapping[str, Any]) -> str:
    if data.get("reused"):
        return f"Reused from run #{data['reused']['number']}"
    took = f" after {times.duration(data['seconds'])}" if data.get("seconds") else ""
    return f"Passed{took}" if data.get("ok") else f"Failed{took}: {_message(data)}"


def _lost(entry: Entry, data: Mapping[str, Any]) -> str:
    why = str(data.get("reason") or "").removeprefix("lost: ")
    return f"Attempt {entry.attempt} was lost{f': {why}' if why else ''}; run again, which counts as no failure"


def _order(data: Mapping[str, Any], what: str) -> str:
    why = f": {data['reason']}" if data.get("reason") else ""
    undo = ", to be undone" if data.get("undo") else ""
    return f"{data.get('by') or 'Somebody'} {what} the run{undo}{why}"


def _ended(_: Entry, data: Mapping[str, Any]) -> str:
    return f"Run {data.get('state')}" + (f": {_message(data)}" if data.get("error") else "")


_SAYINGS: Mapping[str, Callable[[Entry, Mapping[str, Any]], str]] = {
    "created": _created,
    "admitted": lambda *_: "Nothing is in its way any more: it may begin",
    "continued": lambda _, data: f"Went on under a fresh journal: round {data.get('round')}",
    "asked": _asked,
    "called": lambda _, data: f"It is run #{data.get('number')}",
    "released": lambda _, data: f"Released by {data.get('by') or 'its environment'}",
    "started": lambda entry, _: f"Attempt {entry.attempt} started",
    "retry": lambda entry, data: f"Attempt {entry.attempt} failed: {_message(data)}; tried again",
    "lost": _lost,
    "fired": lambda *_: "Its time came",
    "decision": _decision,
    "event": lambda _, data: f"Event “{data.get('type')}” arrived",
    "took": lambda _, data: f"Took the event of entry {data.get('event')}",
    "done": _done,
    "dropped": lambda *_: "Cancelled by the code",
    "cancel": lambda _, data: _order(data, "terminated" if data.get("now") else "cancelled"),
    "paused": lambda _, data: _order(data, "paused"),
    "resumed": lambda _, data: _order(data, "resumed"),
    "overdue": lambda *_: "The cancelled code did not end in time and was left",
    "undoing": lambda *_: "The code is over; what its steps did is undone",
    "turn_failed": lambda _, data: f"A turn failed: {data.get('reason', '')}",
    "ended": _ended,
}
_KINDS = {
    "do": "a function", "run": "a command", "read": "a file", "image": "an image", "call": "another pipeline",
    "sleep": "a sleep", "event": "an event", "approval": "an approval", "timer": "a timer",
    "binding": "a call of the platform",
}  # fmt: skip


def _message(data: Mapping[str, Any]) -> str:
    error = data.get("error") or {}
    return str(error.get("message") or error.get("type") or "no reason given").partition("\n")[0]
