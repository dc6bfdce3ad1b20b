"""One bound for the memory of all git processes that read what strangers have written, besides the bound of each.

Each is bounded by itself, but many at once could take that much each, and the host has no room for all of them. So they
are looked at while any runs, and when they take too much together, the one that takes most is ended: most likely the
one that means harm. git says to its client that it was ended, and removes what it has received.

A cgroup would bound them to the byte, but is not to be had everywhere. A number of them at once would make people wait
for a slow client, or for somebody who keeps all places taken. Here a look comes 20 times a second, and what is
allocated between two looks is over the bound; each one's own bound, and the kernel, which ends git before the server,
hold all the same.
"""

import contextlib
import logging
import os
import select
import signal
import threading
import time
from pathlib import Path

_LOGGER = logging.getLogger(__name__)
_PAGE = os.sysconf("SC_PAGE_SIZE")
_EVERY_SECONDS = 0.05
SHARE = 2
"""The bound is this part of the host's memory."""


class CommonMemory:
    """Watches processes and all that they start, on a thread that is there while any of them runs. Thread-safe."""

    def __init__(self, most_bytes: int) -> None:
        self.most_bytes = most_bytes
        self._lock = threading.Lock()
        self._watched: dict[int, int] = {}  # by descriptor, so that an id given anew is no mistake
        self._thread: threading.Thread | None = None

    def watch(self, pid: int) -> None:
        """Watch a child of ours until it ends; nothing happens when it has ended."""
        try:
            descriptor = os.pidfd_open(pid)
        except OSError:  # it has ended, or this host has no such thing: then the bound of each has to do
            return
        with self._lock:
            self._watched[descriptor] = pid
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="stepwell-git-memory", daemon=True)
                self._thread.start()

    def leaders(self) -> list[int]:
        """Return the processes that are watched."""
        with self._lock:
            return list(self._watched.values())

    def look(self) -> int | None:
        """End the process that takes most if all together take too much; its id. None: there is room."""
        taken = {pid: (anonymous(pid), leader) for leader in self.leaders() for pid in family(leader)}
        total = sum(size for size, _ in taken.values())
        if total <= self.most_bytes:
            return None
        pid, (size, leader) = max(taken.items(), key=lambda one: one[1][0])
        with contextlib.suppress(ProcessLookupError):
            _end(pid, leader)
            _LOGGER.warning(
                "git processes took %d MiB together, more than %d: the one that took most, %d MiB, was ended.",
                total >> 20, self.most_bytes >> 20, size >> 20,
            )  # fmt: skip
        return pid

    def _run(self) -> None:
        while self._drop_ended():
            try:
                self.look()
            except OSError:  # one look less; the next must come
                _LOGGER.exception("The memory of git processes could not be looked at.")
            time.sleep(_EVERY_SECONDS)

    def _drop_ended(self) -> bool:
        with self._lock:
            ended = select.poll()  # not select(), which knows no descriptor above 1,023
            for descriptor in self._watched:
                ended.register(descriptor, select.POLLIN)
            for descriptor, _ in ended.poll(0):
                del self._watched[descriptor]
                os.close(descriptor)
            if not self._watched:
                self._thread = None
        return self._thread is not None


def family(pid: int) -> list[int]:
    """Return a process and all below it, as far as they are there."""
    found = [pid]
    for one in found:
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            found += map(int, Path(f"/proc/{one}/task/{one}/children").read_bytes().split())
    return found


def anonymous(pid: int) -> int:
    """Return the bytes of a process that are no files, mapped as packs are; 0 when it has ended."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        _, resident, shared, *_ = map(int, Path(f"/proc/{pid}/statm").read_bytes().split())
        return (resident - shared) * _PAGE
    return 0


def _end(pid: int, leader: int) -> None:
    """End a process that is still the one below this leader."""
    descriptor = os.pidfd_open(pid)
    try:
        if pid in family(leader):
            signal.pidfd_send_signal(descriptor, signal.SIGKILL)
    finally:
        os.close(descriptor)


COMMON = CommonMemory(os.sysconf("SC_PHYS_PAGES") * _PAGE // SHARE)
"""That of this host."""
