"""The loop of `run()`: asyncio without I/O, threads or a clock, the same order in every process.

Why a loop of our own. `run()` is replayed from the journal after every hibernation and crash, so everything that can
order its tasks must come from the journal alone. The loop therefore has a ready queue and nothing else: the turn
delivers one entry, `drain()` runs what became ready until nothing is, then the next entry is delivered. Time is the
`at` of the last delivered entry; `call_later` (and with it `asyncio.sleep`, `timeout`, `wait_for`) is a durable timer
`~n` that the host fires.

asyncio itself iterates over sets of tasks and futures (`wait`, `as_completed`, `TaskGroup`), and a set is ordered by
hash, by default the address. Tasks, futures and timers made here hash by creation number instead. The number is set
*before* `super().__init__`, because that registers the task in a WeakSet and so hashes it.

Rejected: subclassing BaseEventLoop (drags in selector, executor and a real clock that then must be blocked one by
one), and a second loop in a thread of its own (one and a half times slower: two thread switches per step).
"""

import asyncio
import contextvars
import sys
import threading
from asyncio import events
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

from stepwell.authoring import places
from stepwell.authoring.failures import NotDurable
from stepwell.authoring.step_future import Leaving, StepFuture


class Owner(Protocol):
    """What the loop tells the turn; `rules` is the version of the replay."""

    rules: int

    def timer_made(self, timer: "LoopTimer") -> None: ...

    def timer_cancelled(self, timer: "LoopTimer") -> None: ...

    def step_dropped(self, step: StepFuture) -> None: ...

    def leaves(self, leaving: Leaving) -> None: ...

    def foresee(self, step: StepFuture) -> None: ...

    def complain(self, text: str) -> None: ...


class Ready(asyncio.Handle):
    """A callback in the ready queue; made by hand because asyncio's constructor asks the loop for its debug mode."""

    __slots__ = ()

    def __init__(
        self, callback: Callable[..., object], args: tuple[Any, ...], loop: "Loop", context: contextvars.Context | None
    ) -> None:
        self._callback: Any = callback
        self._args: Any = args
        self._loop = loop
        self._cancelled = False
        self._context: Any = context or contextvars.copy_context()

    def cancel(self) -> None:
        self._cancelled = True
        self._callback = self._args = None


class LoopTimer(asyncio.TimerHandle):
    """A callback at a journaled time; `key` is empty when it was due at once."""

    __slots__ = ("key", "mark")

    def __init__(
        self, when: float, callback: Callable[..., object], args: tuple[Any, ...], loop: "Loop", *,
        key: str, context: contextvars.Context | None,
    ) -> None:  # fmt: skip
        super().__init__(when, callback, args, loop, context)
        self.key = key
        self.mark: places.Mark = None

    def cancel(self) -> None:
        if not self._cancelled:
            self._cancelled = True
            handle: Any = self
            handle._callback = handle._args = None
            handle._loop.forget_timer(self)


class LoopTask(asyncio.Task[Any]):
    """A task that hashes by creation number."""

    def __init__(
        self, coro: Coroutine[Any, Any, Any], *, loop: "Loop", name: str | None, context: contextvars.Context | None
    ) -> None:
        self._number = number = loop.next_number()
        self.step: StepFuture | None = None
        # asyncio's own counter for names belongs to the process, not to the run
        super().__init__(coro, loop=loop, name=name or f"Task-{number}", context=context)

    def __hash__(self) -> int:
        return self._number


class LoopFuture(asyncio.Future[Any]):
    """A future that hashes by creation number."""

    def __init__(self, *, loop: "Loop") -> None:
        self._number = loop.next_number()
        super().__init__(loop=loop)

    def __hash__(self) -> int:
        return self._number


class Loop(asyncio.AbstractEventLoop):
    """A ready queue whose only inputs are the entries that its turn delivers."""

    def __init__(self, owner: Owner) -> None:
        self.owner = owner
        self.now = 0.0
        self.inside = False
        self.thread = threading.get_ident()  # to ask asyncio for its running loop costs a call of the system
        self.running = False
        self.drains = 0
        self.alive: dict[LoopTask, None] = {}
        self.timers: dict[str, LoopTimer] = {}
        self.ready: deque[asyncio.Handle] = deque()
        self.numbers = 0
        self.timer_count = 0

    @property
    def here(self) -> bool:
        """Whether it is the code of run() that runs now, on this thread."""
        return self.inside and threading.get_ident() == self.thread

    def next_number(self) -> int:
        """Count what is created, for hashes."""
        self.numbers += 1
        return self.numbers

    # Futures and tasks

    def create_future(self) -> LoopFuture:
        return LoopFuture(loop=self)

    def create_task(
        self, coro: Any, *, name: str | None = None, context: contextvars.Context | None = None
    ) -> LoopTask:
        step = coro if isinstance(coro, StepFuture) else None  # TaskGroup.create_task(step.do(…))
        if step is not None:
            step.used = True
            coro = _await_step(step)
        task = LoopTask(coro, loop=self, name=name, context=context)
        task.step = step
        self.alive[task] = None
        task.add_done_callback(self._bury)
        return task

    def _bury(self, task: LoopTask) -> None:
        self.alive.pop(task, None)

    # Callbacks and timers

    def call_soon(  # type: ignore[override]
        self, callback: Callable[..., object], *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.Handle:
        handle = Ready(callback, args, self, context)
        self.ready.append(handle)
        return handle

    def call_soon_threadsafe(  # type: ignore[override]
        self, callback: Callable[..., object], *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.Handle:
        if not self.inside:
            raise NotDurable("A thread or a step called back into run(). Return the value from step.do instead.")
        return self.call_soon(callback, *args, context=context)

    def call_later(  # type: ignore[override]
        self, delay: float, callback: Callable[..., object], *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.TimerHandle:
        return self.call_at(self.now + delay, callback, *args, context=context)

    def call_at(  # type: ignore[override]
        self, when: float, callback: Callable[..., object], *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.TimerHandle:
        if when <= self.now:
            timer = LoopTimer(when, callback, args, self, key="", context=context)
            self.ready.append(timer)
            return timer
        self.timer_count += 1
        timer = LoopTimer(when, callback, args, self, key=f"~{self.timer_count}", context=context)
        self.timers[timer.key] = timer
        self.owner.timer_made(timer)
        return timer

    def forget_timer(self, timer: LoopTimer) -> None:
        """Drop a timer that the code has cancelled."""
        if self.timers.pop(timer.key, None) is not None:
            self.owner.timer_cancelled(timer)

    def fire(self, key: str) -> bool:
        """Make a timer's callback ready; false when the code has cancelled it or never made it."""
        timer = self.timers.pop(key, None)
        if timer is None:
            return False
        self.ready.append(timer)
        return True

    def time(self) -> float:
        return self.now

    def drain(self) -> None:
        """Run everything that is ready, as the running loop of this thread, until nothing is."""
        ready = self.ready
        if not ready:
            return
        self.drains += 1
        if self.running:
            self._drain(ready)
            return
        outer = self._begin()
        try:
            self._drain(ready)
        finally:
            self._end(outer)

    def _drain(self, ready: deque[Any]) -> None:
        self.inside = True
        try:
            while ready:
                handle = ready.popleft()
                if not handle._cancelled:
                    self._run(handle)
        finally:
            self.inside = False

    @contextmanager
    def as_running(self) -> Iterator[None]:
        """Be the running loop of this thread; a replay is so for all its deliveries at once."""
        outer = self._begin()
        try:
            yield
        finally:
            self._end(outer)

    def _begin(self) -> tuple[Any, Any]:
        outer = events._get_running_loop(), sys.get_asyncgen_hooks()
        events._set_running_loop(self)
        sys.set_asyncgen_hooks(None, self._close_generator)
        self.running = True
        return outer

    def _end(self, outer: tuple[Any, Any]) -> None:
        self.running = False
        sys.set_asyncgen_hooks(*outer[1])
        events._set_running_loop(outer[0])

    def _run(self, handle: Any) -> None:
        try:
            handle._context.run(handle._callback, *handle._args)
        except (SystemExit, KeyboardInterrupt):
            return  # the task that raised has kept it; asyncio raises it a second time to stop a real loop
        except BaseException as error:
            self.call_exception_handler({"message": "A callback failed", "exception": error})

    def _close_generator(self, generator: Any) -> None:
        # At a reference count of zero, so at the same place in every replay: garbage collection is off.
        self.call_soon(self.create_task, generator.aclose())

    # What asyncio asks of a loop

    get_debug = bool  # asked for each future: False, without a frame of Python
    """Never."""

    def is_running(self) -> bool:
        return self.inside

    def is_closed(self) -> bool:
        return False

    def set_debug(self, enabled: bool) -> None:
        """Ignore: there is no slow callback to report in journal time."""

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        error = context.get("exception")
        self.owner.complain(f"{context.get('message')}" + (f": {error!r}" if error is not None else ""))

    def default_exception_handler(self, context: dict[str, Any]) -> None:
        self.call_exception_handler(context)

    def get_exception_handler(self) -> None:
        return None

    def get_task_factory(self) -> None:
        return None

    async def shutdown_asyncgens(self) -> None:
        """Leave generators to the end of the run."""

    async def shutdown_default_executor(self) -> None:
        """Do nothing: there is no executor."""


async def _await_step(step: Awaitable[Any]) -> Any:
    return await step


def _refuse(name: str, use: str) -> Callable[..., Any]:
    def refused(self: Loop, *args: Any, **kwargs: Any) -> Any:
        raise NotDurable(f"{name} in run() cannot be replayed. {use}")

    return refused


_IN_A_STEP = "Move it into a function and call it with step.do(name, function)."
_REFUSED = {
    "Use step.run(name, command), or step.do with a function.": "subprocess_exec subprocess_shell",
    "Await the coroutine: run() is already inside a loop.": "run_until_complete run_forever stop close",
    "Use step.wait_for_event(name, type=…).": "add_signal_handler remove_signal_handler",
    _IN_A_STEP: (
        "run_in_executor set_default_executor create_connection create_server create_unix_connection"
        " create_unix_server create_datagram_endpoint connect_accepted_socket add_reader remove_reader add_writer"
        " remove_writer sock_recv sock_recv_into sock_recvfrom sock_sendall sock_sendto sock_connect sock_accept"
        " sock_sendfile sendfile start_tls getaddrinfo getnameinfo connect_read_pipe connect_write_pipe"
        " set_task_factory set_exception_handler"
    ),
}
_SPOKEN = {"run_in_executor": "A thread or executor (asyncio.to_thread, loop.run_in_executor)"}
for _use, _names in _REFUSED.items():
    for _name in _names.split():
        setattr(Loop, _name, _refuse(_SPOKEN.get(_name, f"asyncio's {_name}"), _use))
