"""Locks by key: one thread at a time makes the tree, the toolchain or the layer of that name."""

import threading
from weakref import WeakValueDictionary


class KeyedLock:
    """A lock that can be weakly referenced."""

    def __init__(self) -> None:
        self._lock = threading.Lock()

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()


class KeyedLocks:
    """Hands out one lock per key, and forgets it with its last user."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._locks: WeakValueDictionary[str, KeyedLock] = WeakValueDictionary()

    def of(self, key: str) -> KeyedLock:
        """Return the lock of `key`, to be used with `with`."""
        with self._guard:
            return self._locks.setdefault(key, KeyedLock())
