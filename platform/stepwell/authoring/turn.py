"""One stay of a run's code in an isolate: replay the journal, then go on until the host has no more for it.

`(code, event, journal) → commands`. Entries are delivered one at a time in journal order, and everything ready runs
between two deliveries; live entries take the same way, so first play and replay cannot differ. What the code asks is
compared with what the journal says it asked: only what is not there yet goes to the host, and at the end of the replay
nothing of the journal may be left over. A divergence ends the process at once; an exception raised into the wrong
state would run the author's `except` and `finally` blocks on a false world.

What a step gives reaches the code only after the host's acknowledgement, and always in the form that a replay sees:
after its JSON round trip, failures as StepFailed.
"""

import asyncio
import os
import sys
from asyncio import current_task
from collections.abc import Callable, Iterable, Sequence
from threading import get_ident
from typing import Any

from stepwell.authoring import places
from stepwell.authoring.code import Files
from stepwell.authoring.ending import Ending
from stepwell.authoring.env import Env
from stepwell.authoring.event import Event
from stepwell.authoring.failures import NotDurable, failure_of
from stepwell.authoring.frames import PASSED, passed
from stepwell.authoring.inline import Inline, Work
from stepwell.authoring.loop import Loop, LoopTimer
from stepwell.authoring.options import require_fit
from stepwell.authoring.pipeline import Pipeline
from stepwell.authoring.prints import Prints
from stepwell.authoring.replay import Entry, Replay, resolves
from stepwell.authoring.results import RESULT_BYTES, given_of
from stepwell.authoring.step import Step
from stepwell.authoring.step_future import Leaving, StepFuture
from stepwell.authoring.undo import Undos
from stepwell.authoring.verdict import failure
from stepwell.authoring.version import REPLAY
from stepwell.authoring.waits import Waits
from stepwell.authoring.wire import Wire, decode, encode


class Turn:
    """Replays and continues one run. Everything but `step.do` functions runs on the thread that made it."""

    def __init__(
        self, head: dict[str, Any], files: Files, wire: Wire, prints: Prints, *,
        outer: asyncio.AbstractEventLoop, leave: Callable[[int], Any] = os._exit,
    ) -> None:  # fmt: skip
        self.loop = Loop(self)  # type: ignore[abstract]  # what it does not have is refused at the end of loop.py
        most, at_once = int(head.get("result_bytes") or RESULT_BYTES), bool(head.get("announce"))
        self.inline = Inline(outer, wire, prints, most, at_once)
        self.seq = 0
        self.ended = False
        self._head = head
        self.pipeline: type[Pipeline] = Pipeline
        self.files = files
        self.wire = wire
        self.prints = prints
        self._leave = leave
        self.main: asyncio.Task[Any] | None = None
        self._replay = Replay(self.loop, self._diverge)
        self._replaying = False
        self._offset = int(head.get("offset") or 0)  # of the numbers in keys: those before are an earlier round's
        self.uses: dict[str, int] = {}
        self.steps: dict[str, StepFuture | None] = {}  # None: over and awaited, its result is not ours to keep
        self.waiting: dict[str, StepFuture] = {}
        self._early: dict[str, Any] = {}
        self._starts: dict[str, StepFuture] = {}
        self._attempts: dict[str, int] = {}
        self._new_timers: dict[str, LoopTimer] = {}
        self._waits = Waits()
        self._undos = Undos()
        self.rules = int(head.get("replay") or REPLAY)
        self._ending = Ending(self, self._undos, self.rules)
        self._paused = False

    # What the host sends

    def replay(self, parts: Iterable[Sequence[Entry]], *, held: bool = False) -> None:
        """Deliver the whole journal, part by part as it comes, compare, and go on from its end.

        Held: nothing begins and nothing is sent before the host says something new.
        """
        played = int(self._head.get("played") or 0)
        self._replay = replay = Replay(self.loop, self._diverge, parts, played)
        rest = replay.rest
        self._replaying = True
        with self.loop.as_running():
            while replay.pull():
                while rest:
                    entry = rest.popleft()
                    self.prints.quiet = entry[0] <= replay.past.played
                    self.deliver(entry)
        self.prints.quiet = False
        self._replaying = False
        results = {key: seq for key, (seq, _, _, inline) in self._early.items() if inline is not None}
        replay.compare_all(self.steps, self.loop.timer_count, results)
        if replay.past.undoing and not self._ending.undoing:
            self._diverge("undo", "the journal says that the run was being undone", "run() has not ended again")
        backing_off, self._attempts = replay.past.backing_off, replay.past.attempts
        for key, step in self.waiting.items():
            if step.kind == "do" and key not in backing_off:
                self._starts[key] = step
        self._ask_timers()
        self._replay = Replay(self.loop, self._diverge)
        if not held:
            self.flush()

    def deliver(self, entry: Entry) -> None:
        """Apply one entry and run everything that it makes ready."""
        seq, at, type_, key, attempt, data = entry
        self.seq = seq
        if type_ not in _DELIVERIES:
            self._paused = type_ == "paused"
            return
        self.loop.now = max(self.loop.now, at)
        self._apply(type_, key, attempt, data)
        self.loop.drain()
        if not self.ended and self.main is not None:
            self._ending.look(self.main)

    def _apply(self, type_: str, key: str, attempt: Any, data: Any) -> None:
        _DELIVERIES[type_](self, key, passed(attempt, data) if type_ == PASSED else data)

    def foresee(self, step: StepFuture) -> None:
        """Resolve what run() is about to await at once, if that is what the next entry of a replay does.

        Only where leaving the loop and coming back could do nothing else in between: this is the only thing ready. It
        spares a long replay a third of its time.
        """
        replay, loop = self._replay, self.loop
        rest = replay.rest
        if not rest or loop.ready or step._callbacks or self._ending.verdict is not None:
            return
        main = self.main
        if current_task(loop) is not main or main._must_cancel:  # type: ignore[union-attr]
            return  # somebody else hears first
        while rest and not step.done():
            seq, at, type_, key, fingerprint, data = rest[0]
            counts = type_ in _DELIVERIES
            if counts and (key != step.key or not (type_ == PASSED or resolves(type_, data))):
                return
            rest.popleft()
            self.prints.quiet = seq <= replay.past.played
            self.seq = seq
            if not counts:
                continue
            loop.drains += 1
            loop.now = max(loop.now, at)
            if type_ == PASSED and fingerprint == step.fingerprint and step.kind == "do" and step.work.undo is None:
                del self.waiting[key]
                self.steps[key] = None
                step.set_result(data)
                return
            self._apply(type_, key, fingerprint, data)

    def flush(self) -> None:
        """After a drain: start functions, and send what the code asked in one write."""
        if self._new_timers:
            self._ask_timers()
        if self._starts and not self._paused:
            starts, self._starts = self._starts, {}
            self.wire.flush()  # a function may take its time
            self.inline.start_all((step, self._attempts.get(key, 0) + 1) for key, step in starts.items())
        if self._paused:
            self.inline.tell_running(self.seq)
        elif not self.ended and not self.inline.running and not self.inline.unconfirmed:
            self.wire.put(f'["idle",{self.seq}]')
        self.wire.flush()

    def _ask_timers(self) -> None:
        for timer in self._new_timers.values():
            if timer.key in self.loop.timers and timer.key not in self._replay.past.asked:
                self._ask([timer.key, "timer", "", ""], {}, timer.when(), places.shown(timer.mark))
        self._new_timers.clear()

    def _created(self, _key: str, _data: Any) -> None:
        event = Event({"number": self._head.get("number"), **(self._head.get("params") or {})})
        own = encode(self._head.get("params") or {})  # as text: the code may change the event that it was given
        step = Step(self, str(self._head.get("seed") or self._head["run"]), dict(self.pipeline.defaults), own)
        self.main = self.loop.create_task(self._run(event, step), name="run")

    async def _run(self, event: Event, step: Step) -> Any:
        pipeline = self.pipeline()
        if not hasattr(pipeline, "env"):  # a class may have an env of its own
            pipeline.env = Env(self)
        return await pipeline.run(event, step)

    def _done(self, key: str, data: Any) -> None:
        step = self.waiting.pop(key, None)
        asked = self.steps.get(key) if step is None else step
        inline = data.get("inline") if self._replaying else None
        if asked is not None and self._replaying:
            self._replay.compare(asked, inline)
        if data is None:
            ok, value = self.inline.unconfirmed.pop(key)
        else:
            ok = bool(data["ok"])
            value = data.get("value") if ok else data.get("error") or {}
            if "blob" in data and self._wants(key, step, asked):
                value = decode(self.wire.fetch(data["blob"]["id"]))
        if asked is not None and asked.work is not None and asked.work.undo is not None:
            self._undos.note(self.seq, asked, ok, value)
        if step is not None:
            if ok and step.kind == "do" and not step.done():
                step.set_result(value)
            else:
                self._resolve(step, ok, value)
            if step.used:
                self.steps[key] = None
        elif key not in self.steps:
            self._early[key] = (self.seq, ok, value, inline)

    def _wants(self, key: str, step: StepFuture | None, asked: StepFuture | None) -> bool:
        """Say whether anybody will look at a result; one that is kept beside the journal is fetched only then."""
        undone = asked is not None and asked.work is not None and asked.work.undo is not None
        return undone or key not in self.steps or (step is not None and not step.done())

    def _fired(self, key: str, _data: Any) -> None:
        if self.loop.fire(key):
            return
        step = self.waiting.get(key)
        if step is None:
            return
        if step.kind == "do":
            if not self._replaying:
                self._starts[key] = step
            return
        del self.waiting[key]
        if step.kind == "sleep":
            step.set_result(None)
        else:
            self._waits.close(step)
            step.set_exception(failure_of(step.kind, step.name, step.key, _TIMEOUTS[step.kind]))

    def _event(self, _key: str, data: Any) -> None:
        step = self._waits.arrived(data["type"], self.seq, data.get("payload"))
        if step is not None:
            self._take(step, self.seq, data.get("payload"))

    def _cancel(self, _key: str, data: Any) -> None:
        if self.main is not None:
            self._ending.cancel(self.main, undo=bool(data.get("undo")))

    def _overdue(self, _key: str, _data: Any) -> None:
        if self.main is not None:
            self._ending.leave_behind(f"within {self._head['grace']:g} s of the cancellation")

    def _retried(self, key: str, _data: Any) -> None:
        if not self._replaying:
            self._attempts[key] = self._attempts.get(key, 0) + 1

    # What the code asks

    def ask(
        self, kind: str, name: str, fingerprint: str, options: dict[str, Any] | None = None, *,
        due: float | None = None, work: Work | None = None,
    ) -> StepFuture:  # fmt: skip
        """Register a step and return its future."""
        loop, replay = self.loop, self._replay
        if not loop.inside or get_ident() != loop.thread:
            self._require_inside(name)
        number = self.uses[name] = self.uses.get(name, self._offset) + 1
        key = f"{name}#{number}"
        mark = places.of_frame(sys._getframe(2), self.files.names)
        step = StepFuture.made(loop, key, name, kind, mark, fingerprint=fingerprint, work=work)
        self.steps[key] = step
        early = self._early.pop(key, None) if self._early else None
        if early is not None and early[3] is not None:
            replay.compare(step, early[3])
        known = replay.past.asked.get(key) if kind == "do" else replay.asked(key)
        if known is not None:
            replay.check(step, known, options)
        elif kind != "do":
            self._ask([key, kind, name, fingerprint], options, due, step.where)
        if early is not None:
            seq, ok, value, _ = early
            self._undos.note(seq, step, ok, value)
            self._resolve(step, ok, value)
        elif kind == "do":
            if not self._replaying:
                self._starts[key] = step
            self.waiting[key] = step
        else:
            self._wait(step, options)
        return step

    def continue_as(self, options: dict[str, Any]) -> StepFuture:
        """Give what the code awaits in order to leave; the first one that it awaits counts."""
        self._require_inside("continue_as")
        require_fit("continue_as", options, encode(options))
        leaving = Leaving.made(self.loop, "", "continue_as", "continue_as", self._mark())
        self._ending.leavings[leaving] = options
        return leaving

    def _require_inside(self, name: str) -> None:
        if not self.loop.inside or get_ident() != self.loop.thread:
            raise NotDurable(
                f"step {name!r} was called outside of run(), for example inside a step.do function. "
                "Call steps from run() or from what it awaits."
            )

    def _wait(self, step: StepFuture, options: dict[str, Any] | None) -> None:
        if step.kind == "event" and options is not None:
            step.event_type = options["type"]
            kept = self._waits.open(step)
            if kept is not None:
                self._take(step, *kept)
                return
        self.waiting[step.key] = step

    def _take(self, step: StepFuture, seq: int, payload: Any) -> None:
        self.waiting.pop(step.key, None)
        known = self._replay.took(step.key)
        if known is None:
            self.wire.put(encode(["took", step.key, seq]))
        elif known != seq:
            self._diverge(step.key, f"it took event {known}", f"it now takes event {seq}")
        step.set_result(payload)

    def _ask(self, asked: list[str], options: Any, due: float | None, where: str) -> None:
        _key, _kind, name, _fingerprint = asked
        text = encode(options)
        require_fit(name, options, text)
        head = encode(asked)[1:-1]
        self.wire.put(f'["ask",{head},{text},{"null" if due is None else repr(due)},{encode(where)},{self.seq}]')

    def _resolve(self, step: StepFuture, ok: bool, value: Any) -> None:
        if step.done():
            return
        if not ok:
            step.set_exception(failure_of(step.kind, step.name, step.key, value))
        else:
            step.set_result(value if step.kind == "do" else given_of(step.kind, value))

    def _mark(self) -> places.Mark:
        return places.of_frame(sys._getframe(2), self.files.names)

    # What the loop tells

    def timer_made(self, timer: LoopTimer) -> None:
        timer.mark = self._mark()
        self._new_timers[timer.key] = timer

    def timer_cancelled(self, timer: LoopTimer) -> None:
        if self._new_timers.pop(timer.key, None) is None or self._replay.asked(timer.key):
            self._drop(timer.key)

    def step_dropped(self, step: StepFuture) -> None:
        key = step.key
        if self.waiting.pop(key, None) is None:
            return
        self._starts.pop(key, None)
        if step.kind == "event":
            self._waits.close(step)
        elif step.kind == "do":
            self.inline.drop(key)
            if step.work.undo is not None and (key in self.inline.unconfirmed or self._replay.brings(key)):
                self._undos.expect(step)
        self._drop(key)

    def leaves(self, leaving: Leaving) -> None:
        if self.main is not None and not self.main.done():
            self._ending.leave(self.main, leaving)

    def _drop(self, key: str) -> None:
        if not self._replay.dropped(key):
            self.wire.put(encode(["drop", key]))

    def begins_to_undo(self) -> None:
        """Say so, unless the journal has it."""
        if not self._replay.undoing():
            self.wire.put('["undoing"]')

    def complain(self, text: str) -> None:
        if not self.prints.quiet:
            self.wire.put(encode(["log", "", text + "\n"]))

    def _diverge(self, key: str, *facts: str) -> None:
        """Report and leave at once, before the code sees anything of it."""
        message = (
            f"Step {key!r} does not match the journal: {'; '.join(facts)}. Each time it is replayed, run() must ask "
            "the same steps with the same settings: take time, randomness and outside data from step calls."
        )
        self.wire.put(encode(["diverged", message, key]))
        self.wire.flush()
        self._leave(0)


_TIMEOUTS = {
    "event": failure("EventTimeout", "the event did not come in time"),
    "approval": failure("ApprovalTimeout", "nobody decided in time"),
}
_DELIVERIES: dict[str, Callable[[Turn, str, Any], None]] = {
    "created": Turn._created, "continued": Turn._created, "done": Turn._done, PASSED: Turn._done,
    "fired": Turn._fired, "event": Turn._event, "cancel": Turn._cancel, "overdue": Turn._overdue,
    "retry": Turn._retried,
}  # fmt: skip
