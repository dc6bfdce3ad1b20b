"""One stay of a run's code in an isolate: boot, replay, go on until it ends or everything awaited is out of its hands.

The order that keeps promises: what the isolate says is drafted, committed with everybody else's, and only then
answered. What happens meanwhile (an event, a timer, a completion) is an entry like any other and is delivered in its
place. A turn ends in exactly one Ending, and the engine decides what follows; a turn never starts another.

Hibernation is a kill: nothing is raised or unwound in the code. It is right when the isolate has said that it is idle
at the last entry delivered, and nothing drafted is left. Two waits are worth staying for, since a boot costs more: an
executor's step (some seconds) and a due time that is near.
"""

import asyncio
import logging
import re
from collections.abc import Mapping
from typing import Any

from stepwell.engine import commands
from stepwell.engine.clock import Handle
from stepwell.engine.commands import Malformed
from stepwell.engine.continuation import draft_continuation
from stepwell.engine.endings import Ending, end_run
from stepwell.engine.entries import Entry
from stepwell.engine.head_start import head_of
from stepwell.engine.hearing import Hearing
from stepwell.engine.large_results import LargeResults
from stepwell.engine.lines import Lines
from stepwell.engine.live import Live
from stepwell.engine.loading import check_replay, load_code, other_python
from stepwell.engine.parts import Parts
from stepwell.engine.seams import Code, IsolateChannel, IsolateSpec
from stepwell.engine.silence import Silence
from stepwell.engine.specs import Note
from stepwell.engine.standstill import Standstill
from stepwell.engine.telling import line_of, replayed
from stepwell.errors import StepwellError, TryLater, Unavailable
from stepwell.store.json_text import encode

_log = logging.getLogger(__name__)

_STALLED_IN = re.compile(r'File "(\.stepwell/[^"]+)", line (\d+)')
_DUMP_BYTES = 65_536


class Turn:
    """A turn of one run."""

    def __init__(self, live: Live, parts: Parts) -> None:
        self.live = live
        self.lingering = False
        self._parts = parts
        self._hearing = Hearing(live, parts)
        self._large = LargeResults(live, parts, self._kept, self._keeps_nothing)
        self._standstill = Standstill()
        self._silence = Silence(live, parts, lambda: self._stalled(""))
        self._over: asyncio.Future[Ending] = asyncio.get_running_loop().create_future()
        self._start, live.head_start = live.head_start, None
        self._lines: Lines | None = None
        self._channel: IsolateChannel | None = None
        self._sent = 0  # seq of the last entry the isolate was given
        self._idle = -1  # seq at which it said it was idle
        self._dump = b""
        self._dying: asyncio.Future[None] | None = None
        self._handles: dict[str, Handle] = {}

    @property
    def attached(self) -> bool:
        """Its isolate is there and is told of every commit."""
        return self._lines is not None

    @property
    def ending(self) -> bool:
        return self._over.done()

    # -- life ---------------------------------------------------------------------------------------------------------

    async def run(self) -> Ending:
        """Play the turn."""
        try:
            if not self._over.done():
                await self._begin()
            ending = await self._over
        finally:
            await self._close()
        return ending

    async def _begin(self) -> None:
        live, parts = self.live, self._parts
        try:
            check_replay(live)
            if self._start is None:
                live.code = code = await load_code(live, parts)
            else:
                live.code, self._channel = code, _ = await self._start.opened()
            live.next_lease = live.lease + 1
            parts.commits.touch(live)  # the lease is taken while the isolate boots
            if self._channel is None:
                self._channel = await parts.isolates.open(IsolateSpec(live.state.tenant, "turn", code))
            await parts.commits.committed(live)
        except TryLater as error:
            self.finish(Ending("postponed", str(error), error.retry_after))
        except Unavailable as error:
            self.finish(Ending("postponed", str(error), parts.limits.again))
        except StepwellError as error:
            self.finish(Ending("postponed", str(error)))
        if not self._over.done():
            self._attach(code)

    def _attach(self, code: Code) -> None:
        assert self._channel is not None
        live = self.live
        if self._start is not None and self._start.lines is not None:
            self._lines, self._sent, head = self._start.lines, self._start.sent, b""
        else:
            self._lines = Lines(self._channel.sock, self._parts.limits)
            head = encode(head_of(live, code, self._parts)).encode() + b"\n"
        self._lines.listen(self._on_line, self._on_end)
        self._lines.send(head + self._journal(), bounded=False)
        self._mark_sent()
        if live.state.cancel:
            self.start_grace()
        self._silence.begin()
        self._parts.tell(Note(live.id, self._parts.clock.now(), "turn", text="begin"), live)

    def _journal(self) -> bytes:
        """Tell what its isolate has not been told yet."""
        live = self.live
        history = live.history
        if history is None:
            loaded = self._parts.journal.load(live.id)
            assert loaded is not None
            history = list(zip(loaded.entries, loaded.texts, strict=True))
        live.history = None
        told = replayed(live, [pair for pair in history if pair[0].seq > self._sent])
        if told:
            self._sent = told[-1][0].seq
        return line_of(told)

    def finish(self, ending: Ending) -> None:
        """End the turn; the first ending counts."""
        if not self._over.done():
            self._over.set_result(ending)
            if self._lines is not None:
                self._lines.close()
            self._silence.end()
            for handle in self._handles.values():
                handle.cancel()
            if self._channel is not None:
                self._channel.kill()

    async def _close(self) -> None:
        self._hearing.close()
        self._large.close()
        if self._lines is None and self._start is not None:
            await self._start.close()
        elif self._channel is not None:
            self._channel.kill()
            if self._lines is None:
                self._channel.sock.close()
            await self._channel.ended()

    # -- to the isolate -----------------------------------------------------------------------------------------------

    def tell(self, entries: list[tuple[Entry, str]]) -> None:
        """Tell the isolate what was committed, unless the run has ended with it."""
        if self._lines is None or self._over.done() or self.live.state.finished:
            return
        live, out = self.live, list[tuple[Entry, str]]()
        for entry, text in self._standstill.sift(entries, self._sent):
            if entry.type == "paused" or live.heeded(entry):
                acked = entry.seq in live.acks
                live.acks.discard(entry.seq)
                out.append((entry, "null" if acked else text))
                self._sent = entry.seq
        if out:
            self._lines.send(line_of(out))
            self._mark_sent()

    def _mark_sent(self) -> None:
        self._idle = -1
        self._stay()
        self._silence.sent()

    # -- from the isolate ---------------------------------------------------------------------------------------------

    def _on_end(self, trouble: str) -> None:
        self._dying = asyncio.ensure_future(self._died(trouble))

    async def _died(self, trouble: str) -> None:
        """Its socket closed: find out why before anything is concluded."""
        assert self._channel is not None
        if trouble:
            self._channel.kill()
        try:
            why = await asyncio.wait_for(asyncio.shield(asyncio.ensure_future(self._channel.ended())), 2)
        except TimeoutError:
            self._channel.kill()
            why = await self._channel.ended()
        where = _STALLED_IN.findall(self._dump.decode("utf-8", "replace")) if self._dump else []
        if self._dump:
            self._stalled(":".join(where[0]) if where else "")
        elif why.startswith(("lost", "zygote")):
            self.finish(Ending("lost", why))
        else:
            self.finish(Ending("failed", trouble or f"The isolate ended by itself: {why}."))

    def _on_line(self, line: bytes) -> None:
        if self._over.done() or self.live.state.finished:
            return
        if self._dump or line.startswith(b"Timeout ("):
            self._dump = (self._dump + line + b"\n")[:_DUMP_BYTES]
            return
        self._silence.heard()
        try:
            self._obey_all(commands.parse(line, self._parts.limits))
        except (Malformed, ValueError, TypeError, KeyError, IndexError) as error:
            text = str(error) if isinstance(error, Malformed) else "It sent a command of the wrong shape."
            self.finish(Ending("failed", f"The isolate broke the protocol. {text}"))
            return
        self.settle()

    def _obey_all(self, said: list[list[Any]]) -> None:
        """Do what was said at once, as of one moment."""
        self._parts.commits.hold_moment()
        try:
            for command in said:
                self._obey(command)
                if self._over.done() or self.live.state.finished:
                    return
        finally:
            self._parts.commits.release_moment()

    def _obey(self, command: list[Any]) -> None:
        own = _OWN.get(command[0])
        if own is not None:
            own(self, command)
        elif self.live.state.length >= self._parts.limits.entries:
            message = f"The run has {self.live.state.length} entries; no more are allowed."
            self._end("failed", None, {"type": "TooManyEntries", "message": message, "traceback": ""})
        elif self.live.size >= self._parts.limits.journal_bytes:
            message = f"The run's journal has {self.live.size:,} bytes; no more are allowed. Return less from steps."
            self._end("failed", None, {"type": "JournalTooLarge", "message": message, "traceback": ""})
        elif command[0] in {"chunk", "large"}:
            self._take_large(command)
        elif command[0] == "drop" and self._large.holds(command):
            return
        else:
            self._hearing.take(command)
            self._standstill.heard(command)

    def _take_large(self, command: list[Any]) -> None:
        most = self._parts.limits.kept_bytes
        if self.live.kept + self._large.received >= most:
            message = f"The run's results take {most:,} bytes beside its journal; no more are allowed. Return less."
            self._end("failed", None, {"type": "ResultsTooLarge", "message": message, "traceback": ""})
        else:
            self._large.take(command)

    def _kept(self, key: str, said: list[list[Any]]) -> None:
        self._standstill.heard(["do", key])
        for command in said:
            self._hearing.take(command)
        self.settle()

    def _keeps_nothing(self, why: str) -> None:
        self.finish(Ending("postponed", why, self._parts.limits.again))

    def _say_fetch(self, command: list[Any]) -> None:
        if self._lines is None:
            return
        try:
            self._lines.send(self._large.fetched(command))
        except Unavailable as error:
            self.finish(Ending("postponed", str(error)))

    def _say_idle(self, command: list[Any]) -> None:
        self._idle = commands.whole(command[1])

    def _say_holding(self, command: list[Any]) -> None:
        _, seq, keys = command
        if self._standstill.answered(commands.whole(seq), [commands.text(key) for key in keys]):
            self.live.played = max(self.live.played, self._standstill.reached)

    def _say_end(self, command: list[Any]) -> None:
        _, state, outcome = command
        if state == "passed":
            if not commands.fits({"value": outcome}, encode):
                raise Malformed("The result of the run is larger than 1 MiB.")
            self._end("passed", outcome, None)
        elif state in {"failed", "cancelled"}:
            self._end(state, None, commands.failure(outcome) if outcome is not None else None)
        elif state == "continued":
            self._continue(commands.continuation(outcome))
        else:
            raise Malformed(f"It ended as {str(state)[:40]!r}.")

    def _continue(self, event: Mapping[str, Any]) -> None:
        if self.live.state.cancel is not None:
            self._end("cancelled", None, None)  # the order came too late for the code: it is about all of the run
        elif self.live.state.length == 1:
            message = "run() continued before anything had happened, so it would go on for ever. Await a step before."
            self._end("failed", None, {"type": "Endless", "message": message, "traceback": ""})
        else:
            draft_continuation(self.live, self._parts, event)
            self.finish(Ending("continued"))

    def _say_diverged(self, command: list[Any]) -> None:
        message = str(command[1])[:8192] + other_python(self.live.state.python)
        step = {"step": commands.text(command[2])} if len(command) > 2 else {}
        self._end("diverged", None, {"type": "Diverged", "message": message, "traceback": "", **step})

    def _say_stalled(self, command: list[Any]) -> None:
        self._stalled(str(command[1])[:1024])

    def _stalled(self, where: str) -> None:
        if self._silence.is_frozen():
            self.finish(Ending("lost", "lost: the machine stood still"))
            return
        seconds = self._parts.limits.stall
        at = f" at {where}" if where else ""
        message = f"run() did not yield for {seconds:g} s{at}. Do the work in await step.do(…) or step.run(…)."
        self._end("failed", None, {"type": "Stalled", "message": message, "traceback": ""})

    def _end(self, state: str, result: Any, error: dict[str, Any] | None) -> None:
        end_run(self.live, self._parts, state, result, error)

    # -- rest ---------------------------------------------------------------------------------------------------------

    def settle(self) -> None:
        """Hibernate if nothing is left to do here and now."""
        live, parts = self.live, self._parts
        if live.state.paused:
            if self._standstill.quiet and not live.draft and not live.state.finished:
                self.hibernate()
            return
        if self._idle < self._sent or live.draft or live.state.finished or self._over.done():
            return
        live.played = live.heard
        if live.withheld:
            parts.commits.touch(live)  # after which begins what the cancelled code still wants
        if _has_grace(live):
            return  # its end ends the turn
        if not parts.room.crowded:
            earliest = min(live.state.timers.values(), default=float("inf"))
            if live.attempts:
                self._linger(parts.limits.linger)
                return
            if earliest - parts.clock.now() < parts.limits.nap:
                self._linger(2 * parts.limits.nap)
                return
        self.hibernate()

    def hibernate(self) -> None:
        """End the isolate; the run costs rows from now on."""
        self.finish(Ending("hibernated"))

    def _linger(self, seconds: float) -> None:
        if not self.lingering:
            self.lingering = True
            self._handles["linger"] = self._parts.clock.call_later(seconds, self._leave)

    def _leave(self) -> None:
        self.lingering = False
        if self._idle >= self._sent and not self.live.draft:
            self.hibernate()

    def _stay(self) -> None:
        if self.lingering:
            self.lingering = False
            self._handles.pop("linger").cancel()

    def start_grace(self) -> None:
        """Give cancelled code its time to clean up; undoing has as much time as it needs."""
        if "grace" not in self._handles and _has_grace(self.live):
            self._handles["grace"] = self._parts.clock.call_later(self._parts.limits.grace, self._grace_over)

    def _grace_over(self) -> None:
        if not _has_grace(self.live):
            return
        if self.live.state.cancel and self.live.state.cancel.get("undo"):
            self._parts.commits.append(self.live, "overdue", "", None)
            return
        message = f"The code did not end within {self._parts.limits.grace:g} s of the cancellation and was killed."
        self._end("cancelled", None, {"type": "Cancelled", "message": message, "traceback": ""})


def _has_grace(live: Live) -> bool:
    """Say whether cancelled code is cleaning up. Undoing is what a cancellation may ask for, and what none may end."""
    state = live.state
    return state.cancel is not None and not (state.cancel.get("undo") and (state.undoing or state.overdue))


_OWN = {
    "idle": Turn._say_idle, "holding": Turn._say_holding, "end": Turn._say_end, "diverged": Turn._say_diverged,
    "stalled": Turn._say_stalled, "fetch": Turn._say_fetch,
}  # fmt: skip
