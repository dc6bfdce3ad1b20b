"""A turn in this very process: the author's class as it is imported here, with the real loop and replay around it.

An isolate loads files and ends with its process. A test wants the opposite: its own classes and patches, its debugger,
its coverage, and a process that goes on. So everything that an isolate patches for good is taken back here, what is
left over when a turn ends early is cancelled, and a divergence, which would end an isolate at once, cancels the code.
"""

import asyncio
import contextlib
import io
import json
import sys
from asyncio import events
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from stepwell.authoring import ordered, places
from stepwell.authoring.code import Files
from stepwell.authoring.guard import Guard
from stepwell.authoring.inline import Work
from stepwell.authoring.pipeline import Pipeline
from stepwell.authoring.prints import Prints
from stepwell.authoring.step_future import StepFuture
from stepwell.authoring.turn import Turn
from stepwell.authoring.wire import Wire

CLEANUP_SECONDS = 5.0
"""How long a function may take for its `finally:` when the turn is over before it."""

Substitute = Callable[[str, Callable[..., Any]], Callable[..., Any]]
"""Key and function of a `step.do` → what is called instead."""


@dataclass(frozen=True)
class AskedStep:
    """A step as the code asked for it; `args` are those of a `step.do`."""

    key: str
    name: str
    kind: str
    where: str
    options: Mapping[str, Any]
    args: tuple[Any, ...]


class Stage:
    """One turn. Speaks like rehearsal's Isolate: `send` gives entries, `read` the next line of commands."""

    def __init__(
        self, pipeline: type[Pipeline], head: Mapping[str, Any], journal: Sequence[Any], substitute: Substitute, *,
        known: Collection[str] | None = None,
    ) -> None:  # fmt: skip
        """`known` are the only keys that may be asked: a replay of a run that has ended asks nothing new."""
        self.asked: list[AskedStep] = []
        self._journal = journal
        self.outer = asyncio.new_event_loop()
        self._news = asyncio.Event()
        self.pipe = _Pipe(self._arrived)
        self.files = _Imported(pipeline)
        self.turn = _StagedTurn(self, dict(head), substitute, known)
        self.turn.pipeline = pipeline
        self._kept = contextlib.ExitStack()

    def __enter__(self) -> "Stage":
        self._patch()
        with contextlib.suppress(_Left):
            self.turn.replay([json.loads(json.dumps(self._journal))])
        return self

    def __exit__(self, *exc: object) -> None:
        try:
            self._abandon()
        finally:
            self._kept.close()
            self.turn.inline.close()
            self.outer.close()

    def _patch(self) -> None:
        self._kept.enter_context(_no_running_loop())
        self._kept.callback(ordered.install(self.turn.loop, self.files.names))
        guard = Guard(self.turn.loop, self.files.names)
        guard.install()
        self._kept.callback(guard.remove)
        self._kept.enter_context(_reached(guard, self.files.names))

    @contextlib.contextmanager
    def aside(self) -> Iterator[None]:
        """Take back meanwhile what is patched, for the stage of another run."""
        self._kept.close()
        try:
            yield
        finally:
            self._patch()

    def send(self, entries: Sequence[Any]) -> None:
        """Give entries as they happen."""
        with contextlib.suppress(_Left):
            for entry in json.loads(json.dumps(entries)):
                self.turn.deliver(entry)
            self.turn.flush()

    def read(self, _timeout: float = 0) -> list[Any]:
        """Give the next line; functions run meanwhile, in real time."""
        while not self.pipe.lines:
            self._news.clear()
            self.outer.run_until_complete(self._news.wait())
        return self.pipe.lines.pop(0)

    def _arrived(self) -> None:
        with contextlib.suppress(RuntimeError):  # a thread that comes home when the turn is over
            self.outer.call_soon_threadsafe(self._news.set)

    def say(self, command: list[Any]) -> None:
        """Say something to the host in the turn's name."""
        self.pipe.put(json.dumps(command))
        self.pipe.flush()

    def close(self) -> None:
        """Hear nothing any more, and let nothing be asked."""
        self.turn.closed = self.pipe.closed = True

    def _abandon(self) -> None:
        """Cancel what is left of a turn that did not come to its end."""
        self.close()
        for task in list(self.turn.loop.alive):
            task.cancel()
        self.turn.loop.drain()
        running = asyncio.all_tasks(self.outer)
        for outer_task in running:
            outer_task.cancel()
        if running:
            self.outer.run_until_complete(asyncio.wait(running, timeout=CLEANUP_SECONDS))


class _Left(BaseException):
    """Stands for the end of the process."""


class _StagedTurn(Turn):
    """A turn that says what is asked, and calls what the test gives instead of a step's function."""

    def __init__(
        self, stage: Stage, head: dict[str, Any], substitute: Substitute, known: Collection[str] | None
    ) -> None:
        super().__init__(head, stage.files, stage.pipe, _Screen(), outer=stage.outer, leave=self._end_here)
        self.closed = False
        self._stage = stage
        self._substitute = substitute
        self._known = known

    def ask(
        self, kind: str, name: str, fingerprint: str, options: dict[str, Any] | None = None, *,
        due: float | None = None, work: Work | None = None,
    ) -> StepFuture:  # fmt: skip
        if self.closed:
            raise asyncio.CancelledError
        key = f"{name}#{self.uses.get(name, self._offset) + 1}"
        where = places.shown(self._mark())
        if self._known is not None and key not in self._known:
            self.uses[name] = self.uses.get(name, self._offset) + 1
            self._diverge(key, f"the first time, run() did not ask it; now it does, at {where}")
        args = work.args if work is not None else ()
        self._stage.asked.append(AskedStep(key, name, kind, where, options or {}, args))
        if work is not None:
            work = replace(work, function=self._substitute(key, work.function))
        return super().ask(kind, name, fingerprint, options, due=due, work=work)

    def _end_here(self, _code: int) -> None:
        self._stage.close()
        raise _Left


class _Pipe(Wire):
    """A wire whose other end is a list."""

    def __init__(self, arrived: Callable[[], object]) -> None:
        self.lines: list[list[Any]] = []
        self.closed = False
        self._arrived = arrived
        self._start()

    def _send(self, commands: list[str]) -> None:
        if self.closed:
            return
        line = ("[" + ",".join(commands) + "]").encode("utf-8", "replace").decode()
        self.lines.append(json.loads(line))
        self._arrived()


class _Screen(Prints):
    """Prints stay where the test has them."""

    def __init__(self) -> None:
        io.TextIOBase.__init__(self)
        self.quiet = False

    def close_step(self, key: str) -> None:
        """There is nothing kept."""


class _Imported(Files):
    """The files that the class was imported with: all below its own folder, but no installed packages."""

    def __init__(self, pipeline: type[Pipeline]) -> None:
        file = pipeline.run.__code__.co_filename
        super().__init__(str(Path(file).parent), {})
        self.names = _Below(f"{self.root}/")


class _Below(Collection[str]):
    """Names of files, by their beginning."""

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and name.startswith(self._prefix) and "-packages" not in name

    def __iter__(self) -> Iterator[str]:
        return iter(())

    def __len__(self) -> int:
        return 0


@contextlib.contextmanager
def _no_running_loop() -> Iterator[None]:
    """Let a test that is async itself play a run: its loop stands still meanwhile."""
    running = events._get_running_loop()
    events._set_running_loop(None)
    try:
        yield
    finally:
        events._set_running_loop(running)


@contextlib.contextmanager
def _reached(guard: Guard, names: Collection[str]) -> Iterator[None]:
    """Reach what the author's modules have imported by name: `from time import time` was before the guard stood."""
    new = {id(original): replacement for _, _, original, replacement in guard.replaced}
    changed = []
    for module in list(sys.modules.values()):
        if vars(module).get("__file__") in names:
            for name, value in list(vars(module).items()):
                if id(value) in new:
                    changed.append((module, name, value))
                    setattr(module, name, new[id(value)])
    try:
        yield
    finally:
        for module, name, value in changed:
            setattr(module, name, value)
