"""The file that a backup is: a gzipped tar of everything kept, with what it is at the front and its count at the end.

    stepwell-backup.json   which version wrote it, and when
    …                      files, links and directories below the state directory
    stepwell-backup.end    how many members there are before it

Without the last member a backup is torn and nothing of it is used; gzip's own check sum tells of changed bytes. It is
written beside its final name and renamed when it is whole. What is read from it is written below the target only: names
are checked, nothing is written through a link, and devices are refused.
"""

import gzip
import json
import os
import stat
import tarfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, cast

from stepwell.errors import Conflict, Invalid, Unavailable

FORMAT = 1
"""Version of this layout."""
HEAD, END = "stepwell-backup.json", "stepwell-backup.end"
LEVEL = 1
"""Of compression: packs and tarballs are compressed already, and a backup should not hold the server's processors."""

Progress = Callable[[str, int], None]
"""Told the first part of a name and the bytes of each member."""


class ArchiveWriter:
    """Adds members. Names are paths below the state directory."""

    def __init__(self, tar: tarfile.TarFile, progress: Progress) -> None:
        self._tar = tar
        self._progress = progress
        self.members = 0

    def add_bytes(self, name: str, content: bytes, mode: int = 0o600) -> None:
        """Add a file with this content."""
        info = tarfile.TarInfo(name)
        info.size, info.mode = len(content), mode
        self._add(info, BytesIO(content))

    def add(self, name: str, path: Path) -> None:
        """Add a file, link or directory without what is in it. One that grows meanwhile is taken as long as it was.

        Raises FileNotFoundError when it is gone. What is none of these (sockets, whiteouts) is left out.
        """
        status = path.lstat()
        info = tarfile.TarInfo(name)
        info.mode, info.mtime = stat.S_IMODE(status.st_mode), int(status.st_mtime)
        info.uid, info.gid = status.st_uid, status.st_gid
        if stat.S_ISLNK(status.st_mode):
            info.type, info.linkname = tarfile.SYMTYPE, str(path.readlink())
            self._add(info)
        elif stat.S_ISDIR(status.st_mode):
            info.type = tarfile.DIRTYPE
            self._add(info)
        elif stat.S_ISREG(status.st_mode):
            with path.open("rb") as file:
                info.size = os.fstat(file.fileno()).st_size
                self._add(info, file)

    def _add(self, info: tarfile.TarInfo, content: "BinaryIO | BytesIO | None" = None) -> None:
        self._tar.addfile(info, content)
        self.members += 1
        self._progress(info.name.partition("/")[0], info.size)


@contextmanager
def written(
    target: Path, head: dict[str, Any], progress: Progress = lambda _name, _size: None
) -> Iterator[ArchiveWriter]:
    """Write an archive that appears as `target` when the block ends, or not at all. Raises Conflict when it exists."""
    if target.exists():
        raise Conflict(f"There is a file {target} already. Choose another name, or remove it first.")
    part = target.with_name(f"{target.name}.part")
    try:
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise Unavailable(f"Backup {target} cannot be written: {error.strerror}. Choose another place.") from error
    try:
        with os.fdopen(descriptor, "wb") as file:
            with gzip.GzipFile("", "wb", LEVEL, file) as packed, tarfile.open(fileobj=packed, mode="w|") as tar:
                writer = ArchiveWriter(tar, progress)
                writer.add_bytes(HEAD, json.dumps({"format": FORMAT, **head}).encode())
                yield writer
                writer.add_bytes(END, json.dumps({"members": writer.members}).encode())
            file.flush()
            os.fsync(file.fileno())
        part.rename(target)
    except OSError as error:
        raise Unavailable(f"The backup was not written: {error}. Make room, or choose another place.") from error
    finally:
        part.unlink(missing_ok=True)


@dataclass(frozen=True)
class Told:
    """What a backup says of itself."""

    head: dict[str, Any]
    members: int


def extract(archive: Path, target: Path, check: Callable[[dict[str, Any]], None], progress: Progress) -> Told:
    """Write everything in an archive below `target`, an empty directory; `check` may refuse its head before that.

    Raises Invalid for what is no backup, is torn, or names what it must not; `target` is then of no use.
    """
    try:
        with gzip.open(archive, "rb") as packed, tarfile.open(fileobj=packed, mode="r|") as tar:
            told = _extract(archive, tar, target, check, progress)
            while packed.read(1 << 16):
                pass  # to the end of the stream, where gzip compares its check sum
            return told
    except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise Invalid(f"Backup {archive} is torn or none at all: {error}. Use another one.") from error
    except FileNotFoundError as error:
        raise Invalid(f"There is no file {error.filename}.") from error


def _extract(
    archive: Path, tar: tarfile.TarFile, target: Path, check: Callable[[dict[str, Any]], None], progress: Progress
) -> Told:
    first = tar.next()
    if first is None or first.name != HEAD:
        raise Invalid(f"{archive} is no backup of Stepwell. Make one with `stepwell backup FILE`.")
    head = _json(tar, first)
    if head.get("format") != FORMAT:
        raise Invalid(
            f"Backup {archive} has format {head.get('format')!r}, this Stepwell reads {FORMAT}. "
            "Restore it with the Stepwell that wrote it."
        )
    check(head)
    fresh = _Fresh(target)
    members = 1
    while (info := tar.next()) is not None:
        cast("Any", tar).members.clear()  # or it would remember every one
        if info.name == END:
            if _json(tar, info).get("members") != members:
                break
            fresh.close()
            return Told(head, members)
        fresh.put(tar, info)
        members += 1
        progress(info.name.partition("/")[0], info.size)
    raise Invalid(f"Backup {archive} is torn: its end is missing. Use another one.")


def _json(tar: tarfile.TarFile, info: tarfile.TarInfo) -> dict[str, Any]:
    file = tar.extractfile(info)
    try:
        found = json.loads(file.read(1 << 20)) if file is not None else None
    except ValueError as error:
        raise Invalid(f"Member {info.name!r} of the backup cannot be read: {error}. Use another one.") from error
    return found if isinstance(found, dict) else {}


class _Fresh:
    """The directory that an archive is written to; modes and owners of directories come last."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._links: set[PurePosixPath] = set()
        self._folders: list[tuple[Path, tarfile.TarInfo]] = []

    def put(self, tar: tarfile.TarFile, info: tarfile.TarInfo) -> None:
        """Write one member."""
        path = self._checked(info)
        path.parent.mkdir(parents=True, exist_ok=True)
        if info.issym():
            path.symlink_to(info.linkname)
        elif info.isdir():
            path.mkdir(exist_ok=True)
            self._folders.append((path, info))
        else:
            self._file(tar, info, path)
        if os.geteuid() == 0:
            os.chown(path, info.uid, info.gid, follow_symlinks=False)

    def _checked(self, info: tarfile.TarInfo) -> Path:
        name = PurePosixPath(info.name)
        plain = not name.is_absolute() and name.parts and ".." not in name.parts and "\0" not in info.name
        through_link = self._links.intersection(name.parents)
        if not plain or through_link or not (info.isreg() or info.issym() or info.isdir()):
            raise Invalid(f"Member {info.name[:100]!r} has no place in a backup. Use one that Stepwell has written.")
        if info.issym():
            self._links.add(name)
        return self._root / name

    @staticmethod
    def _file(tar: tarfile.TarFile, info: tarfile.TarInfo, path: Path) -> None:
        source = tar.extractfile(info)
        assert source is not None, "only regular files come here"
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            while piece := source.read(1 << 20):
                file.write(piece)
            os.fchmod(file.fileno(), info.mode & 0o777)
        os.utime(path, (info.mtime, info.mtime))

    def close(self) -> None:
        """Give directories their modes, the deepest first."""
        for path, info in sorted(self._folders, key=lambda item: len(item[0].parts), reverse=True):
            path.chmod(info.mode & 0o777)
