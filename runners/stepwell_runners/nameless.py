"""What processes hold on disk without a name: files that were removed, or never had one, but are still open.

No walk over a directory finds them, and they take space until the last process that has them is gone. They are looked
for only when the disk has lost what no walk explains, for it means reading /proc, and stopping the processes meanwhile:
one that forks away all the time would be gone whenever somebody looks.

Process 1 stops and continues the others, on a signal of the host's: that reaches all of its pid namespace at once.
Not found: a descriptor that is under way between two processes at this moment.
"""

import os
import signal
import stat
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import suppress

STOP, GO_ON = signal.SIGUSR1, signal.SIGUSR2  # to process 1 of an isolate with a command

_STOPPING_SECONDS = 2.0
_MOST_SECONDS = 5.0  # of looking; what was found until then counts
_IN_MEMORY = ("tmp", "dev/shm", "run")  # as an isolate sees them: bounded by themselves
_STILL = "TtZX"


def held(init: int) -> int:
    """Bytes on disk in nameless files that the processes below `init` have open or mapped, once they stand still."""
    until = time.monotonic() + _STOPPING_SECONDS
    found = below(init)
    while not all(state in _STILL for state in found.values()) and time.monotonic() < until:
        time.sleep(0.01)
        found = below(init)
    until = time.monotonic() + _MOST_SECONDS
    memory = _memory(found)
    files: dict[tuple[int, int], int] = {}
    for pid in found:
        for status in _files(pid):
            if not status.st_nlink and stat.S_ISREG(status.st_mode) and status.st_dev not in memory:
                files[status.st_dev, status.st_ino] = status.st_blocks * 512
            if time.monotonic() > until:
                return sum(files.values())
    return sum(files.values())


def below(init: int) -> dict[int, str]:
    """Pid and state of all processes below this one, which is the parent of those that lost theirs."""
    children: dict[int, list[tuple[int, str]]] = defaultdict(list)
    for name in filter(str.isdigit, os.listdir("/proc")):  # noqa: PTH208 - names are what is asked for
        with suppress(OSError), open(f"/proc/{name}/stat", "rb") as file:  # noqa: PTH123
            state, parent = file.read().rpartition(b")")[2].split()[:2]
            children[int(parent)].append((int(name), state.decode()))
    found: dict[int, str] = {}
    open_ends = [init]
    while open_ends:
        for pid, state_ in children.pop(open_ends.pop(), ()):
            found[pid] = state_
            open_ends.append(pid)
    return found


def _memory(pids: dict[int, str]) -> set[int]:
    """Devices of what is in memory and not on disk, as these processes see it."""
    nothing = os.memfd_create("stepwell", os.MFD_CLOEXEC)
    try:
        devices = {os.fstat(nothing).st_dev}
    finally:
        os.close(nothing)
    for pid in pids:
        for name in _IN_MEMORY:
            with suppress(OSError):
                devices.add(os.stat(f"/proc/{pid}/root/{name}").st_dev)  # noqa: PTH116
        if len(devices) > len(_IN_MEMORY):
            break
    return devices


def _files(pid: int) -> Iterator[os.stat_result]:
    """What a process has open; then what it has mapped, as far as the kernel lets us see that."""
    for folder in ("fd", "map_files"):
        with suppress(OSError), os.scandir(f"/proc/{pid}/{folder}") as entries:
            for entry in entries:
                with suppress(OSError):
                    yield entry.stat()
