"""The way from a pause to a killed isolate: the code is told nothing more, and functions under way come home first.

From `paused` on every entry is kept back, so the code stands where it stood; what it says is journaled as ever. The
isolate answers the pause with the inline steps that it is executing, and the turn may end when each of them has said
how it ended. Should the run be resumed before that, the isolate goes on with what was kept.
"""

from collections.abc import Iterable
from typing import Any

from stepwell.engine.entries import Entry

Written = tuple[Entry, str]
_ENDS_ATTEMPT = frozenset({"do", "retry"})


class Standstill:
    """What one isolate is not told, and what it still has under way."""

    def __init__(self) -> None:
        self.reached = 0  # the last entry that the code has dealt with
        self._since = 0  # seq of the pause in force; 0: none
        self._kept: list[Written] = []
        self._running: set[str] | None = None  # None: it has not answered yet

    @property
    def quiet(self) -> bool:
        """The isolate has answered, and nothing is under way any more."""
        return self._running is not None and not self._running

    def sift(self, entries: Iterable[Written], sent: int) -> list[Written]:
        """Give what the isolate is told of new entries; `sent` is the last one it was given before."""
        out: list[Written] = []
        for written in entries:
            entry = written[0]
            if entry.type == "paused":
                self._since, self._running = entry.seq, None
                self.reached = out[-1][0].seq if out else sent
                out.append(written)
            elif self._since and entry.type != "resumed":
                self._kept.append(written)
            else:
                out += [*self._kept, written]
                self._since, self._kept = 0, []
        return out

    def answered(self, seq: int, keys: list[str]) -> bool:
        """Take the isolate's answer; false when it is to a pause that is over."""
        if seq != self._since:
            return False
        self._running = set(keys)
        return True

    def heard(self, command: list[Any]) -> None:
        """Take note of a command that ends an attempt."""
        if self._running and command[0] in _ENDS_ATTEMPT:
            self._running.discard(command[1])
