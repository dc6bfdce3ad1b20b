"""The right to remove what is kept: one at a time, held by whoever removes runs or makes a backup.

A backup copies files after the database; what the database names must not go in between. A lock of the kernel's, so
that it ends with the process that holds it, and holds between processes.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from stepwell.errors import Conflict


@contextmanager
def removals_held(state: Path) -> Iterator[None]:
    """Hold it, so that nothing is removed meanwhile. Raises Conflict when somebody else does."""
    folder = state / "run"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    descriptor = os.open(folder / "removals", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise Conflict("A backup is being made, or runs are being removed. Try again in a minute.") from error
        yield
    finally:
        os.close(descriptor)
