"""Blobs: results that are too large for a journal, as files named by what is in them, each run's in a folder.

A blob is whole and on disk before anybody learns its name: written beside, synced, then renamed into its place. What a
crash leaves is a file without a name, removed at the next start, or a blob that no entry mentions, which does no harm
and goes with its run. Blobs of two runs are never shared: so a run's can be removed without asking anybody, and what
one tenant has stored can not be found out by another who stores the same.
"""

import contextlib
import hashlib
import os
import re
import shutil
import uuid
from collections.abc import Iterable
from pathlib import Path

from stepwell.errors import Conflict, Unavailable
from stepwell.store.removals import removals_held

MOST_BYTES = 64 * 1_048_576
_ID = re.compile(r"[0-9a-f]{64}")


class BlobFiles:
    """A BlobStore in one directory. Safe to use from any thread."""

    most_bytes = MOST_BYTES

    def __init__(self, root: Path) -> None:
        self._root = root

    def recover(self) -> None:
        """Remove what was being written when a server ended. Nothing may be written meanwhile."""
        shutil.rmtree(self._root / "new", ignore_errors=True)

    def writer(self, run: str) -> "BlobFile":
        """Begin a blob."""
        return BlobFile(self._root / "new" / uuid.uuid4().hex, self._folder(run))

    def read(self, run: str, id: str, offset: int, size: int) -> bytes:
        """Read a piece; less than `size` bytes at the end. Raises Unavailable when it is not there."""
        try:
            with self.path(run, id).open("rb") as file:
                file.seek(offset)
                return file.read(size)
        except OSError as error:
            raise Unavailable(f"A result of run {run!r}, the blob {id}, cannot be read: {error.strerror}.") from error

    def path(self, run: str, id: str) -> Path:
        """Where a blob lies. Raises Unavailable for what is no id."""
        if _ID.fullmatch(id) is None:
            raise Unavailable(f"There is no blob {id[:80]!r} of run {run!r}.")
        return self._folder(run) / id

    def adopt(self, run: str, source: str, ids: Iterable[str]) -> None:
        """Let a run have blobs of another one, too; they are on disk when this returns. Raises Unavailable."""
        folder = self._folder(run)
        for id in ids:
            try:
                folder.mkdir(parents=True, exist_ok=True)
                with contextlib.suppress(FileExistsError):
                    (folder / id).hardlink_to(self.path(source, id))
            except OSError as error:
                raise Unavailable(f"A result of run {source!r}, the blob {id}, is not kept any more.") from error
        if folder.exists():
            _sync(folder)
            _sync(self._root)

    def clear(self, run: str) -> None:
        """Delete a run's blobs when it begins anew. During a backup they stay, and go with their run."""
        with contextlib.suppress(Conflict), removals_held(self._root.parent):
            self.remove(run)

    def remove(self, run: str) -> None:
        """Delete every blob of a run."""
        shutil.rmtree(self._folder(run), ignore_errors=True)

    def _folder(self, run: str) -> Path:
        return self._root / hashlib.sha256(run.encode("utf-8", "replace")).hexdigest()[:32]


class BlobFile:
    """A blob that is being written. `write` and `drop` by one thread; `keep` once, by any."""

    def __init__(self, path: Path, folder: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.size = 0
        self._path = path
        self._folder = folder
        self._hash = hashlib.sha256()
        self._file = path.open("xb")

    def write(self, data: bytes) -> None:
        """Go on with it."""
        self._file.write(data)
        self._hash.update(data)
        self.size += len(data)

    def keep(self) -> str:
        """Have it on disk, whole, and give its id. Raises OSError."""
        try:
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
            id = self._hash.hexdigest()
            self._folder.mkdir(parents=True, exist_ok=True)
            self._path.replace(self._folder / id)
            _sync(self._folder)
            _sync(self._folder.parent)
        except OSError:
            self.drop()
            raise
        return id

    def drop(self) -> None:
        """Forget it."""
        with contextlib.suppress(OSError):
            self._file.close()
        self._path.unlink(missing_ok=True)


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
