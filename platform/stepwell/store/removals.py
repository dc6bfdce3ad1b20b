"""The right to remove what is kept: one at a time, held by whoever removes runs or makes a backup.

A backup copies files after the database; what the database names must not go in between. A lock of the kernel's, so
that it ends with the process that holds it, and holds between processes.
"""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from stepwell.errors import Conflict

PAUSE_SECONDS = 0.1


@contextmanager
def removals_held(state: Path, wait_seconds: float = 0.0) -> Iterator[None]:
    """Hold it, so that nothing is removed meanwhile. Raises Conflict when somebody else does for so long."""
    folder = state / "run"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    descriptor = os.open(folder / "removals", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        _take(descriptor, time.monotonic() + wait_seconds)
        yield
    finally:
        os.close(descriptor)


def _take(descriptor: int, until: float) -> None:
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError as error:
            if time.monotonic() >= until:
                raise Conflict("A backup is being made, or runs are being removed. Try again in a minute.") from error
            time.sleep(PAUSE_SECONDS)
