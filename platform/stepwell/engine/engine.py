"""The durable engine, embedded: creates runs, plays their turns, runs their steps, wakes them.

Everything here happens on one event loop. A run is in memory (Live) only while something goes on in it: a turn, an
attempt, a draft on its way to disk. Each effect follows a committed entry (`_on_committed`), never a draft, and each of
them can be derived again from the journal, which is what `start` does after a crash:
  heard > played             → a turn
  a step queued or running   → an attempt (a running one was lost)
  a due time                 → `fired`
  a step queued for a call   → a run of its own
"""

import asyncio
import contextlib
import logging
import platform
from collections.abc import Callable, Collection, Coroutine, Mapping, Sequence
from typing import Any, Literal

from stepwell.authoring.version import REPLAY
from stepwell.engine import admission
from stepwell.engine.admission import Admission, arrival_of
from stepwell.engine.attempts import Attempts
from stepwell.engine.calls import KIND as BINDING
from stepwell.engine.calls import Calls
from stepwell.engine.children import Acts, Child, Children, Heritage, all_metadata
from stepwell.engine.clock import Clock, RealClock
from stepwell.engine.commits import Commits
from stepwell.engine.control import draft_cancel, draft_pause, draft_resumption, draft_termination
from stepwell.engine.decisions import draft_decision
from stepwell.engine.endings import conclude
from stepwell.engine.entries import FINISHED, Entry
from stepwell.engine.fold import RunState, fold
from stepwell.engine.hearing import holds
from stepwell.engine.kept_layers import KeptLayers
from stepwell.engine.live import EXECUTED, Live, collection_paused, encode, load
from stepwell.engine.no_blobs import NoBlobs
from stepwell.engine.order import NO_ORDER
from stepwell.engine.parts import Parts
from stepwell.engine.present import Present, look
from stepwell.engine.restarts import successor
from stepwell.engine.room import CapsOf, Room, Wish, no_caps, rank_of
from stepwell.engine.rounds import logs_of
from stepwell.engine.seams import Binding, BlobStore, Executor, Gate, Isolates, Judge, Loader, LogSink, Preparer
from stepwell.engine.slots import Slots
from stepwell.engine.specs import DEFAULT_LIMITS, Limits, Note, RunRef, RunSpec, Subscriber, check_json, check_text
from stepwell.engine.timers import BUSY_SECONDS, Timers
from stepwell.engine.turn import Ending, Turn
from stepwell.errors import Conflict, NotFound, StepwellError, Unavailable
from stepwell.store.journal import Awake, Created, Due, Glance, Journal, NewRun, Numbered, RunRow
from stepwell.store.queues import REMINDER

_log = logging.getLogger(__name__)

TROUBLE_SECONDS = 5.0
"""Pause before runs whose transaction the disk refused are tried again."""


class Engine:
    """Durable execution over a journal. All methods belong on the loop on which `start` was awaited."""

    def __init__(
        self, journal: Journal, isolates: Isolates, loader: Loader, *, logs: LogSink, executor: Executor | None = None,
        preparer: Preparer | None = None, gate: Gate | None = None, clock: Clock | None = None,
        concurrent_turns: int = 50, concurrent_steps: int = 8, steps_per_tenant: int | None = None,
        limits: Limits = DEFAULT_LIMITS,
        heritage: Heritage = all_metadata, caps: CapsOf = no_caps, blobs: BlobStore | None = None,
    ) -> None:  # fmt: skip
        clock = clock or RealClock()
        self._journal = journal
        self._clock = clock
        self._commits = Commits(
            journal, clock, self._on_committed, self._on_refused, self._on_drafted, on_released=self._on_released
        )
        self._parts = Parts(
            journal, isolates, loader, executor, preparer, gate, logs, clock, limits, self._commits,
            Room(concurrent_turns, self._on_room, caps), Slots(concurrent_steps, steps_per_tenant), [],
            blobs or NoBlobs(),
        )  # fmt: skip
        self._attempts = Attempts(self._parts)
        self._calls = Calls(self._parts)
        self._children = Children(self._parts, heritage, Acts(self._take_up, self._forget_idle, self.create))
        self._timers = Timers(journal, clock, self._fire)
        self._kept_layers = KeptLayers(self._parts)
        acts = admission.Acts(self._take_up, self._supersede, self._timers.arm)
        self._admission = Admission(journal, clock, self._commits, acts)
        self._runs: dict[str, Live] = {}
        self._tasks: set[asyncio.Task[Any]] = set()
        self._running = False

    @property
    def loader(self) -> Loader:
        """Where the code of runs comes from."""
        return self._parts.loader

    @property
    def clock(self) -> Clock:
        return self._clock

    @property
    def trouble(self) -> str:
        """Why the journal cannot be written; "" when it can."""
        return self._commits.trouble

    @property
    def in_memory(self) -> int:
        """How many runs are in memory."""
        return len(self._runs)

    async def present(self, tenants: Collection[str]) -> Present:
        """What goes on now, and what waits for room: of these tenants one by one, of all counted."""
        return look(self._runs.values(), self._parts.room, self._parts.step_slots, tenants)

    def holds(self, run_id: str) -> bool:
        """Say whether a run is in memory: something goes on in it."""
        return run_id in self._runs

    def offer(self, name: str, binding: Binding) -> None:
        """Give code `self.env.<name>`; before `start`, since runs go on at once."""
        self._parts.bindings[name] = binding

    # -- start and stop -----------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Open the journal, clear what a crash left behind, and go on where it stopped."""
        self._journal.open()
        self._parts.blobs.recover()
        self._running = True
        if self._parts.executor is not None:
            await self._parts.executor.recover(self._journal.layer_in_use, self._has_ended)
        self._spawn(self._revive(self._journal.awake()))
        self._timers.start()

    async def stop(self) -> None:
        """Stop at once. Nothing is written: what was under way is found by the next start."""
        self._running = False
        self._timers.stop()
        self._commits.flush()
        await self._attempts.close()
        await self._calls.close()
        for live in list(self._runs.values()):
            if live.turn is not None:
                live.turn.finish(Ending("abandoned"))
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._commits.flush()
        self._runs.clear()
        self._journal.close()

    async def _revive(self, runs: list[Awake]) -> None:
        """Have every run that was under way wait for its turn, without reading its journal before that."""
        for one in runs:
            rank = rank_of(one.priority, one.begun)
            if self._parts.room.ask(Wish(one.run, one.tenant, one.scope, rank, turn=True)):
                self._on_room(one.run)
            await asyncio.sleep(0)
            if not self._running:
                return

    def _on_room(self, run_id: str) -> None:
        """Go on with a run that has waited for room."""
        live = self._take_up(run_id) if self._running else None
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
        self._children.check(live)
        self._begin_open(live)
        self._admission.consider(live)
        self._wake(live)
        self._forget_idle(live)

    # -- what others ask ----------------------------------------------------------------------------------------------

    async def create(self, spec: RunSpec) -> RunRef:
        """Create a run; the same id again gives the run that exists. Raises Invalid, TryLater.

        One that restarts another adopts its beginning, in the same transaction. Raises NotFound, Conflict.
        """
        for name in ("id", "tenant", "scope", "title", "code", "entry"):
            check_text(name, getattr(spec, name))
        now = self._clock.now()
        order = spec.order.checked(now) if spec.order is not None else NO_ORDER
        data = {
            "tenant": spec.tenant, "scope": spec.scope, "title": spec.title, "metadata": dict(spec.metadata),
            "code": spec.code, "entry": spec.entry, "params": dict(spec.params),
            "replay": REPLAY, "python": platform.python_version(),
            **({"order": told} if (told := order.as_json()) else {}),
        }  # fmt: skip
        if spec.parent is not None:
            data["parent"] = dict(spec.parent)
        check_json("params and metadata", data)
        new = NewRun(spec.id, now, data, arrival_of(order, spec.tenant, spec.scope, now))
        if spec.restart is None:
            return await self._made(new)
        async with self._kept_layers.settled:
            if not self._journal.entries(spec.id):
                new = await successor(new, spec.restart, self._parts)
            return await self._made(new)

    async def _made(self, new: NewRun) -> RunRef:
        made = self._commits.create(new)
        made.add_done_callback(self._on_created)
        created = await asyncio.shield(made)  # who asked may leave; the run is there and begins all the same
        return RunRef(created.id, created.number, created.entry is not None)

    def _on_created(self, made: "asyncio.Future[Created]") -> None:
        if made.exception() is not None or (entry := made.result().entry) is None or not self._running:
            return
        if "ancestry" in entry.data:
            live = self._find(entry.run)
        elif (known := self._runs.get(entry.run)) is not None:
            live = known
        else:
            live = self._runs[entry.run] = Live(RunState(entry.run), 0, 0)
            live.add(entry, ack=False)
            live.draft, live.history = [], [(entry, encode(entry.data))]
        self._tell(entry, live)
        self._admission.created(live)
        self._resume(live)

    async def create_child(self, parent: RunState, child: Child) -> RunRef:
        """Create a run that belongs to another one; the same again gives the one there is. Raises Invalid, Conflict,
        TryLater.
        """
        return await self._children.make(parent, child)

    async def get(self, run_id: str) -> RunState | None:
        """State of a run, a copy that never changes; None when there is none."""
        live = self._runs.get(run_id)
        if live is not None:
            state = live.state.snapshot()
        elif entries := self._journal.entries(run_id):
            state = fold(entries)
        else:
            return None
        if state.held and not state.finished and not state.paused:
            state.reason = self._admission.reason(state)
        elif state.reason is None:
            state.reason = self._parts.room.reason(run_id)
        return state

    async def reasons(self, runs: Sequence[str]) -> dict[str, str]:
        """Say what each of these runs waits for, where the engine knows; for lists of runs that have not begun."""
        found: dict[str, str] = {}
        for run in runs:
            state = await self.get(run)
            if state is not None and state.reason is not None:
                found[run] = state.reason
            await asyncio.sleep(0)  # others are not to wait for a whole list
        return found

    async def journal(self, run_id: str, after: int = 0) -> list[Entry]:
        """Everything on disk about a run, from the entry behind the number `after`; empty when there is none."""
        return self._journal.entries(run_id, after)

    async def glance(self, run_id: str) -> Glance | None:
        """What is on disk of a run's state, without reading its journal; None when there is no run."""
        return self._journal.glance(run_id)

    async def numbered(self, scope: str, before: int | None, limit: int) -> list[Numbered]:
        """Runs of a scope, the newest first, below the number `before`."""
        return self._journal.numbered(scope, before, limit)

    async def scan(self, tenant: str, after: tuple[float, str], limit: int) -> list[RunRow]:
        """Runs of a tenant, or of all (""), behind this (creation, id): the oldest first, or in the order of ids."""
        return self._journal.scan(tenant, after, limit)

    async def send_event(self, run_id: str, type: str, payload: Any, id: str | None = None) -> None:
        """Deliver an event; once per `id` and run. Raises NotFound, Conflict (the run has ended), Invalid, TryLater."""
        check_text("type", type)
        check_json("payload", payload)
        live = self._open_run(run_id)
        if live.state.length >= self._parts.limits.entries:
            raise Conflict(f"Run {run_id!r} has {live.state.length} entries; no more are allowed.")
        if id is None or id not in live.state.event_ids:
            self._commits.append(live, "event", "", {"type": type, "payload": payload, "id": id})
        await self._settled(live)

    async def decide(
        self, run_id: str, key: str, decision: Mapping[str, Any], judge: Judge
    ) -> Literal["approved", "rejected"] | None:
        """Record a decision on a waiting approval or held step; give the verdict, None while more are needed.

        `decision` is {by, approve, comment, fields}; its time is added. Raises Conflict when the step waits no more.
        """
        live = self._open_run(run_id)
        try:
            return draft_decision(live, key, {**decision, "at": self._clock.now()}, judge, self._commits)
        finally:
            await self._settled(live)

    async def cancel(self, run_id: str, by: str, reason: str = "", undo: bool = False) -> None:
        """Have the code cancelled, and killed when its grace is over. A run that has ended stays as it is.

        With `undo` its passed steps are undone afterwards; code whose grace is over is then left where it stands.
        """
        live = self._find(run_id)
        draft_cancel(live, self._parts, by, reason, undo)
        await self._settled(live)

    async def terminate(self, run_id: str, by: str, reason: str = "") -> None:
        """End a run at once; its code is told nothing. A run that has ended stays as it is."""
        live = self._find(run_id)
        draft_termination(live, self._parts, by, reason)
        await self._settled(live)

    async def pause(self, run_id: str, by: str, reason: str = "") -> None:
        """Let nothing begin in a run until it is resumed. Raises Conflict when it is paused, cancelled or has ended."""
        live = self._open_run(run_id)
        try:
            draft_pause(live, self._parts, by, reason)
        finally:
            await self._settled(live)

    async def resume(self, run_id: str, by: str) -> None:
        """Have a paused run go on. Raises Conflict when it is not paused."""
        live = self._open_run(run_id)
        try:
            draft_resumption(live, self._parts, by)
        finally:
            await self._settled(live)

    async def kill_isolate(self, run_id: str) -> None:
        """End the process in which a run's code is, as a crash would: the run goes on from its journal in another one.

        Functions that were running there count as lost, and begin again. Raises Conflict when the run is in no process.
        """
        turn = self._open_run(run_id).turn
        if turn is None or not turn.attached or turn.ending:
            raise Conflict(f"Run {run_id!r} is in no process now: it costs rows only.")
        turn.finish(Ending("lost", "lost: its process was killed on demand"))

    async def recheck(self, run_id: str) -> None:
        """Ask the gate again about steps that it holds, after rules have changed."""
        live = self._find(run_id)
        self._regate(live)
        await self._settled(live)

    async def caps_changed(self) -> None:
        """Ask the caps again about runs that wait for room."""
        self._parts.room.caps_changed()

    async def remove(self, runs: Sequence[str]) -> list[str]:
        """Remove runs that have ended: files first, so that rows lead back to what a crash leaves. Gives those removed.

        Runs that have not ended, or with which something still goes on, are left.
        """
        async with self._kept_layers.settled:
            over = [run for run in runs if self._is_over(run)]
            if not over or not self._running:
                return []
            if self._parts.executor is not None:
                await self._parts.executor.erase(over, self._journal.layers_of(over))
            return self._journal.remove([run for run in over if not self.holds(run)])

    def _is_over(self, run_id: str) -> bool:
        known = None if self.holds(run_id) else self._journal.glance(run_id)
        return known is not None and known.state in FINISHED

    async def relax(self) -> None:
        """Give back memory that is kept only to be quick."""
        if self._running:
            self._journal.relax()

    async def let_go_of_layers(self, older_than_seconds: float) -> None:
        """Remove the layers of runs that ended longer ago, unless a younger one stands on them as well."""
        if self._running:
            await asyncio.shield(self._spawn(self._kept_layers.let_go(self._clock.now() - older_than_seconds)))

    def subscribe(self, callback: Subscriber) -> Callable[[], None]:
        """Have every committed entry and every note told, until the returned function is called."""
        subscribers = self._parts.subscribers
        subscribers.append(callback)

        def unsubscribe() -> None:
            if callback in subscribers:
                subscribers.remove(callback)

        return unsubscribe

    # -- runs in memory -----------------------------------------------------------------------------------------------

    def _load(self, run_id: str) -> Live | None:
        live = self._runs.get(run_id)
        if live is None:
            with collection_paused():
                loaded = self._journal.load(run_id)
                if loaded is None:
                    return None
                live = self._runs[run_id] = load(run_id, loaded)
            self._regate(live)
        return live

    def _take_up(self, run_id: str) -> Live | None:
        """Load a run that nobody asks for right now. One that cannot be read must not keep the others from going on."""
        try:
            return self._load(run_id)
        except Unavailable as error:
            _log.error("Run %s is set aside: %s", run_id, error)
            self._journal.set_aside(run_id, str(error))
            return None

    def _has_ended(self, run_id: str) -> bool:
        """Say whether nothing of a run will ever go on: it has ended, or is there no more."""
        found = self._journal.glance(run_id)
        return found is None or found.state in FINISHED

    def _find(self, run_id: str) -> Live:
        live = self._load(run_id)
        if live is None:
            raise NotFound(f"There is no run {run_id!r}.")
        return live

    def _open_run(self, run_id: str) -> Live:
        live = self._find(run_id)
        if live.state.finished:
            self._forget_idle(live)
            raise Conflict(f"Run {run_id!r} has ended: it is {live.state.state}.")
        return live

    async def _settled(self, live: Live) -> None:
        try:
            await self._commits.committed(live)
        finally:
            self._forget_idle(live)

    def _forget_idle(self, live: Live) -> None:
        """Drop a run from memory when nothing goes on in it; one that waits for room is loaded again when it has it."""
        if not live.idle or self._runs.get(live.id) is not live:
            return
        waits = self._parts.room.waits(live.id) and live.wants_room
        if waits or not live.wants_turn:
            del self._runs[live.id]
        if not waits and not live.wants_turn:
            self._parts.room.leave(live.id)

    def _regate(self, live: Live) -> None:
        for key in list(live.state.approvals):
            step = live.state.steps[key]
            if step.held and not holds(live, step, self._parts):
                self._commits.append(live, "released", key, {"by": "rules"})

    # -- what follows a commit ----------------------------------------------------------------------------------------

    def _on_drafted(self, live: Live, entry: Entry) -> None:
        if entry.type in {"dropped", "ended"}:
            self._children.heed(live, entry)

    def _on_committed(self, live: Live, entries: list[tuple[Entry, str]]) -> None:
        for entry, _ in entries:
            self._tell(entry, live)
            self._react(live, entry)
        if live.withheld and live.played >= live.cancelled_at:
            live.withheld = set()
            self._begin_open(live)
        if entries and live.state.timers:
            self._timers.arm(min(live.state.timers.values()))
        if live.turn is not None and live.turn.attached:
            live.turn.deliver(entries)
        elif live.history is not None:
            live.history.extend(entries)
        self._admission.consider(live)
        self._wake(live)
        self._forget_idle(live)

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
                self._spawn(self._attempts.abandon(live.id, entry.key))
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
        for key in self._children.queued(live):
            self._spawn(self._children.begin(live.id, key))

    def _hold(self, live: Live) -> None:
        self._attempts.stop_queued(live)
        if live.turn is not None and not live.turn.attached:
            live.turn.hibernate()

    def _finish(self, live: Live) -> None:
        if live.turn is not None:
            live.turn.finish(Ending("ended"))
        tasks, live.stopping = live.stopping + self._attempts.stop_all(live), []
        self._spawn(self._clear(live, tasks))

    async def _clear(self, live: Live, attempts: list["asyncio.Task[None]"]) -> None:
        try:
            await asyncio.gather(*attempts, return_exceptions=True)
            if self._parts.executor is not None:
                await self._parts.executor.forget(live.id)
            if live.clearing:
                await self._kept_layers.drop(live.left)
                await asyncio.to_thread(self._parts.logs.keep_rounds, live.id, logs_of(live.state.first))
                await asyncio.to_thread(self._parts.blobs.clear, live.id)
        finally:
            live.clearing, live.left = False, []
            self._wake(live)
            self._forget_idle(live)

    def _tell(self, entry: Entry, live: Live) -> None:
        self._parts.tell(entry, live)

    def _on_refused(self, live: Live, why: str | None) -> None:
        """Forget what the disk did not take; the run is loaded again from what it did."""
        live.gone = True
        self._parts.room.leave(live.id)
        if self._runs.get(live.id) is live:
            del self._runs[live.id]
        if live.turn is not None:
            live.turn.finish(Ending("abandoned"))
        self._attempts.stop_all(live)
        if why is not None:
            self._parts.tell(Note(live.id, self._clock.now(), "trouble", text=why), live)
            self._later(TROUBLE_SECONDS, live.id)

    def _later(self, seconds: float, run_id: str) -> None:
        def again() -> None:
            live = self._take_up(run_id) if self._running else None
            if live is not None:
                live.blocked_at = -1
                self._resume(live)

        self._clock.call_later(seconds, again)

    def _on_released(self, run_id: str) -> None:
        live = self._take_up(run_id) if self._running else None
        if live is not None:
            self._admission.remind(live, 0.0)

    def _supersede(self, live: Live, by: str, reason: str) -> None:
        draft_cancel(live, self._parts, by, reason, undo=False)

    def _fire(self, due: list[Due]) -> int:
        """Deal with due times, at least one of them and as many as can be in a moment; give their number."""
        begun, dealt_with = self._clock.elapsed(), 0
        for timer in due:
            dealt_with += 1
            live = self._take_up(timer.run)
            if live is not None and timer.key == REMINDER:
                self._admission.remind(live, timer.due)
            elif live is not None and timer.key in live.state.timers and not live.state.finished:
                self._commits.append(live, "fired", timer.key, None)
            if self._clock.elapsed() - begun >= BUSY_SECONDS:
                break
        self._commits.flush()
        return dealt_with

    # -- turns --------------------------------------------------------------------------------------------------------

    def _wake(self, live: Live) -> None:
        if not (live.wants_turn and self._running):
            return
        if self._parts.room.ask(live.wish(turn=True)):
            live.turn = Turn(live, self._parts)
            self._spawn(self._play(live, live.turn))
        elif self._parts.room.crowded:
            self._make_room()

    def _make_room(self) -> None:
        """Send an idle isolate away, since others wait for their turn."""
        for live in self._runs.values():
            if live.turn is not None and live.turn.lingering:
                live.turn.hibernate()
                return

    async def _play(self, live: Live, turn: Turn) -> None:
        try:
            ending = await turn.run()
        finally:
            if not live.gone:  # then it has given back everything
                self._parts.room.turn_over(live.id)
        if live.gone or not self._running:
            return
        after = None if live.state.finished else conclude(live, ending, self._parts)
        live.turn = None
        live.state.inflight.clear()
        if after is not None:
            self._later(after, live.id)
        self._wake(live)
        with contextlib.suppress(StepwellError):  # refused by the disk: seen to in _on_refused
            await self._commits.committed(live)
        self._forget_idle(live)
        self._parts.tell(Note(live.id, self._clock.now(), "turn", text="end"), live)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            _log.error("The engine failed. Please report this.", exc_info=task.exception())
