"""What an engine has for large results when it is given nothing: none are taken."""

import errno
from collections.abc import Iterable

from stepwell.authoring.results import RESULT_BYTES
from stepwell.engine.seams import BlobWriter
from stepwell.errors import Unavailable


class NoBlobs:
    """A BlobStore that takes nothing: results have to fit into the journal."""

    most_bytes = RESULT_BYTES

    def recover(self) -> None:
        """There is nothing."""

    def writer(self, run: str) -> BlobWriter:
        raise OSError(errno.ENOTSUP, "this server keeps no large results")

    def read(self, run: str, id: str, offset: int, size: int) -> bytes:
        raise Unavailable(f"A result of run {run!r} was kept as a blob, and this server keeps none.")

    def adopt(self, run: str, source: str, ids: Iterable[str], lists: Iterable[str] = ()) -> None:
        """There are none."""

    def clear(self, run: str) -> None:
        """There are none."""
