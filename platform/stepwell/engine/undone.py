"""Which steps of a run have been undone, as its journal tells it. Pure."""

from collections.abc import Sequence

from stepwell.engine.entries import Entry
from stepwell.engine.fold import fold

_LEFT = frozenset({"TurnFailed", "Stalled"})
"""Errors of runs whose code was ended, whatever it was doing."""


def undone(entries: Sequence[Entry]) -> list[str]:
    """Give the keys of passed steps of an ended run that were undone, or may have been, in the journal's order.

    Undoing is a step of its own, named after the step and with its fingerprint: which of two equal steps it was for is
    not told, so both count. When the run was ended in the middle of undoing, any step may have been.
    """
    begun = next((place for place, entry in enumerate(entries) if entry.type == "undoing"), None)
    if begun is None:
        return []
    before = {entry.key for entry in entries[:begun]}
    steps = fold(entries).steps
    undoing = {(step.name, step.fingerprint) for step in steps.values() if step.key not in before}
    any_may_be = _cut_short(entries[begun:])
    return [
        step.key
        for step in steps.values()
        if step.kind == "do"
        and step.state == "passed"
        and step.key in before
        and (any_may_be or (f"undo {step.name}", step.fingerprint) in undoing)
    ]


def _cut_short(entries: Sequence[Entry]) -> bool:
    """Say whether a run was ended while it was undoing, by people or since its code could not go on."""
    error = entries[-1].data.get("error") or {}
    return error.get("type") in _LEFT or any(entry.type == "cancel" and entry.data.get("now") for entry in entries)
