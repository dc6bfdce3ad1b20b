"""The scheduler: what follows a commit, and when the code of a run gets its turn.

Each effect follows a committed entry (`on_committed`), never a draft, and each of them can be derived again from the
journal, which is what `start` does after a crash:
  heard > played             → a turn
  a step queued or running   → an attempt (a running one was lost)
  a due time                 → `fired`
  a step queued for a call   → a run of its own
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from typing import Any

from stepwell.engine import admission
from stepwell.engine.admission import Admission
from stepwell.engine.attempts import Attempts
from stepwell.engine.calls import KIND as BINDING
from stepwell.engine.calls import Calls
from stepwell.engine.children import Acts, Children, Heritage
from stepwell.engine.control import draft_cancel
from stepwell.engine.endings import Ending, conclude
from stepwell.engine.entries import Entry
from stepwell.engine.firing import Firing
from stepwell.engine.head_start import HeadStarts
from stepwell.engine.kept_layers import KeptLayers
from stepwell.engine.live import EXECUTED, Live
from stepwell.engine.memory import Memory
from stepwell.engine.parts import Parts
from stepwell.engine.room import Wish, rank_of
from stepwell.engine.rounds import logs_of
from stepwell.engine.specs import Note, RunRef, RunSpec
from stepwell.engine.state import RunState
from stepwell.engine.tasks import Tasks
from stepwell.engine.turn import Turn
from stepwell.errors import StepwellError
from stepwell.store.journal import Awake, Created
from stepwell.store.json_text import encode

_log = logging.getLogger(__name__)

TROUBLE_SECONDS = 5.0
"""Pause before runs whose transaction the disk refused are tried again."""


class Scheduler:
    """Has runs go on whenever they can. Belongs on the engine's loop."""

    def __init__(self, parts: Parts, heritage: Heritage, make: Callable[[RunSpec], Awaitable[RunRef]]) -> None:
        parts.commits.followed_by(self._on_committed, self._on_refused, self._on_drafted, self._on_released)
        parts.room.followed_by(self._on_room)
        self._parts = parts
        self.memory = Memory(parts)
        self._head_starts = HeadStarts(parts, self.memory, self.spawn)
        self._attempts = Attempts(parts)
        self._calls = Calls(parts)
        acts = Acts(self.memory.take_up, self.memory.forget_idle, make)
        self.children = Children(parts, heritage, acts)
        firing = Firing(parts, self.memory, self._head_starts, self._remind, self.spawn)
        self._timers = firing.timers
        self.kept_layers = KeptLayers(parts)
        entry = admission.Acts(self.memory.take_up, self._supersede, self._timers.arm, self.memory.forget_idle)
        self.admission = Admission(parts.journal, parts.clock, parts.commits, entry)
        self._tasks = Tasks()
        self.running = False

    def start(self, runs: list[Awake]) -> None:
        """Have every run that was under way go on, and everything that is due fire."""
        self.running = True
        self.spawn(self._revive(runs))
        self._timers.start()

    async def stop(self) -> None:
        """Stop at once. Nothing is written but what was drafted already."""
        self.running = False
        self._timers.stop()
        self.admission.stop()
        self._parts.commits.flush()
        await self._attempts.close()
        await self._calls.close()
        for live in list(self.memory):
            if live.turn is not None:
                live.turn.finish(Ending("abandoned"))
        await self._tasks.end()
        self._parts.commits.flush()
        self.memory.clear()

    def spawn(self, work: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        """Do something beside everything else, until it is done or the scheduler stops."""
        task = self._tasks.start(work)
        task.add_done_callback(_complain)
        return task

    @contextlib.asynccontextmanager
    async def telling(self, run_id: str) -> AsyncIterator[Live]:
        """Give a run that is told something which wakes its code, and wait until that is on disk.

        Raises NotFound, Conflict (it has ended), Unavailable, TryLater.
        """
        async with self._head_starts.of(run_id):
            live = self.memory.find_open(run_id)
            try:
                yield live
            finally:
                await self.memory.settled(live)

    async def _revive(self, runs: list[Awake]) -> None:
        """Have every run that was under way wait for its turn, without reading its journal before that."""
        for one in runs:
            rank = rank_of(one.priority, one.begun)
            if self._parts.room.ask(Wish(one.run, one.tenant, one.scope, rank, turn=True)):
                self._on_room(one.run)
            await asyncio.sleep(0)
            if not self.running:
                return

    def _on_room(self, run_id: str) -> None:
        """Go on with a run that has waited for room."""
        live = self.memory.take_up(run_id) if self.running else None
        if live is None:
            self._parts.room.leave(run_id)
            return
        self._resume(live)
        if live.turn is None:
            self._parts.room.turn_over(run_id)

    def _resume(self, live: Live) -> None:
        """Take up what the journal says is under way."""
        for step in list(live.state.steps.values()):
            if step.kind in EXECUTED and step.state == "running" and step.key not in live.attempts:
                self._attempts.lose(live, step, "the server stopped")
        self.children.check(live)
        self._begin_open(live)
        self.admission.consider(live)
        self._wake(live)
        self.memory.forget_idle(live)

    def created(self, made: Created) -> None:
        """Have a run go on that was just created."""
        if (entry := made.entry) is None or not self.running:
            return
        if "ancestry" in entry.data:
            live = self.memory.find(entry.run)
        elif (known := self.memory.known(entry.run)) is not None:
            live = known
        else:
            live = Live(RunState(entry.run), 0, 0)
            self.memory.keep(live)
            live.add(entry, ack=False)
            live.draft, live.history = [], [(entry, encode(entry.data))]
        self._parts.tell(entry, live)
        self.admission.created(live)
        self._resume(live)

    # -- what follows a commit ----------------------------------------------------------------------------------------

    def _on_drafted(self, live: Live, entry: Entry) -> None:
        if entry.type in {"dropped", "ended"}:
            self.children.heed(live, entry)

    def _on_committed(self, live: Live, entries: list[tuple[Entry, str]]) -> None:
        for entry, _ in entries:
            self._parts.tell(entry, live)
            self._react(live, entry)
        if live.withheld and live.played >= live.cancelled_at:
            live.withheld = set()
            self._begin_open(live)
        if entries and live.state.timers:
            self._timers.arm(min(live.state.timers.values()))
        if live.turn is not None and live.turn.attached:
            live.turn.settle()
        elif live.history is not None:
            live.history.extend(entries)
        self.admission.consider(live)
        self._wake(live)
        self.memory.forget_idle(live)

    def _react(self, live: Live, entry: Entry) -> None:
        step = live.state.steps.get(entry.key)
        if entry.type in {"ended", "continued"}:
            self._finish(live)
        elif entry.type == "cancel" and live.turn is not None and live.turn.attached:
            live.turn.start_grace()
        elif entry.type == "paused":
            self._hold(live)
        elif entry.type in {"admitted", "resumed"}:
            live.blocked_at = -1
            self._begin_open(live)
        elif entry.type in {"dropped", "done"}:
            self._attempts.stop(live, entry.key)
            if step is not None and step.kind in EXECUTED and step.losses:
                self.spawn(self._attempts.abandon(live.id, entry.key))
        elif step is not None and step.kind == BINDING and step.state == "running":
            self._calls.start(live, entry.key)
        elif step is not None and step.kind in EXECUTED and step.state == "queued":
            self._attempts.start(live, entry.key)
        elif step is not None and step.kind == "call" and step.state == "queued":
            self._begin_children(live)

    def _begin_open(self, live: Live) -> None:
        """Begin what may begin of that which the code waits for."""
        self._attempts.start_queued(live)
        self._calls.start_open(live)
        self._begin_children(live)

    def _begin_children(self, live: Live) -> None:
        for key in self.children.queued(live):
            self.spawn(self.children.begin(live.id, key))

    def _hold(self, live: Live) -> None:
        self._attempts.stop_queued(live)
        if live.turn is not None and not live.turn.attached:
            live.turn.hibernate()

    def _finish(self, live: Live) -> None:
        if live.turn is not None:
            live.turn.finish(Ending("ended"))
        tasks, live.stopping = live.stopping + self._attempts.stop_all(live), []
        self.spawn(self._clear(live, tasks))

    async def _clear(self, live: Live, attempts: list["asyncio.Task[None]"]) -> None:
        try:
            await asyncio.gather(*attempts, return_exceptions=True)
            if self._parts.executor is not None:
                await self._parts.executor.forget(live.id)
            if live.clearing:
                await self.kept_layers.drop(live.left)
                await asyncio.to_thread(self._parts.logs.keep_rounds, live.id, logs_of(live.state.first))
                await asyncio.to_thread(self._parts.blobs.clear, live.id)
        finally:
            live.clearing, live.left = False, []
            self._wake(live)
            self.memory.forget_idle(live)

    def _on_refused(self, live: Live, why: str | None) -> None:
        """Forget what the disk did not take; the run is loaded again from what it did."""
        live.gone = True
        self._parts.room.leave(live.id)
        self.memory.lose(live)
        if live.turn is not None:
            live.turn.finish(Ending("abandoned"))
        self._attempts.stop_all(live)
        if why is not None:
            self._parts.tell(Note(live.id, self._parts.clock.now(), "trouble", text=why), live)
            self._later(TROUBLE_SECONDS, live.id)

    def _later(self, seconds: float, run_id: str) -> None:
        def again() -> None:
            live = self.memory.take_up(run_id) if self.running else None
            if live is not None:
                live.blocked_at = -1
                self._resume(live)

        self._parts.clock.call_later(seconds, again)

    def _on_released(self, run_id: str) -> None:
        live = self.memory.take_up(run_id) if self.running else None
        if live is not None:
            self.admission.remind(live, 0.0)

    def _remind(self, live: Live, due: float) -> None:
        self.admission.remind(live, due)

    def _supersede(self, live: Live, by: str, reason: str) -> None:
        draft_cancel(live, self._parts, by, reason, undo=False)

    # -- turns --------------------------------------------------------------------------------------------------------

    def _wake(self, live: Live) -> None:
        if not (live.wants_turn and self.running):
            return
        if self._parts.room.ask(live.wish(turn=True)):
            live.turn = Turn(live, self._parts)
            self.spawn(self._play(live, live.turn))
        elif self._parts.room.crowded:
            self._make_room()

    def _make_room(self) -> None:
        """Send an idle isolate away, since others wait for their turn."""
        for live in self.memory:
            if live.turn is not None and live.turn.lingering:
                live.turn.hibernate()
                return

    async def _play(self, live: Live, turn: Turn) -> None:
        try:
            ending = await turn.run()
        finally:
            if not live.gone:  # then it has given back everything
                self._parts.room.turn_over(live.id)
        if live.gone or not self.running:
            return
        after = None if live.state.finished else conclude(live, ending, self._parts)
        live.turn = None
        live.state.inflight.clear()
        if after is not None:
            self._later(after, live.id)
        self._wake(live)
        with contextlib.suppress(StepwellError):  # refused by the disk: seen to in _on_refused
            await self._parts.commits.committed(live)
        self.memory.forget_idle(live)
        self._parts.tell(Note(live.id, self._parts.clock.now(), "turn", text="end"), live)


def _complain(task: "asyncio.Task[None]") -> None:
    if not task.cancelled() and task.exception() is not None:
        _log.error("The engine failed. Please report this.", exc_info=task.exception())
