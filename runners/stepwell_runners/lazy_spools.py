"""Large blobs unpacked to files without names, for as long as they are read.

A blob of zeros takes ten thousand times less in a pack than here, and all names of a tree may lead to one blob. So a
blob is unpacked once, and no more of them are kept than a tree may take when it is checked out.
"""

import errno
import os
import threading
from collections import OrderedDict
from typing import IO

from stepwell_runners.lazy_objects import Objects

MOST_BYTES = 20 << 30
_MOST_FILES = 32


class Spools:
    """The large blobs of one tree that were read last. Any thread may ask."""

    def __init__(self, objects: Objects, most_bytes: int = MOST_BYTES) -> None:
        self._objects = objects
        self._most_bytes = most_bytes
        self._files: OrderedDict[str, tuple[IO[bytes], int]] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def read(self, id_: str, offset: int, size: int, of: int) -> bytes:
        """Read a piece of a blob of `of` bytes. Raises MissingObject, and OSError: EFBIG for one that never fits."""
        if of > self._most_bytes:
            raise OSError(errno.EFBIG, "the blob is larger than what may be unpacked")
        with self._lock:
            if id_ in self._files:
                self._files.move_to_end(id_)
            else:
                while self._files and (self._bytes + of > self._most_bytes or len(self._files) >= _MOST_FILES):
                    _, (file, taken) = self._files.popitem(last=False)
                    file.close()
                    self._bytes -= taken
                self._files[id_] = self._objects.spool(id_), of
                self._bytes += of
            return read_at(self._files[id_][0].fileno(), offset, size)


def read_at(file: int, offset: int, size: int) -> bytes:
    """Read up to `size` bytes; fewer at the end only."""
    parts = []
    while size > 0 and (part := os.pread(file, size, offset)):
        parts.append(part)
        offset, size = offset + len(part), size - len(part)
    return b"".join(parts)
