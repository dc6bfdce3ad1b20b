"""Prints of `run()` and of `step.do` functions: whole lines to the log of the step that printed them."""

import asyncio
import contextvars
import io
import threading

from stepwell.authoring.wire import Wire, encode

CURRENT_STEP: contextvars.ContextVar[str] = contextvars.ContextVar("stepwell_step", default="")
"""Key of the step whose function is running; "" in run() itself."""

STEP_CHARACTERS = 1_048_576
"""A step's prints in one turn; more is cut, because prints go through the engine and not to a file."""
_LINE_CHARACTERS = 65_536


class Prints(io.TextIOBase):
    """Stands in for sys.stdout and sys.stderr. `quiet`: run() is repeating what it has printed before.

    A line that run() has begun is kept while it repeats, too: its other half may be printed for the first time.
    """

    def __init__(self, wire: Wire, outer: asyncio.AbstractEventLoop) -> None:
        super().__init__()
        self.quiet = False
        self.ident = threading.get_ident()
        self._wire = wire
        self._outer = outer
        self._partial: dict[str, str] = {}
        self._spent: dict[str, int] = {}
        self._flushing = False

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return "utf-8"

    @property
    def errors(self) -> str:  # type: ignore[override]
        return "replace"

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        key = CURRENT_STEP.get()
        whole = self._partial.pop(key, "") + text
        lines, end, rest = whole.rpartition("\n")
        if len(rest) > _LINE_CHARACTERS:
            lines, end, rest = whole, "\n", ""
        if rest:
            self._partial[key] = rest
        if end and (key or not self.quiet):
            self._emit(key, lines + end)
        return len(text)

    def close_step(self, key: str) -> None:
        """Send what was printed without a line's end."""
        rest = self._partial.pop(key, "")
        if rest:
            self._emit(key, rest + "\n")

    def _emit(self, key: str, text: str) -> None:
        spent = self._spent.get(key, 0)
        if spent > STEP_CHARACTERS:
            return
        self._spent[key] = spent + len(text)
        if spent + len(text) > STEP_CHARACTERS:
            text = text[: STEP_CHARACTERS - spent] + "\n[Stepwell keeps 1 MiB of prints of a step; the rest is cut.]\n"
        self._wire.put(encode(["log", key, text]))
        if threading.get_ident() != self.ident:
            self._wire.flush()
        elif not self._flushing:
            self._flushing = True
            self._outer.call_soon(self._flush)

    def _flush(self) -> None:
        self._flushing = False
        self._wire.flush()
