"""What has been read of runs that are over: it stays so, and is kept for the next look."""

import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Remembered(Generic[T]):
    """Values by run, of the `most` that were asked for last. Only for what stays so. Any thread may ask."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._known: OrderedDict[str, T] = OrderedDict()
        self._lock = threading.Lock()

    def of(self, run: str, read: Callable[[], T]) -> T:
        """Give what is known of a run; `read` it when it is not known yet."""
        with self._lock:
            if run in self._known:
                self._known.move_to_end(run)
                return self._known[run]
        value = read()
        with self._lock:
            self._known[run] = value
            while len(self._known) > self._most:
                self._known.popitem(last=False)
        return value
