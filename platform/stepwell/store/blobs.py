"""Blobs: results that are too large for a journal, as files named by what is in them, each run's in a folder.

A blob is whole and on disk before anybody learns its name: written beside, synced, then renamed into its place. What a
crash leaves is a file without a name, removed at the next start, or a blob that no entry mentions, which does no harm
and goes with its run. Blobs of two runs are never shared: so a run's can be removed without asking anybody, and what
one tenant has stored can not be found out by another who stores the same.

Some of a run's blobs may go before it does: `expired.json` beside the others says when. What is then missing is known
to have been removed, and not lost.
"""

import contextlib
import hashlib
import io
import json
import os
import re
import shutil
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from stepwell.errors import Conflict, Unavailable
from stepwell.store.durable import sync_file, sync_file_system, sync_folder
from stepwell.store.removals import removals_held
from stepwell.store.taken import taken_by_files

MOST_BYTES = 64 * 1_048_576
_PIECE_BYTES = 1_048_576
_EXPIRED = "expired.json"
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

    def batch(self, run: str) -> "BlobBatch":
        """Begin many blobs that belong together."""
        return BlobBatch(self._root / "new" / uuid.uuid4().hex, self._folder(run))

    def whole(self, run: str, id: str, size: int) -> Iterator[bytes]:
        """Give a blob piece by piece. Raises Unavailable now, not later, when it is not there."""
        self.read(run, id, 0, 1)
        return (self.read(run, id, at, min(_PIECE_BYTES, size - at)) for at in range(0, size, _PIECE_BYTES))

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

    def adopt(self, run: str, source: str, ids: Iterable[str], lists: Iterable[str] = ()) -> None:
        """Let a run have blobs of another one, too; they are on disk when this returns. Raises Unavailable.

        Each of `lists` is a blob that names others: {"blobs": [id, …]}. It comes along, and what it names, unless that
        has been removed by `expire`.
        """
        folder, expired = self._folder(run), self.expired_at(source)
        needed = dict.fromkeys((*ids, *lists))
        for id in (*needed, *(id for list in lists for id in self._named(source, list) if id not in needed)):
            try:
                folder.mkdir(parents=True, exist_ok=True)
                with contextlib.suppress(FileExistsError):
                    (folder / id).hardlink_to(self.path(source, id))
            except OSError as error:
                if expired is not None and id not in needed and isinstance(error, FileNotFoundError):
                    continue
                raise Unavailable(f"A result of run {source!r}, the blob {id}, is not kept any more.") from error
        if expired is not None and folder.exists():
            self._note_expired(folder, expired, whole=True)
        if folder.exists():
            sync_folder(folder)
            sync_folder(self._root)

    def _named(self, run: str, id: str) -> list[str]:
        try:
            return [str(one) for one in json.loads(self.path(run, id).read_bytes())["blobs"]]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise Unavailable(f"The list of files {id} of run {run!r} is not kept any more.") from error

    def has(self, run: str, id: str) -> bool:
        """Say whether a blob is there."""
        return self.path(run, id).exists()

    def any_of(self, run: str) -> bool:
        """Say whether a run has blobs."""
        return self._folder(run).exists()

    def expire(self, run: str, ids: Iterable[str], at: float) -> int:
        """Remove some blobs of a run, which stays; how many were there. Called again after a crash, it goes on."""
        folder, gone = self._folder(run), 0
        self._note_expired(folder, at, whole=False)
        for id in ids:
            with contextlib.suppress(FileNotFoundError):
                self.path(run, id).unlink()
                gone += 1
        self._note_expired(folder, at, whole=True)
        return gone

    def expired_at(self, run: str, *, whole: bool = False) -> float | None:
        """Say when `expire` was called last; None when never, or, with `whole`, when a crash cut that short."""
        try:
            noted = json.loads((self._folder(run) / _EXPIRED).read_text())
        except FileNotFoundError:
            return None
        return float(noted["at"]) if noted["whole"] or not whole else None

    @staticmethod
    def _note_expired(folder: Path, at: float, *, whole: bool) -> None:
        fresh = folder / f"{_EXPIRED}.{uuid.uuid4().hex}"
        fresh.write_text(json.dumps({"at": at, "whole": whole}))
        sync_file(fresh)
        fresh.replace(folder / _EXPIRED)

    def taken(self, run: str) -> int:
        """Return the bytes of all blobs of a run."""
        return taken_by_files(self._folder(run))

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
            sync_folder(self._folder)
            sync_folder(self._folder.parent)
        except OSError:
            self.drop()
            raise
        return id

    def drop(self) -> None:
        """Forget it."""
        with contextlib.suppress(OSError):
            self._file.close()
        self._path.unlink(missing_ok=True)


class BlobBatch:
    """Blobs of one run that are made durable together: for thousands of files far cheaper than each by itself."""

    def __init__(self, place: Path, folder: Path) -> None:
        place.mkdir(parents=True)
        self._place = place
        self._folder = folder

    def add(self, source: BinaryIO) -> tuple[str, int]:
        """Copy a file; give its id and its size. Raises OSError."""
        hash, size = hashlib.sha256(), 0
        fresh = self._place / "fresh"
        with fresh.open("wb") as file:
            while piece := source.read(_PIECE_BYTES):
                hash.update(piece)
                size += len(piece)
                file.write(piece)
        fresh.replace(self._place / hash.hexdigest())
        return hash.hexdigest(), size

    def add_bytes(self, content: bytes) -> tuple[str, int]:
        """Take a small blob; give its id and its size. Raises OSError."""
        return self.add(io.BytesIO(content))

    def keep(self) -> None:
        """Have all of them on disk, whole. Raises OSError."""
        sync_file_system(self._place)
        self._folder.mkdir(parents=True, exist_ok=True)
        for path in self._place.iterdir():
            path.replace(self._folder / path.name)
        sync_folder(self._folder)
        sync_folder(self._folder.parent)
        self._place.rmdir()

    def drop(self) -> None:
        """Forget those that are not kept."""
        shutil.rmtree(self._place, ignore_errors=True)
