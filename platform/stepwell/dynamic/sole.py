"""One engine for one database: a lock of the kernel's, which ends with the process that holds it.

Two engines on one file would each believe to be the only one that begins attempts, and neither would hear of what the
other has written. `stepwell up` has a lock of its own, for the whole state directory.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from stepwell.errors import Unavailable


@contextmanager
def held_alone(database: Path) -> Iterator[None]:
    """Hold a database while the block lasts, by a file beside it. Raises Unavailable when somebody else holds it."""
    path = database.with_name(f"{database.name}-lock")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise Unavailable(f"The database {str(database)!r} cannot be opened: {error}.") from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.pread(descriptor, 20, 0).decode("ascii", "replace") or "unknown"
            raise Unavailable(
                f"An engine runs on the database {str(database)!r} already (process {holder}). "
                "Use that one, end it, or give this one a file of its own."
            ) from error
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, str(os.getpid()).encode(), 0)
        yield
    finally:
        os.close(descriptor)
