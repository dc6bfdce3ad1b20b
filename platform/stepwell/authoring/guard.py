"""Refuses in `run()` what a replay could not repeat, and names the step call to use instead.

Two nets, because neither sees everything. Audit hooks see sockets, subprocesses, forks, opening files, listing
folders, ctypes. They do not see sleeping, thread starts, clocks and entropy; those functions are replaced before the
author's module is imported. Both are active only while the run's loop is running on its own thread, so the
functions of `step.do` are as free as any Python.

This is help for honest code, not a wall (the wall is the isolate's). Known leaks, told in docs/pipelines.md as well:
time.localtime, gmtime, ctime, strftime and clock_gettime, an unseeded random.Random(), select, threading.Event.wait,
os.getpid, os.environ, id().
Callers inside the standard library (logging's time stamps) get the journal's time instead of an error.
"""

import _thread
import asyncio
import datetime
import os
import random
import sys
import threading
import time
import uuid
from collections.abc import Callable, Collection
from typing import Any, ClassVar

from stepwell.authoring.failures import NotDurable
from stepwell.authoring.loop import Loop

_IN_A_STEP = "Move it into a function and call it with step.do(name, function)."
_SLEEP = 'Write `await step.sleep(name, "10 seconds")` or `await asyncio.sleep(10)`.'
_AWAIT = "Await the coroutine: run() is already inside a loop."
_COMMAND = "Write `await step.run(name, command)`."
_NOW = "Write step.now()."
_RANDOM = "Write step.random()."
_UUID = "Write step.uuid()."

_AUDITED = {
    _COMMAND: "subprocess pty os.system os.exec os.posix_spawn os.fork os.forkpty os.spawn",
    _IN_A_STEP: (
        "socket urllib http ftplib smtplib imaplib poplib telnetlib nntplib os.kill os.killpg signal sqlite3 shutil"
        " os.remove os.rename os.mkdir os.rmdir os.link os.symlink os.truncate os.chmod os.utime os.listdir os.scandir"
        " os.walk os.chdir os.putenv os.unsetenv glob pathlib tempfile mmap ctypes fcntl syslog"
    ),
    "Ask people: step.approval(name, fields={…}).": "builtins.input",
    "Write `await step.read(path)`, or move it into a function for step.do(name, function).": "open",
}
_REMEDY_BY_EVENT = {event: remedy for remedy, events in _AUDITED.items() for event in events.split()}
"""Audit events (or their first word) and the remedy."""

_SPOKEN = {"socket": "a socket", "subprocess": "a subprocess", "open": "opening a file"}


class _Nobody:
    """Stands for the loop of a run that is not known yet."""

    inside = False
    now = 0.0


class Guard:
    """The state both nets look at. `replaced` are [module, name, original, replacement].

    Without a loop it stands ready: what it has patched lets everything through until `watch` says for whom it is.
    """

    standing: ClassVar["Guard | None"] = None
    _hooked: ClassVar[bool] = False

    def __init__(self, loop: Loop | None = None, names: Collection[str] = ()) -> None:
        self.replaced: list[tuple[Any, str, Any, Any]] = []
        self._loop: Loop | _Nobody = loop or _Nobody()
        self._names = names
        self._ident = threading.get_ident()

    @classmethod
    def watch(cls, loop: Loop, names: Collection[str]) -> None:
        """Guard a run for the rest of this process, by what was patched before it was forked or else now."""
        guard = cls.standing
        if guard is None:
            cls(loop, names).install()
        else:
            guard._loop, guard._names, guard._ident = loop, names, threading.get_ident()

    def rest(self) -> None:
        """Stand ready again, for whoever is watched next."""
        self._loop, self._names = _Nobody(), ()

    def install(self) -> None:
        """Patch this process, an isolate for the rest of its life."""
        _replace_sleep_and_threads(self)
        _replace_clocks(self)
        _replace_loops(self)
        _replace_entropy(self)
        self.replace(datetime, "datetime", _journal_datetime(self))
        Guard.standing = self
        if not Guard._hooked:  # a hook cannot be taken out again
            Guard._hooked = True
            sys.addaudithook(_audit)

    def remove(self) -> None:
        """Take the patches back, where tests play runs in their own process."""
        Guard.standing = None
        while self.replaced:
            module, name, original, _ = self.replaced.pop()
            setattr(module, name, original)

    def replace(self, module: Any, name: str, replacement: Any) -> None:
        """Put something in the place of a module's own."""
        self.replaced.append((module, name, getattr(module, name), replacement))
        setattr(module, name, replacement)

    def active(self) -> bool:
        """Say whether run() itself is executing, on this thread."""
        return self._loop.inside and threading.get_ident() == self._ident

    def by_author(self, depth: int) -> bool:
        """Say whether the caller, `depth` frames above, is in one of the author's files."""
        return sys._getframe(depth + 1).f_code.co_filename in self._names

    def now(self) -> float:
        """Give the journal's time."""
        return self._loop.now

    def heed(self, event: str, args: tuple[Any, ...]) -> None:
        """Look at what the interpreter is about to do for run()."""
        word = event.partition(".")[0]
        remedy = _REMEDY_BY_EVENT.get(event) or (_REMEDY_BY_EVENT.get(word) if word != "os" else None)
        if remedy is None or _caller().startswith("<frozen importlib") or not self._counts(event, args):
            return
        raise NotDurable(_message(_SPOKEN.get(word, event), remedy))

    def _counts(self, event: str, args: tuple[Any, ...]) -> bool:
        # The interpreter opens modules, and linecache source lines for tracebacks; both are the same at every replay.
        # A debugger asks for input, too.
        if event not in {"open", "builtins.input"} or _caller() in self._names:
            return True
        if event != "open":
            return False
        mode, flags = args[1], args[2]
        writes = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
        if isinstance(mode, str):
            return any(letter in mode for letter in "wax+")
        return isinstance(flags, int) and bool(flags & writes)


_OWN = frozenset({
    "sys._getframe", "object.__getattr__", "sys.set_asyncgen_hook_finalizer", "sys.set_asyncgen_hook_firstiter",
})  # fmt: skip
"""Events of which we cause several at each step: looking for the author's line, and going in and out of the loop."""


def _audit(event: str, args: tuple[Any, ...]) -> None:
    if event in _OWN:
        return
    guard = Guard.standing
    if guard is not None and guard.active():
        guard.heed(event, args)


def _caller() -> str:
    frame: Any = sys._getframe(2)
    while frame is not None and frame.f_code.co_filename.endswith(_PASSED):
        frame = frame.f_back
    return frame.f_code.co_filename if frame is not None else ""


_PASSED = ("pathlib.py", "authoring/guard.py")


def _message(what: str, remedy: str) -> str:
    return f"{what} in run() cannot be replayed. {remedy}"


def _replace(
    guard: Guard, module: Any, name: str, remedy: str, *, journal: Callable[[], Any] | None = None, shown: str = ""
) -> None:
    original = getattr(module, name)
    message = _message(shown or f"{module.__name__}.{name}", remedy)

    def replaced(*args: Any, **kwargs: Any) -> Any:
        if not guard.active():
            return original(*args, **kwargs)
        if journal is not None and not guard.by_author(1):
            return journal()
        raise NotDurable(message)

    replaced.__name__ = replaced.__qualname__ = name
    replaced.__doc__ = original.__doc__
    guard.replace(module, name, replaced)


def _replace_sleep_and_threads(guard: Guard) -> None:
    _replace(guard, time, "sleep", _SLEEP)
    _replace(guard, _thread, "start_new_thread", _IN_A_STEP, shown="Starting a thread")
    _replace(guard, threading, "_start_new_thread", _IN_A_STEP, shown="Starting a thread")


def _replace_loops(guard: Guard) -> None:
    """Another loop would run past the journal, or wait for this one for ever."""
    for home, name in (
        (asyncio.runners, "run"), (asyncio.events, "new_event_loop"), (asyncio.tasks, "run_coroutine_threadsafe"),
    ):  # fmt: skip
        for module in (asyncio, home):
            _replace(guard, module, name, _AWAIT, shown=f"asyncio.{name}")


def _replace_clocks(guard: Guard) -> None:
    for name in ("time", "monotonic", "perf_counter", "process_time", "thread_time"):
        _replace(guard, time, name, _NOW, journal=guard.now)
        _replace(guard, time, f"{name}_ns", _NOW, journal=lambda: int(guard.now() * 1e9))


_RANDOM_FUNCTIONS = (
    "random", "randint", "randrange", "choice", "choices", "shuffle", "sample", "uniform", "gauss", "normalvariate",
    "getrandbits", "seed", "randbytes", "betavariate", "expovariate", "triangular", "lognormvariate",
    "vonmisesvariate", "gammavariate", "paretovariate", "weibullvariate",
)  # fmt: skip


def _replace_entropy(guard: Guard) -> None:
    for name in _RANDOM_FUNCTIONS:
        _replace(guard, random, name, _RANDOM)
    _replace(guard, uuid, "uuid4", _UUID)
    _replace(guard, uuid, "uuid1", _UUID)
    _replace(guard, os, "urandom", _RANDOM)
    if hasattr(os, "getrandom"):
        _replace(guard, os, "getrandom", _RANDOM)
    _replace(guard, random, "_urandom", _RANDOM, shown="os.urandom")


def _journal_datetime(guard: Guard) -> type[datetime.datetime]:
    """Make a datetime whose `now` refuses in run(); everything it makes is the real one."""
    real = datetime.datetime

    class Meta(type):
        def __instancecheck__(cls, instance: object) -> bool:
            return isinstance(instance, real) if cls is journal else super().__instancecheck__(instance)

        def __subclasscheck__(cls, subclass: type) -> bool:
            return issubclass(subclass, real) if cls is journal else super().__subclasscheck__(subclass)

    def new(cls: Any, *args: Any, **kwargs: Any) -> Any:
        return real.__new__(real if cls is journal else cls, *args, **kwargs)

    def now(cls: Any, tz: datetime.tzinfo | None = None) -> Any:
        if not guard.active():
            return real.now(tz) if cls is journal else super(journal, cls).now(tz)
        if guard.by_author(1):
            raise NotDurable(_message("datetime.now", _NOW))
        return real.fromtimestamp(guard.now(), tz)

    def utcnow(cls: Any) -> Any:
        if guard.active() and guard.by_author(1):
            raise NotDurable(_message("datetime.utcnow", _NOW))
        return cls.now(datetime.UTC).replace(tzinfo=None)

    def today(cls: Any) -> Any:
        if guard.active() and guard.by_author(1):
            raise NotDurable(_message("datetime.today", _NOW))
        return cls.now()

    body = {
        "__new__": new, "now": classmethod(now), "utcnow": classmethod(utcnow), "today": classmethod(today),
        "__module__": "datetime", "__qualname__": "datetime", "__doc__": real.__doc__,
    }  # fmt: skip
    journal: Any = Meta("datetime", (real,), body)
    return journal  # type: ignore[no-any-return]
