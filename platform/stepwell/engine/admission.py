"""Admission: a run that is held begins when its start has come, its group is free and its rate has room.

`consider` reads what stands in the way and drafts at most one step of progress: into a queue, a time to look again, or
`admitted`. It is called whenever that may have changed; often does no harm: after each commit of a held run, when its
reminder is due, when it has become the first of a queue. The reminder is a row of `timers`, written in the transaction
that makes it necessary, so that a crash at any moment leaves somebody to be looked at:

    created, arriving later        reminder at its start
    created, may cancel others     reminder now
    the run before it has left     reminder now, in the transaction of that leaving
    waiting for its rate's window  reminder when the window has room; looked at also when the clock was set back
    behind others                  none: it costs a row until those before it have left

A group is held from `admitted` to `ended`, whatever the run does meanwhile: waiting for people, paused, without its
code. How it ended makes no difference to the next one.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from stepwell.engine.clock import Clock, Handle
from stepwell.engine.commits import Commits
from stepwell.engine.live import Live
from stepwell.engine.order import Order, group_queue, rate_queue, reason_of
from stepwell.engine.state import RunState
from stepwell.store.journal import Journal
from stepwell.store.queues import REMINDER, Arrival, Standing

JOINING_SECONDS = 1.0
"""When to look again at a run whose place in a queue is being written; sooner only in case of a crash."""
BY = "stepwell"
"""Who cancels runs for the sake of their group."""


@dataclass(frozen=True)
class Obstacle:
    """What keeps a run from beginning: look again at `until`, stand in the queue `joins` first, wait behind `ahead`."""

    until: float | None = None
    joins: str = ""
    ahead: Sequence[Standing] = ()
    seconds: float | None = None  # how long a rate lets it wait, whatever the clock is set to meanwhile


@dataclass(frozen=True)
class Acts:
    """What admission has the engine do: find a run, cancel it (run, by, reason), heed a due time, forget a run."""

    load: Callable[[str], Live | None]
    cancel: Callable[[Live, str, str], None]
    arm: Callable[[float], None]
    forget: Callable[[Live], None]


class Admission:
    """Lets held runs begin. Belongs on the engine's loop."""

    def __init__(self, journal: Journal, clock: Clock, commits: Commits, acts: Acts) -> None:
        self._journal = journal
        self._clock = clock
        self._commits = commits
        self._acts = acts
        self._looks: dict[str, Handle] = {}  # run → the look at it when its rate should have room

    def created(self, live: Live) -> None:
        """Heed a run that was just created."""
        start = live.state.order.start_at
        if live.state.held and start is not None and start > live.state.created_at:
            live.reminder = start  # arrivals are left to the timers, which keep their order
            self._acts.arm(start)
        else:
            self.consider(live)

    def consider(self, live: Live, *, reminded: bool = False) -> None:
        """Let a held run begin, or note what it waits for."""
        if live.state.finished or not live.state.held or live.gone or live.joins:
            return
        start = live.state.order.start_at
        if start is not None and live.reminder == start and not reminded:
            self._acts.arm(start)  # also when its time has come: others, due before it, may not have been told yet
            return
        obstacle = self._obstacle(live.state)
        if obstacle is None:
            live.timers[REMINDER] = live.reminder = None
            self._commits.append(live, "admitted", "", self._told_at(live.state))
            self._look_later(live.id, None)
            return
        self._supersede(live, obstacle.ahead)
        self._wait(live, obstacle)

    def remind(self, live: Live, due: float) -> None:
        """Look at a run because its reminder, due at `due`, is in the journal's file; it may need none any more."""
        live.reminder = due
        self.consider(live, reminded=True)
        if not live.state.held and not live.state.finished and live.reminder is not None:
            live.timers[REMINDER] = live.reminder = None
            self._commits.touch(live)

    def stop(self) -> None:
        """Look at nothing any more."""
        for look in self._looks.values():
            look.cancel()
        self._looks.clear()

    def reason(self, state: RunState) -> str:
        """Say what a held run waits for, as of now."""
        queue = group_queue(state.tenant, state.scope, state.order)
        ahead = self._journal.queues.ahead(queue, state.id, 1) if queue else None
        return reason_of(state.order, ahead[0].number if ahead else None, self._clock.now())

    def _told_at(self, state: RunState) -> dict[str, float] | None:
        """Say what the clock shows when it was set back, for a rate counts by it: the journal's time stands still."""
        now = self._clock.now()
        return {"now": now} if state.order.rate is not None and now < state.updated_at else None

    def _look_later(self, run: str, seconds: float | None) -> None:
        before = self._looks.pop(run, None)
        if before is not None:
            before.cancel()
        if seconds is not None:
            self._looks[run] = self._clock.call_later(seconds, lambda: self._look(run))

    def _look(self, run: str) -> None:
        del self._looks[run]
        live = self._acts.load(run)
        if live is not None:
            self.consider(live, reminded=True)
            self._acts.forget(live)

    def _wait(self, live: Live, obstacle: Obstacle) -> None:
        if obstacle.seconds is not None:
            self._look_later(live.id, obstacle.seconds)
        if live.reminder == obstacle.until and not obstacle.joins:
            if obstacle.until is not None:
                self._acts.arm(obstacle.until)
            return
        live.timers[REMINDER] = live.reminder = obstacle.until
        if obstacle.joins:
            live.joins.append(obstacle.joins)
        self._commits.touch(live)

    def _supersede(self, live: Live, ahead: Sequence[Standing]) -> None:
        policy = live.state.order.policy
        for one in ahead:
            if policy == "cancel" or (policy == "newest" and one.held):
                other = self._acts.load(one.run)
                if other is not None and other.state.cancel is None and (policy == "cancel" or other.state.held):
                    self._acts.cancel(other, BY, f"superseded by run #{live.state.number}")

    def _obstacle(self, state: RunState) -> Obstacle | None:
        order, now = state.order, self._clock.now()
        if order.start_at is not None and order.start_at > now:
            return Obstacle(order.start_at)
        if order.group:
            queue = group_queue(state.tenant, state.scope, order)
            ahead = self._journal.queues.ahead(queue, state.id, 1 if order.policy == "queue" else -1)
            if ahead is None or ahead:
                return Obstacle(ahead=ahead) if ahead else Obstacle(now + JOINING_SECONDS, queue)
        return self._in_rate(state, now) if order.rate is not None else None

    def _in_rate(self, state: RunState, now: float) -> Obstacle | None:
        rate, queue = state.order.rate, rate_queue(state.tenant, state.scope, state.order)
        assert rate is not None
        ahead = self._journal.queues.ahead(queue, state.id, 1)
        if ahead is None or ahead:
            return Obstacle() if ahead else Obstacle(now + JOINING_SECONDS, queue)
        # What lies further ahead than a window was used before the clock was set back, nobody knows how long ago.
        used = self._journal.queues.used(queue, rate.runs, now + rate.seconds)
        room_at = now if used is None else used + rate.seconds
        return Obstacle(room_at, seconds=room_at - now) if room_at > now else None


def arrival_of(order: Order, tenant: str, scope: str, now: float) -> Arrival | None:
    """Say what a new run does in queues; None when it may begin whatever others do."""
    later = order.start_at if order.start_at is not None and order.start_at > now else None
    if later is not None:
        return Arrival(look_at=later)
    if not order.group and order.rate is None:
        return None
    joins = group_queue(tenant, scope, order)
    return Arrival(joins, now if order.rate is not None else None, eager=order.policy != "queue")
