"""Earlier rounds of a run that continues: what people look for when the round that goes on now came to a bad end.

A round's journal goes when the next one begins. Of the last few, the first entry of the fresh journal says how their
steps ended – without results, which the code itself hands on –, and the logs of these steps stay. Both are bounded, so
that a loop without end costs no more than it did before.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from stepwell.engine.state import OPEN, RunState

KEPT = 3
"""Rounds that are looked back at."""
STEPS = 50
"""Steps of each, the last ones that it asked for."""
_LOGGED = frozenset({"run", "image", "do"})
"""Kinds of steps that can have a log."""


@dataclass(frozen=True)
class PastStep:
    """How a step of an earlier round ended; `attempt` is its last one, 0: it has no log."""

    key: str
    name: str
    kind: str
    state: str
    attempt: int
    ended_at: float | None
    seconds: float | None


@dataclass(frozen=True)
class Round:
    """An earlier round: `asked` steps in all, of which `steps` are the last ones, oldest first."""

    number: int
    began_at: float
    ended_at: float
    asked: int
    steps: tuple[PastStep, ...]


def rounds_of(first: Mapping[str, Any]) -> tuple[Round, ...]:
    """Read the earlier rounds from a journal's first entry, the oldest first."""
    return tuple(
        Round(number, began_at, ended_at, asked, tuple(PastStep(*step) for step in steps))
        for number, began_at, ended_at, asked, steps in first.get("rounds") or ()
    )


def as_told(state: RunState, now: float) -> list[list[Any]]:
    """Give what the first entry of the next round says of this one and those before it."""
    steps = list(state.steps.values())
    told = [
        [
            step.key, step.name, step.kind, "cancelled" if step.state in OPEN else step.state,
            step.attempt if step.kind in _LOGGED else 0, step.ended_at, step.seconds,
        ]
        for step in steps[-STEPS:]
    ]  # fmt: skip
    began_at = state.first.get("began_at") or state.started_at or state.created_at
    return [*(state.first.get("rounds") or ()), [state.round, began_at, now, len(steps), told]][-KEPT:]


def logs_of(first: Mapping[str, Any]) -> dict[int, Sequence[str]]:
    """Give the keys of steps whose logs stay, by round."""
    return {one.number: [step.key for step in one.steps if step.attempt] for one in rounds_of(first)}
