"""The journal in words for people: one line for each entry."""

from collections.abc import Mapping
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


def line(entry: Entry) -> JournalLine:
    """Say what an entry means."""
    data: Mapping[str, Any] = entry.data if isinstance(entry.data, Mapping) else {}
    return JournalLine(entry.seq, entry.at, entry.key, _words(entry, data))


def _words(entry: Entry, data: Mapping[str, Any]) -> str:
    match entry.type:
        case "created":
            return f"Run created from {data.get('entry', 'its code')}"
        case "asked":
            held = ", held for its environment" if data.get("held") else ""
            return f"Code asked for {_KINDS.get(str(data.get('kind')), 'a step')}{held}"
        case "released":
            return f"Released by {data.get('by') or 'its environment'}"
        case "started":
            return f"Attempt {entry.attempt} started"
        case "retry":
            return f"Attempt {entry.attempt} failed: {_message(data)}; tried again"
        case "lost":
            return f"Attempt {entry.attempt} was lost: {data.get('reason', '')}; tried again, not counted"
        case "fired":
            return "Its time came"
        case "decision":
            comment = f": “{data['comment']}”" if data.get("comment") else ""
            return f"{data.get('by')} {'approved' if data.get('approve') else 'rejected'}{comment}"
        case "event":
            return f"Event “{data.get('type')}” arrived"
        case "took":
            return f"Took the event of entry {data.get('event')}"
        case "done":
            took = f" after {times.duration(data['seconds'])}" if data.get("seconds") is not None else ""
            return f"Passed{took}" if data.get("ok") else f"Failed{took}: {_message(data)}"
        case "dropped":
            return "Cancelled by the code"
        case "cancel":
            return (
                f"{data.get('by') or 'Somebody'} cancelled the run{': ' + data['reason'] if data.get('reason') else ''}"
            )
        case "turn_failed":
            return f"A turn failed: {data.get('reason', '')}"
        case "ended":
            return f"Run {data.get('state')}" + (f": {_message(data)}" if data.get("error") else "")
    return entry.type


_KINDS = {
    "do": "a function", "run": "a command", "read": "a file", "sleep": "a sleep", "event": "an event", "approval": "an approval",
    "timer": "a timer",
}  # fmt: skip


def _message(data: Mapping[str, Any]) -> str:
    error = data.get("error") or {}
    return str(error.get("message") or error.get("type") or "no reason given").partition("\n")[0]
