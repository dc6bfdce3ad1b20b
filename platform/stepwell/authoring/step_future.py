"""What a step call returns: a future that tells the turn when the author awaits it, hands it on or gives it up."""

import asyncio
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any, NoReturn, Self

from stepwell.authoring import places
from stepwell.authoring.failures import NotAwaited

if TYPE_CHECKING:
    from stepwell.authoring.loop import Loop, Owner

_CALLS = {"event": "wait_for_event"}
_await = asyncio.Future.__await__
_iterate = asyncio.Future.__iter__
_add_done_callback = asyncio.Future.add_done_callback


class StepFuture(asyncio.Future[Any]):
    """What a step call returns: registered at the call, awaited when the author likes.

    `used` is a claim about the author's code: it awaited, handed on or cancelled the step.
    """

    __slots__ = ("_mark", "_number", "event_type", "fingerprint", "key", "kind", "name", "owner", "used", "work")

    owner: "Owner"
    key: str
    name: str
    kind: str
    used: bool
    fingerprint: str
    work: Any
    event_type: str
    _number: int
    _mark: places.Mark

    @classmethod
    def made(
        cls, loop: "Loop", key: str, name: str, kind: str, mark: places.Mark, *, fingerprint: str = "", work: Any = None
    ) -> Self:
        """Make one. Not a constructor: one in Python, between two in C, doubles what each step of a replay pays."""
        self = cls(loop=loop)
        loop.numbers = self._number = loop.numbers + 1
        self.owner = loop.owner
        self.key = key
        self.name = name
        self.kind = kind
        self._mark = mark
        self.used = False
        self.work = work
        self.fingerprint = fingerprint
        self.event_type = ""
        return self

    def __hash__(self) -> int:
        return self._number

    @property
    def where(self) -> str:
        """The author's line that asked it, as "file:line"."""
        return places.shown(self._mark)

    @property
    def call(self) -> str:
        """The call as the author writes it."""
        if self.kind == "binding":
            return f"self.env.{self.name.partition(' ')[0]}"
        return f"step.{_CALLS.get(self.kind, self.kind)}"

    def mistaken(self) -> NotAwaited:
        """Make the error of a step that stands where its result belongs."""
        return NotAwaited(
            f"step {self.name!r} at {self.where} is used where its result belongs. "
            f"Write `result = await {self.call}(…)`, and use `result`."
        )

    def __format__(self, spec: str) -> NoReturn:
        raise self.mistaken()

    def __getitem__(self, key: object) -> NoReturn:
        raise self.mistaken()

    def __getattr__(self, name: str) -> NoReturn:
        if name.startswith("_") or name in self.__slots__:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        raise AttributeError(str(self.mistaken()))

    def __await__(self) -> Generator[Any, None, Any]:
        self.used = True
        if not self.done():
            self.owner.foresee(self)
        return _await(self)

    def __iter__(self) -> Generator[Any, None, Any]:
        self.used = True
        return _iterate(self)

    def add_done_callback(self, fn: Callable[[Any], object], /, *, context: Any = None) -> None:
        self.used = True
        _add_done_callback(self, fn, context=context)

    def cancel(self, msg: Any | None = None) -> bool:
        cancelled = super().cancel(msg)
        if cancelled:
            self.used = True
            self.owner.step_dropped(self)
        return cancelled


class Leaving(StepFuture):
    """What step.continue_as returns: never done; whoever awaits it leaves the code."""

    def __await__(self) -> Generator[Any, None, Any]:
        self.owner.leaves(self)
        return _await(self)

    def __iter__(self) -> Generator[Any, None, Any]:
        self.owner.leaves(self)
        return super().__iter__()

    def add_done_callback(self, fn: Callable[[Any], object], /, *, context: Any = None) -> None:
        self.owner.leaves(self)
        super().add_done_callback(fn, context=context)
