"""What has been read of runs that are over: it stays so, and is kept for the next look."""

import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Remembered(Generic[T]):
    """Values by run, of the `most` that were asked for last. Only for what stays so. Any thread may ask.

    With `weigh` they weigh `room` at most together: how large a run is, its author decides. One that alone weighs more
    is not kept.
    """

    def __init__(self, most: int, *, weigh: Callable[[T], int] | None = None, room: int = 0) -> None:
        self._most = most
        self._room = room
        self._weigh = weigh or (lambda value: 0)
        self._known: OrderedDict[str, tuple[T, int]] = OrderedDict()
        self._weight = 0
        self._lock = threading.Lock()

    def of(self, run: str, read: Callable[[], T]) -> T:
        """Give what is known of a run; `read` it when it is not known yet."""
        with self._lock:
            if run in self._known:
                self._known.move_to_end(run)
                return self._known[run][0]
        value = read()
        weight = self._weigh(value)
        if weight > self._room:
            return value
        with self._lock:
            self._weight += weight - self._known.get(run, (value, 0))[1]
            self._known[run] = value, weight
            while len(self._known) > self._most or self._weight > self._room:
                self._weight -= self._known.popitem(last=False)[1][1]
        return value
