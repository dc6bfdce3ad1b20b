"""What a step call returns: a future that tells the turn when the author awaits it, hands it on or gives it up."""

import asyncio
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any, NoReturn, Self

from stepwell.authoring import places
from stepwell.authoring.failures import NotAwaited

if TYPE_CHECKING:
    from stepwell.authoring.loop import Loop, Owner

_CALLS = {"event": "wait_for_event"}
_PLAIN = (str, int, float, list, tuple, dict)
"""What results are made of. Nothing else is refused in a comparison: lists and sets compare what they hold."""
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

    def mistaken(self, more: str = "") -> NotAwaited:
        """Make the error of a step that stands where its result belongs."""
        return NotAwaited(
            f"step {self.name!r} at {self.where} is used where its result belongs. "
            f"Write `result = await {self.call}(…)`, and use `result`{more}."
        )

    def _refuse(self, *_: object) -> NoReturn:
        raise self.mistaken()

    __format__ = __getitem__ = __len__ = __lt__ = __le__ = __gt__ = __ge__ = _refuse
    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = __truediv__ = __rtruediv__ = __mod__ = _refuse

    # Runs that were begun before the third rules of the replay have what any other future says to these.

    def __bool__(self) -> bool:
        if self.owner.rules >= 3:
            raise self.mistaken("; whether there is a step at all, ask with `is not None`")
        return True

    def __str__(self) -> str:
        if self.owner.rules >= 3:
            raise self.mistaken()
        return repr(self)

    def __eq__(self, other: object) -> bool:
        if self is not other and isinstance(other, _PLAIN) and self.owner.rules >= 3:
            raise self.mistaken()
        return self is other

    def __contains__(self, item: object) -> bool:
        return item in iter(self)

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
        if self.owner.rules >= 3:
            raise self.mistaken()
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
        way = super().__iter__()
        self.owner.leaves(self)
        return way

    def add_done_callback(self, fn: Callable[[Any], object], /, *, context: Any = None) -> None:
        self.owner.leaves(self)
        super().add_done_callback(fn, context=context)
