"""The ordinary loop of an isolate, around that of `run()`: made before the fork, as far as it has no descriptors.

An isolate would take half a millisecond for it. It polls instead of having the kernel keep a set of descriptors, which
a fork would share; what it is woken by from threads is opened by each isolate for itself.
"""

import asyncio
import selectors
from typing import Any


class Outer(asyncio.SelectorEventLoop):
    """Ready to run after `open`."""

    _ahead: "Outer | None" = None

    def __init__(self) -> None:
        super().__init__(selectors.PollSelector())

    @classmethod
    def make_ahead(cls) -> None:
        """Have one ready for the processes that are forked from now on."""
        cls._ahead = cls()

    @classmethod
    def take(cls) -> "Outer":
        """Give the one that was made ahead, or else a new one."""
        outer, cls._ahead = cls._ahead or cls(), None
        outer.open()
        return outer

    def _make_self_pipe(self) -> None:
        """Leave this to `open`: nothing that was opened before a fork may be used after it."""
        self._ssock: Any = None
        self._csock: Any = None

    def open(self) -> None:
        """Make what threads wake it by."""
        super()._make_self_pipe()  # type: ignore[misc]

    def begin(self, task: "asyncio.Task[Any]") -> None:
        """Run a task that was made just now up to where it first waits, instead of in the next round.

        To be called from a callback of this loop.
        """
        handle = self._ready.pop()  # type: ignore[attr-defined]
        if getattr(handle._callback, "__self__", None) is task:
            handle._run()
        else:  # a thread has called back meanwhile
            self._ready.append(handle)  # type: ignore[attr-defined]

    def _close_self_pipe(self) -> None:
        if self._ssock is not None:
            super()._close_self_pipe()  # type: ignore[misc]
