"""Queues of runs as the journals tell them, compared with what is kept, and made again.

In the queue of a group stands, in the order of arrival, every run of it that has not ended. A run with a start of its
own arrives when the engine has looked at it, which no entry tells: it may stand there or not yet. A run that is held is
looked at again after mending, so that the engine finds out what is in its way.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from stepwell.engine.entries import Entry
from stepwell.engine.fold import fold
from stepwell.engine.live import admitted_at
from stepwell.engine.order import group_queue, is_group, rate_queue
from stepwell.store.derived import Difference
from stepwell.store.queues import REMINDER, Place, Rows, Use


@dataclass(frozen=True, order=True)
class _Member:
    """A run that has not ended, as it stands in its group: those that have begun come first."""

    held: bool
    arrival: float
    number: int
    run: str
    late: bool  # it has a start of its own


@dataclass
class ToldQueues:
    """Gathers what each journal says."""

    groups: dict[str, list[_Member]] = field(default_factory=lambda: defaultdict(list))
    uses: list[Use] = field(default_factory=list)
    arrivals: dict[str, float] = field(default_factory=dict)  # of runs that are held

    def add(self, entries: Sequence[Entry]) -> None:
        """Take in a run's journal, from its first entry."""
        if not entries[0].data.get("order"):
            return
        state = fold(entries)
        order, place = state.order, (state.tenant, state.scope)
        begun = next((admitted_at(entry) for entry in entries if entry.type == "admitted"), None)
        if begun is not None and order.rate is not None:
            self.uses.append((rate_queue(*place, order), begun, begun + order.rate.seconds, state.id))
        if state.finished:
            return
        arrival = max(state.created_at, order.start_at or 0.0)
        if state.held:
            self.arrivals[state.id] = arrival
        if order.group:
            member = _Member(state.held, arrival, state.number, state.id, order.start_at is not None)
            self.groups[group_queue(*place, order)].append(member)

    def runs(self) -> set[str]:
        """Give the runs that have not ended and stand somewhere, or wait to."""
        return {member.run for members in self.groups.values() for member in members} | {*self.arrivals}

    def rows(self, kept: Rows, now: float) -> Rows:
        """Give what is to be kept. Of runs whose journals are gone, uses of rates are all that is left: they stay."""
        places = [
            Place(queue, member.run, member.number, member.held)
            for queue, members in sorted(self.groups.items())
            for member in sorted(members)
            if not (member.held and member.arrival > now)
        ]
        uses = {use for use in (*self.uses, *kept.uses) if use[2] > now}
        return Rows(places, sorted(uses), self.arrivals)

    def differences(self, kept: Rows, now: float) -> list[Difference]:
        """Name what is kept otherwise, and runs that are held and that nobody would look at."""
        told = self.rows(kept, now)
        late = {member.run for members in self.groups.values() for member in members if member.late and member.held}
        here, there = (_standing(rows, late) for rows in (kept, told))
        found = [
            Difference("", f"queue {queue}", sorted(here[queue]), sorted(there[queue]))
            for queue in sorted({*here, *there})
            if here[queue] != there[queue]
        ]
        uses = [use for use in kept.uses if use[2] > now]
        if len(uses) < len(told.uses):
            found.append(Difference("", "uses of rates", len(uses), len(told.uses)))
        behind = {place.run for before, place in pairwise(kept.places) if place.queue == before.queue}
        forgotten = sorted({*self.arrivals} - {*kept.reminders} - behind)
        return found + [Difference(run, f"timer {REMINDER}", None, self.arrivals[run]) for run in forgotten]


def _standing(rows: Rows, late: set[str]) -> dict[str, dict[str, bool]]:
    standing: dict[str, dict[str, bool]] = defaultdict(dict)
    for place in rows.places:
        if is_group(place.queue) and place.run not in late:
            standing[place.queue][place.run] = place.held
    return standing
