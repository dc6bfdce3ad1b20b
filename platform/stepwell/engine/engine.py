"""The durable engine, embedded: creates runs, plays their turns, runs their steps, wakes them.

Everything here happens on one event loop. A run is in memory (Live) only while something goes on in it: a turn, an
attempt, a draft on its way to disk. This is what others ask of it; what follows by itself is the scheduler's.
"""

import asyncio
import platform
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Literal

from stepwell.authoring.version import REPLAY
from stepwell.engine.admission import arrival_of
from stepwell.engine.children import Child, Heritage, all_metadata
from stepwell.engine.clock import Clock, RealClock
from stepwell.engine.commits import Commits
from stepwell.engine.control import draft_cancel, draft_pause, draft_resumption, draft_termination
from stepwell.engine.decisions import draft_decision
from stepwell.engine.endings import Ending
from stepwell.engine.entries import FINISHED, Entry
from stepwell.engine.fold import fold
from stepwell.engine.loading import ask
from stepwell.engine.no_blobs import NoBlobs
from stepwell.engine.order import NO_ORDER, order_of
from stepwell.engine.parts import Parts
from stepwell.engine.present import Present, look
from stepwell.engine.restarts import successor
from stepwell.engine.room import CapsOf, Room, no_caps
from stepwell.engine.scheduler import Scheduler
from stepwell.engine.seams import Binding, BlobStore, Code, Executor, Gate, Isolates, Judge, Loader, LogSink, Preparer
from stepwell.engine.selection import Selection
from stepwell.engine.slots import Slots
from stepwell.engine.specs import DEFAULT_LIMITS, Limits, RunRef, RunSpec, Subscriber, check_by, check_json, check_text
from stepwell.engine.state import RunState
from stepwell.errors import Conflict, Invalid, Unavailable
from stepwell.store.journal import Created, Glance, Journal, NewRun, Numbered, RunRow


class Engine:
    """Durable execution over a journal. All methods belong on the loop on which `start` was awaited."""

    def __init__(
        self, journal: Journal, isolates: Isolates, loader: Loader, *, logs: LogSink, executor: Executor | None = None,
        preparer: Preparer | None = None, gate: Gate | None = None, clock: Clock | None = None,
        concurrent_turns: int = 50, concurrent_steps: int = 8, steps_per_tenant: int | None = None,
        limits: Limits = DEFAULT_LIMITS, heritage: Heritage = all_metadata, caps: CapsOf = no_caps,
        blobs: BlobStore | None = None,
    ) -> None:  # fmt: skip
        clock = clock or RealClock()
        self._journal = journal
        self._clock = clock
        self._commits = Commits(journal, clock)
        self._parts = Parts(
            journal, isolates, loader, executor, preparer, gate, logs, clock, limits, self._commits,
            Room(concurrent_turns, caps), Slots(concurrent_steps, steps_per_tenant), [], blobs or NoBlobs(),
        )  # fmt: skip
        self._scheduler = Scheduler(self._parts, heritage, self.create)
        self._memory = self._scheduler.memory
        self._loop: asyncio.AbstractEventLoop | None = None
        self._heard: set[asyncio.Event] = set()

    async def load(self, metadata: Mapping[str, Any]) -> Code:
        """Ask for the code of these metadata. Raises TryLater when it is slow or there is none, else what it raises."""
        return await ask(self._parts.loader, metadata, self._parts.limits)

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
        return len(self._memory)

    async def present(self, tenants: Collection[str]) -> Present:
        """What goes on now, and what waits for room: of these tenants one by one, of all counted."""
        return look(self._memory, self._parts.room, self._parts.step_slots, tenants)

    def holds(self, run_id: str) -> bool:
        """Say whether a run is in memory: something goes on in it."""
        return run_id in self._memory

    def offer(self, name: str, binding: Binding) -> None:
        """Give code `self.env.<name>`; before `start`, since runs go on at once."""
        self._parts.bindings[name] = binding

    # -- start and stop -----------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Open the journal, clear what a crash left behind, and go on where it stopped."""
        self._journal.open()
        self._loop = asyncio.get_running_loop()
        self._parts.blobs.recover()
        if self._parts.executor is not None:
            await self._parts.executor.recover(self._journal.layer_in_use, self._has_ended)
        self._scheduler.start(self._journal.awake())

    async def stop(self) -> None:
        """Stop at once. Nothing is written: what was under way is found by the next start."""
        await self._scheduler.stop()
        self._journal.close()
        self._loop = None
        for news in self._heard:
            news.set()

    def _require_here(self) -> None:
        """Raise Unavailable when the engine does not run, Invalid when it runs on another loop."""
        if self._loop is None:
            raise Unavailable(
                "The engine does not run: it has stopped, or was not started. What was accepted is on disk, and goes "
                "on when an engine is started on it. Ask inside the block of `embedded`, or from start() to stop()."
            )
        if asyncio.get_running_loop() is not self._loop:
            raise Invalid(
                "The engine runs on another loop than the one from which it is asked. Ask on the loop on which it was "
                "started, for example by asyncio.run_coroutine_threadsafe(…, loop)."
            )

    async def hear(self, news: asyncio.Event) -> None:
        """Wait until a subscriber sets this. Raises Unavailable when the engine stops before."""
        self._require_here()
        self._heard.add(news)
        try:
            await news.wait()
        finally:
            self._heard.discard(news)
        self._require_here()

    def _has_ended(self, run_id: str) -> bool:
        """Say whether nothing of a run will ever go on: it has ended, or is there no more."""
        found = self._journal.glance(run_id)
        return found is None or found.state in FINISHED

    # -- what others ask ----------------------------------------------------------------------------------------------

    async def create(self, spec: RunSpec) -> RunRef:
        """Create a run; the same id again gives the run that exists. Raises Invalid, TryLater.

        One that restarts another adopts its beginning, in the same transaction. Raises NotFound, Conflict.
        """
        self._require_here()
        for name in ("id", "tenant", "scope", "title", "code", "entry"):
            check_text(name, getattr(spec, name))
        now = self._clock.now()
        order = NO_ORDER if spec.order is None else order_of(spec.order).checked(now)
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
        async with self._scheduler.kept_layers.settled:
            if not self._journal.entries(spec.id):
                new = await successor(new, spec.restart, self._parts)
            return await self._made(new)

    async def _made(self, new: NewRun) -> RunRef:
        made = self._commits.create(new)
        made.add_done_callback(self._on_created)
        created = await asyncio.shield(made)  # who asked may leave; the run is there and begins all the same
        return RunRef(created.id, created.number, created.entry is not None)

    def _on_created(self, made: "asyncio.Future[Created]") -> None:
        if made.exception() is None:
            self._scheduler.created(made.result())

    async def create_child(self, parent: RunState, child: Child) -> RunRef:
        """Create a run that belongs to another one; the same again gives the one there is. Raises Invalid, Conflict,
        TryLater.
        """
        return await self._scheduler.children.make(parent, child)

    async def get(self, run_id: str) -> RunState | None:
        """State of a run, a copy that never changes; None when there is none."""
        self._require_here()
        live = self._memory.known(run_id)
        if live is not None:
            state = live.state.snapshot()
        elif entries := self._journal.entries(run_id):
            state = fold(entries)
        else:
            return None
        if state.held and not state.finished and not state.paused:
            state.reason = self._scheduler.admission.reason(state)
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

    async def scan(self, which: Selection, after: tuple[float, str], limit: int) -> list[RunRow]:
        """Runs that are meant, but for their metadata, behind a place. Others have the engine's loop meanwhile."""
        return await asyncio.to_thread(self._journal.scan, which, after, limit)

    async def last_entries(self, runs: Sequence[str]) -> dict[str, Entry | None]:
        """The last entry of each of these runs, None for one that cannot be read, likewise."""
        return await asyncio.to_thread(self._journal.last_entries, runs)

    async def send_event(self, run_id: str, type: str, payload: Any, id: str | None = None) -> None:
        """Deliver an event; once per `id` and run. Raises NotFound, Conflict (the run has ended), Invalid, TryLater."""
        self._require_here()
        check_text("type", type)
        check_text("id", id or "")
        check_json("payload", payload)
        async with self._scheduler.telling(run_id) as live:
            if live.state.length >= self._parts.limits.entries:
                raise Conflict(f"Run #{live.state.number} has {live.state.length} entries; no more are allowed.")
            if live.size >= self._parts.limits.journal_bytes:
                raise Conflict(f"Run #{live.state.number} has a journal of {live.size:,} bytes; no more are allowed.")
            if id is None or id not in live.state.event_ids:
                self._commits.append(live, "event", "", {"type": type, "payload": payload, "id": id})

    async def decide(
        self, run_id: str, key: str, decision: Mapping[str, Any], judge: Judge
    ) -> Literal["approved", "rejected"] | None:
        """Record a decision on a waiting approval or held step; give the verdict, None while more are needed.

        `decision` is {by, approve, comment, fields}; its time is added. Raises Conflict when the step waits no more.
        """
        self._require_here()
        async with self._scheduler.telling(run_id) as live:
            return draft_decision(live, key, {**decision, "at": self._clock.now()}, judge, self._commits)

    async def cancel(self, run_id: str, by: str, reason: str = "", undo: bool = False) -> None:
        """Have the code cancelled, and killed when its grace is over. A run that has ended stays as it is.

        With `undo` its passed steps are undone afterwards; code whose grace is over is then left where it stands.
        """
        self._require_here()
        check_by(by)
        live = self._memory.find(run_id)
        draft_cancel(live, self._parts, by, reason, undo)
        await self._memory.settled(live)

    async def terminate(self, run_id: str, by: str, reason: str = "") -> None:
        """End a run at once; its code is told nothing. A run that has ended stays as it is."""
        self._require_here()
        check_by(by)
        live = self._memory.find(run_id)
        draft_termination(live, self._parts, by, reason)
        await self._memory.settled(live)

    async def pause(self, run_id: str, by: str, reason: str = "") -> None:
        """Let nothing begin in a run until it is resumed. Raises Conflict when it is paused, cancelled or has ended."""
        self._require_here()
        check_by(by)
        live = self._memory.find_open(run_id)
        try:
            draft_pause(live, self._parts, by, reason)
        finally:
            await self._memory.settled(live)

    async def resume(self, run_id: str, by: str) -> None:
        """Have a paused run go on. Raises Conflict when it is not paused."""
        self._require_here()
        check_by(by)
        live = self._memory.find_open(run_id)
        try:
            draft_resumption(live, self._parts, by)
        finally:
            await self._memory.settled(live)

    async def kill_isolate(self, run_id: str) -> None:
        """End the process in which a run's code is, as a crash would: the run goes on from its journal in another one.

        Functions that were running there count as lost, and begin again. Raises Conflict when the run is in no process.
        """
        live = self._memory.find_open(run_id)
        if live.turn is None or not live.in_process:
            raise Conflict("The run is in no process now: there is nothing to kill. It costs rows only.")
        live.turn.finish(Ending("lost", "lost: its process was killed on demand"))

    async def in_process(self, run_id: str) -> bool:
        """Say whether a run's code is in a process now."""
        live = self._memory.known(run_id)
        return live is not None and live.in_process

    async def recheck(self, run_id: str) -> None:
        """Ask the gate again about steps that it holds, after rules have changed."""
        live = self._memory.find(run_id)
        self._memory.regate(live)
        await self._memory.settled(live)

    async def caps_changed(self) -> None:
        """Ask the caps again about runs that wait for room."""
        self._parts.room.caps_changed()

    async def remove(self, runs: Sequence[str]) -> list[str]:
        """Remove runs that have ended: files first, so that rows lead back to what a crash leaves. Gives those removed.

        Runs that have not ended, or with which something still goes on, are left.
        """
        async with self._scheduler.kept_layers.settled:
            over = [run for run in runs if self._is_over(run)]
            if not over or not self._scheduler.running:
                return []
            if self._parts.executor is not None:
                await self._parts.executor.erase(over, self._journal.layers_of(over))
            return self._journal.remove([run for run in over if not self.holds(run)])

    def _is_over(self, run_id: str) -> bool:
        known = None if self.holds(run_id) else self._journal.glance(run_id)
        return known is not None and known.state in FINISHED

    async def relax(self) -> None:
        """Give back memory that is kept only to be quick."""
        if self._scheduler.running:
            self._journal.relax()

    async def let_go_of_layers(self, older_than_seconds: float) -> None:
        """Remove the layers of runs that ended longer ago, unless a younger one stands on them as well."""
        if self._scheduler.running:
            letting_go = self._scheduler.kept_layers.let_go(self._clock.now() - older_than_seconds)
            await asyncio.shield(self._scheduler.spawn(letting_go))

    def subscribe(self, callback: Subscriber) -> Callable[[], None]:
        """Have every committed entry and every note told, until the returned function is called."""
        subscribers = self._parts.subscribers
        subscribers.append(callback)

        def unsubscribe() -> None:
            if callback in subscribers:
                subscribers.remove(callback)

        return unsubscribe
