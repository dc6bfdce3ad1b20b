"""Archives: files into and out of a container as tar streams. What comes out was made by a stranger.

A fetched tree is written by hand: plain names below the target only, links last, so no name leads through a link;
anything but files, directories and links is left out.
"""

import io
import os
import tarfile
import tempfile
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, cast

from stepwell.errors import Invalid
from stepwell.store.tars import UnlistedTar
from stepwell_runners.reduce import check_count, check_depth, remove

MOST_BYTES = 1 << 20  # of a single file that is fetched
MOST_FETCHED = 64 << 30  # of all files of a directory
_BLOCK = 1 << 20


@dataclass(frozen=True)
class Entry:
    """A file, or a directory when `content` is None."""

    mode: int
    content: bytes | None = None


def file(content: bytes, mode: int) -> Entry:
    """Return a file."""
    return Entry(mode, content)


def folder(mode: int) -> Entry:
    """Return a directory."""
    return Entry(mode)


def send(container: Any, entries: Mapping[str, Entry]) -> None:
    """Put entries into a container that has not started; names are relative to its root."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for name, entry in entries.items():
            info = tarfile.TarInfo(name)
            info.mode = entry.mode
            info.type = tarfile.DIRTYPE if entry.content is None else tarfile.REGTYPE
            info.size = len(entry.content or b"")
            archive.addfile(info, io.BytesIO(entry.content or b""))
    container.put_archive("/", packed.getvalue())


def send_folder(container: Any, source: Path, name: str, scratch: Path) -> None:
    """Put a directory into a container as `name`, owned by root there."""
    with tempfile.TemporaryFile(dir=scratch) as packed:
        with UnlistedTar.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as archive:
            archive.add(source, name, filter=_as_root)
        packed.seek(0)
        container.put_archive("/", packed)


def _as_root(info: tarfile.TarInfo) -> tarfile.TarInfo:
    info.uid = info.gid = 0
    info.uname = info.gname = ""
    return info


def fetch_files(container: Any, folder: str, names: Collection[str]) -> dict[str, bytes]:
    """Return the regular files of these names in a directory of a container, no more than a byte above MOST_BYTES.

    Each is asked for by itself: with holes, what else is there may be more than anybody can read.
    """
    asked = ((name, _fetched(container, f"{folder}/{name}")) for name in names)
    return {name: content for name, content in asked if content is not None}


def _fetched(container: Any, path: str) -> bytes | None:
    import docker.errors

    try:
        blocks, _ = container.get_archive(path)
    except docker.errors.NotFound:
        return None
    try:
        with tarfile.open(fileobj=cast("io.BufferedReader", _Blocks(blocks)), mode="r|") as archive:
            member = archive.next()
            content = archive.extractfile(member) if member is not None and member.isreg() else None
            return content.read(MOST_BYTES + 1) if content is not None else None
    finally:
        blocks.close()


def fetch_folder(container: Any, path: str, target: Path, scratch: Path) -> None:
    """Make `target` what a directory of a container is."""
    fresh = scratch / "fetched"
    remove(fresh)  # of a look during which the engine went away
    fresh.mkdir()
    blocks, _ = container.get_archive(path)
    try:
        with UnlistedTar.open(fileobj=cast("io.BufferedReader", _Blocks(blocks)), mode="r|") as archive:
            unpack(archive, fresh)
    finally:
        blocks.close()  # the engine removes no container that somebody reads
    remove(target)
    fresh.rename(target)


def unpack(archive: tarfile.TarFile, target: Path) -> None:
    """Write the members below the archive's one top directory into `target`. Raises Invalid for too much, too deep."""
    links: dict[Path, str] = {}
    folders: list[tuple[Path, int]] = []
    room = MOST_FETCHED
    for count, member in enumerate(archive):
        check_count(count)  # the first one is the directory itself
        room -= member.size if member.isreg() else 0
        if room < 0:
            raise Invalid(
                f"The files that the step left are more than {MOST_FETCHED >> 30} GiB, holes in them included. Remove "
                "what is not kept."
            )
        place = _place(member.name, target)
        if place is None:
            continue
        if member.isdir():
            check_depth(str(place.relative_to(target)))
            place.mkdir(parents=True, exist_ok=True)
            folders.append((place, member.mode & 0o777))
        elif member.issym():
            links[place] = member.linkname
        elif member.islnk():
            source = _place(member.linkname, target)
            if source in links:
                links[place] = links[source]
            elif source is not None and source.is_file():
                os.link(source, place, follow_symlinks=False)
        elif member.isreg():
            _write(archive, member, place)
    for place, goal in links.items():
        place.symlink_to(goal)
    for place, mode in reversed(folders):
        place.chmod(mode)


def _place(name: str, target: Path) -> Path | None:
    """Return where a member belongs, None for the top directory itself and for names that lead elsewhere."""
    parts = PurePosixPath(name).parts[1:]
    if not parts or ".." in parts or name.startswith("/"):
        return None
    return target.joinpath(*parts)


def _write(archive: tarfile.TarFile, member: tarfile.TarInfo, place: Path) -> None:
    content = archive.extractfile(member)
    assert content is not None
    place.parent.mkdir(parents=True, exist_ok=True)
    with place.open("xb") as writing:
        while block := content.read(_BLOCK):
            if block.count(0) == len(block):  # a hole, perhaps larger than the disk: the archive does not tell
                writing.seek(len(block), os.SEEK_CUR)
            else:
                writing.write(block)
        writing.truncate(member.size)
    place.chmod(member.mode & 0o777)
    os.utime(place, (member.mtime, member.mtime))


class _Blocks(io.RawIOBase):
    """A stream of blocks as a file to read."""

    def __init__(self, blocks: Iterator[bytes]) -> None:
        self._blocks = iter(blocks)
        self._rest = b""

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        parts = [self._rest]
        length = len(self._rest)
        while size < 0 or length < size:
            block = next(self._blocks, None)
            if block is None:
                break
            parts.append(block)
            length += len(block)
        everything = b"".join(parts)
        end = len(everything) if size < 0 else size
        self._rest = everything[end:]
        return everything[:end]
