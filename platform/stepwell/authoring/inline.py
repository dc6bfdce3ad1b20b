"""Attempts of `step.do`: functions that run inside the turn's isolate, beside `run()`.

Async functions are tasks of the outer loop, sync ones run in daemon threads that hand their result to the wire
themselves. Whoever ends an attempt first takes it out of `running`; a thread that comes home after its timeout, or
after the code dropped the step, finds its attempt gone and its result is forgotten.
"""

import asyncio
import contextvars
import inspect
import queue
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache
from types import FunctionType
from typing import Any

from stepwell.authoring.failures import MESSAGE_LENGTH, describe_error
from stepwell.authoring.prints import CURRENT_STEP, Prints
from stepwell.authoring.results import RESULT_BYTES, ResultRefused, decode, encode_result, size_of
from stepwell.authoring.retries import Retries
from stepwell.authoring.step_future import StepFuture
from stepwell.authoring.wire import Wire, encode

PIECE_CHARACTERS = 262_144
"""Of a large result, in one line to the host."""
ANNOUNCE_SECONDS = 0.05
"""A step that has lasted this long is shown as running.

One that takes its isolate down sooner is not told from code of `run()` that did, and the turn is played again. There
each attempt is announced before it begins, so the second time it is the step's attempt that has failed.
"""
ABANDON_SECONDS = 5.0
"""How long a cancelled async function may take for its `finally:` before its attempt is over without it."""

_clock = time.perf_counter
_Error = dict[str, Any]


@dataclass(slots=True)  # not frozen: a replay makes one for each step, and freezing triples the price
class Work:
    """What a `step.do` does, and what undoes it: that one is given the result as its only argument."""

    function: Callable[..., Any]
    args: tuple[Any, ...]
    retry: Retries
    timeout: float | None
    undo: "Work | None" = None


class Attempt:
    """One try of a `step.do`."""

    __slots__ = ("announced", "key", "name", "number", "over", "started", "step", "task", "timed_out", "timer", "work")

    def __init__(self, step: StepFuture, number: int, asked: float) -> None:
        self.step = step
        self.key = step.key
        self.name = step.name
        self.number = number
        self.work: Work = step.work
        self.started = asked
        self.announced = False
        self.over = False
        self.timed_out = False
        self.task: asyncio.Task[None] | None = None
        self.timer: asyncio.TimerHandle | None = None


class Inline:
    """Runs attempts and turns their ends into commands; `at_once` announces each before it begins."""

    def __init__(
        self, outer: asyncio.AbstractEventLoop, wire: Wire, prints: Prints, limit: int, at_once: bool = False
    ) -> None:
        self.running: dict[str, Attempt] = {}
        self.unconfirmed: dict[str, tuple[bool, Any]] = {}
        self._outer = outer
        self._wire = wire
        self._prints = prints
        self._limit = limit  # bytes of a result
        self._at_once = at_once
        self._threads = Threads()
        self._begin: Callable[[asyncio.Task[None]], None] | None = getattr(outer, "begin", None)
        self._starting = False
        self._announcing = False
        self._lock = threading.Lock()

    def start_all(self, starts: Iterable[tuple[StepFuture, int]]) -> None:
        """Begin attempts of these steps, numbered; what they say at once waits for the next flush.

        They were asked for together, so their time begins together: one that follows upon another began after its end.
        """
        self._starting, asked = True, _clock()
        try:
            for step, number in starts:
                self._start(step, number, asked)
        finally:
            self._starting = False

    def _start(self, step: StepFuture, number: int, asked: float) -> None:
        """Begin an attempt: an async function up to where it first waits."""
        attempt = Attempt(step, number, asked)
        work = attempt.work
        self.running[step.key] = attempt
        if self._at_once:
            attempt.announced = True
            self._wire.put(encode(_running(attempt)))
            self._wire.flush()
        context = contextvars.Context()
        context.run(CURRENT_STEP.set, step.key)
        if _is_async(work.function):
            attempt.task = self._outer.create_task(self._run_async(attempt), context=context)
            if self._begin is not None:
                self._begin(attempt.task)
        else:
            self._threads.call(context.run, self._run_sync, attempt)
        if attempt.over:
            return
        if work.timeout is not None:
            attempt.timer = self._outer.call_later(work.timeout, self._time_out, attempt)
        if not self._announcing:
            self._announcing = True
            self._outer.call_later(ANNOUNCE_SECONDS, self._announce)

    def close(self) -> None:
        """Let the threads end."""
        self._threads.close()

    def drop(self, key: str) -> None:
        """Forget an attempt that the code has cancelled: an async function is cancelled, a thread abandoned."""
        with self._lock:
            attempt = self.running.pop(key, None)
            if attempt is None:
                return
            attempt.over = True
        if attempt.timer is not None:
            attempt.timer.cancel()
        if attempt.task is not None:
            self._outer.call_soon(attempt.task.cancel)

    def announce(self) -> None:
        """Tell the host which attempts last longer; from any thread, since a function may block the outer loop."""
        now, told = _clock(), False
        for attempt in list(self.running.values()):
            if not attempt.announced and now - attempt.started >= ANNOUNCE_SECONDS * 0.9:
                attempt.announced = told = True
                self._wire.put(encode(_running(attempt)))
        if told:
            self._wire.flush()

    def tell_running(self, seq: int) -> None:
        """Tell the host what is under way at a pause; of what is not named, the end has been told before."""
        with self._lock:
            self._wire.put(encode(["holding", seq, list(self.running)]))

    async def _run_async(self, attempt: Attempt) -> None:
        try:
            value = await attempt.work.function(*attempt.work.args)
        except BaseException as error:  # a failed step must not end the loop, not even by SystemExit
            self._failed(attempt, error)
        else:
            self._returned(attempt, value)

    def _run_sync(self, attempt: Attempt) -> None:
        try:
            value = attempt.work.function(*attempt.work.args)
            if inspect.iscoroutine(value):
                value.close()
                raise TypeError("the function returned a coroutine. Give step.do the async function, not a lambda.")
        except BaseException as error:  # the thread serves other steps after this one
            self._failed(attempt, error)
        else:
            self._returned(attempt, value)

    def _returned(self, attempt: Attempt, value: Any) -> None:
        if attempt.timed_out:
            self._timed_out(attempt)
            return
        try:
            text = encode_result(value, f"The result of step {attempt.name!r}", self._limit)
        except ResultRefused as error:
            refusal = {"type": "ResultRefused", "message": str(error), "traceback": ""}
            self._end(attempt, False, refusal, encode(refusal))
        else:
            if size_of(text) <= RESULT_BYTES:
                self._end(attempt, True, decode(text), text)
            else:
                self._end_large(attempt, text)

    def _failed(self, attempt: Attempt, error: BaseException) -> None:
        if attempt.timed_out:
            self._timed_out(attempt)
        else:
            self._settle(attempt, describe_error(error), error)

    def _timed_out(self, attempt: Attempt) -> None:
        message = f"took longer than its timeout of {attempt.work.timeout:g} s"
        self._settle(attempt, {"type": "Timeout", "message": message, "traceback": ""}, TimeoutError(message))

    def _settle(self, attempt: Attempt, error: _Error, raised: BaseException) -> None:
        if attempt.over:
            return  # an author's function would be asked about what is not tried again
        seconds = round(_clock() - attempt.started, 6)
        try:
            delay = attempt.work.retry.after(attempt.number, raised)
        except BaseException as wrong:  # the author's code
            delay = None
            said = f"retries= could not decide about {error['type']}: {error['message']}; it failed itself"
            error = describe_error(wrong)
            error["message"] = f"{said}: {error['message']}"[:MESSAGE_LENGTH]
        if delay is None:
            self._end(attempt, False, error, encode(error))
        else:
            step = attempt.step
            command = ["retry", attempt.key, attempt.name, step.fingerprint, attempt.number, error, delay, seconds]
            self._leave(attempt, encode(command), None)

    def _end(self, attempt: Attempt, ok: bool, value: Any, text: str) -> None:
        seconds = _clock() - attempt.started
        command = (
            f'["do",{encode(attempt.key)},{encode(attempt.name)},"{attempt.step.fingerprint}",'
            f"{attempt.number},{'true' if ok else 'false'},{text},{seconds:.6f}]"
        )
        self._leave(attempt, command, (ok, value))

    def _end_large(self, attempt: Attempt, text: str) -> None:
        """Send a result that is too large for the journal: in pieces, and then the word that it is whole."""
        seconds = round(_clock() - attempt.started, 6)
        for number, start in enumerate(range(0, len(text), PIECE_CHARACTERS)):
            if attempt.over:
                return
            self._wire.put(encode(["chunk", attempt.key, number, text[start : start + PIECE_CHARACTERS]]))
            self._wire.flush()
        about = [attempt.key, attempt.name, attempt.step.fingerprint, attempt.number, size_of(text), seconds]
        self._leave(attempt, encode(["large", *about]), (True, decode(text)))

    def _leave(self, attempt: Attempt, command: str, outcome: tuple[bool, Any] | None) -> None:
        """Say how an attempt ended, unless it is over already. Said first, gone then: "idle" must come behind it."""
        with self._lock:
            if attempt.over:
                return
            attempt.over = True
            if outcome is not None:
                self.unconfirmed[attempt.key] = outcome
            self._prints.close_step(attempt.key)
            self._wire.put(command)
            self.running.pop(attempt.key, None)
        if attempt.timer is not None and attempt.task is not None:
            attempt.timer.cancel()
        if attempt.task is not None and self._starting:
            return
        if attempt.task is not None and self.running:
            self._outer.call_soon(self._wire.flush)  # others may end in this same round of the loop: one write
        else:
            self._wire.flush()

    def _time_out(self, attempt: Attempt) -> None:
        if attempt.over:
            return
        attempt.timed_out = True
        if attempt.task is None:
            self._timed_out(attempt)
        else:
            attempt.task.cancel()
            self._outer.call_later(ABANDON_SECONDS, self._timed_out, attempt)

    def _announce(self) -> None:
        self.announce()
        self._announcing = bool(self.running)
        if self._announcing:
            self._outer.call_later(ANNOUNCE_SECONDS, self._announce)


def _is_async(function: Callable[..., Any]) -> bool:
    return _is_plainly_async(function) if type(function) is FunctionType else _looks_async(function)


def _looks_async(function: Callable[..., Any]) -> bool:
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(type(function).__call__)


_is_plainly_async = lru_cache(64)(_looks_async)
"""For functions, of which one is often called again and again; other callables may have a hash of their own."""


def _running(attempt: Attempt) -> list[Any]:
    # The delay is for the host, should this attempt take the isolate down with it.
    delay = attempt.work.retry.after_death(attempt.number)
    return ["running", attempt.key, attempt.name, attempt.number, attempt.step.fingerprint, delay]


class Threads:
    """Daemon threads that are kept for the next call; there is one for each call in flight."""

    def __init__(self) -> None:
        self._calls: queue.SimpleQueue[tuple[Callable[..., Any], tuple[Any, ...]] | None] = queue.SimpleQueue()
        self._idle = 0
        self._started = 0
        self._lock = threading.Lock()

    def call(self, function: Callable[..., Any], *args: Any) -> None:
        """Run a function that never raises in a thread."""
        with self._lock:
            fresh = self._idle == 0
            if not fresh:
                self._idle -= 1
        self._calls.put((function, args))
        if fresh:
            self._started += 1
            threading.Thread(target=self._serve, name="step.do", daemon=True).start()

    def close(self) -> None:
        """End each thread when it has nothing to do; one process may play many turns in tests."""
        for _ in range(self._started):
            self._calls.put(None)

    def _serve(self) -> None:
        while call := self._calls.get():
            function, args = call
            function(*args)
            with self._lock:
                self._idle += 1
