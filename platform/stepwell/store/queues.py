"""Queues of runs: who waits behind whom, and what a rate has used up. The seam and what crosses it.

A run stands in the queue of its group from its arrival to its end, and in that of its rate until it is admitted. The
first of a queue is the one whose turn it is; `held` says that it has not begun. Runs without group and rate stand in
none, so a million parked ones cost nothing here.
All of it follows from the journals: see `engine/order.py` and `engine/rebuild_queues.py`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

REMINDER = "admit"
"""Key, in `timers`, of the time at which the engine looks again at a run that is held. No step's key is like it."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """What a new run does in queues. It is held when it is not the first of `joins`, or when `look_at` is a time.

    `look_at`: when the engine must look at it, in the case that nobody is before it; None: it may begin at once.
    `eager`: the engine must look at it now also when others are before it, for it may cancel them.
    """

    joins: str = ""
    look_at: float | None = None
    eager: bool = False


@dataclass(slots=True)
class Moves:
    """What a transaction does to one run's standing. Leaving a queue has the next one looked at."""

    joins: list[str] = field(default_factory=list)
    leaves: str = ""
    begins: bool = False  # it is not held any more
    uses: tuple[str, float, float] | None = None  # (queue of the rate, from, until): one of the rate's places
    ends: bool = False  # it leaves every queue


@dataclass(frozen=True, slots=True)
class Standing:
    """A run in a queue."""

    run: str
    number: int
    held: bool


@dataclass(frozen=True, slots=True)
class Place:
    """One row of a queue."""

    queue: str
    run: str
    number: int
    held: bool


Use = tuple[str, float, float, str]
"""A place of a rate that was used: (queue of the rate, from, until, run)."""


@dataclass(frozen=True, slots=True)
class Rows:
    """Everything that is kept about queues."""

    places: list[Place]  # queue by queue, the first of each first
    uses: list[Use]
    reminders: Mapping[str, float]  # run → when the engine looks at it


class Queues(Protocol):
    """What the engine reads; everything is written by the journal's transactions."""

    def ahead(self, queue: str, run: str, limit: int) -> Sequence[Standing] | None:
        """Give those before a run, the first of all first; None when it does not stand in the queue."""
        ...

    def used(self, queue: str, place: int, until: float) -> float | None:
        """Give the time of the `place`-th latest use (from 1) of a rate up to a time, None when there were fewer."""
        ...
