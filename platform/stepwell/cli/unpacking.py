"""Unpacking a workspace on this machine: names, links and contents are a stranger's, and reach nothing outside.

Links of a step that begin with /workspace are made to lead into the copy. Links to programs of the system, as virtual
environments have them, are made when all else is there, so that nothing is unpacked through them.
"""

import os
import posixpath
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, cast

from stepwell.errors import Conflict
from stepwell.store.tars import UnlistedTar

_WORKSPACE = "/workspace"  # where steps see it
_SYSTEM = ("/usr/", "/bin/", "/sbin/", "/lib/", "/lib64/", "/opt/", "/nix/")


def unpack(pieces: Iterator[bytes], target: Path) -> list[str]:
    """Unpack a tar file into a directory that is new; the names of what could lead out of it and is left out."""
    try:
        target.mkdir(parents=True)
    except FileExistsError as error:
        raise Conflict(f"{target} exists already. Name a directory that does not.") from error
    left: list[str] = []
    later: list[tarfile.TarInfo] = []
    with UnlistedTar.open(fileobj=cast("IO[bytes]", _Stream(pieces)), mode="r|") as archive:
        for member in archive:
            if member.issym() and _is_program(member.linkname):
                later.append(member)
                continue
            try:
                archive.extract(_led_inside(member), target, filter="data")
            except tarfile.FilterError:
                left.append(member.name)
    return left + [member.name for member in later if not _link(member, target)]


def _led_inside(member: tarfile.TarInfo) -> tarfile.TarInfo:
    """Make a link into the step's workspace one that leads into the copy."""
    if not member.issym() or not f"{member.linkname}/".startswith(f"{_WORKSPACE}/"):
        return member
    here = posixpath.join(_WORKSPACE, posixpath.dirname(member.name))
    return member.replace(linkname=posixpath.relpath(member.linkname, here), deep=False)


def _is_program(path: str) -> bool:
    """Say whether a path is a program of the system, which whoever is not root may not write to."""
    return (
        path == posixpath.normpath(path)
        and path.startswith(_SYSTEM)
        and os.path.realpath(path).startswith(_SYSTEM)
        and Path(path).is_file()
        and os.access(path, os.X_OK)
        and (os.geteuid() == 0 or not os.access(path, os.W_OK))
    )


def _link(member: tarfile.TarInfo, target: Path) -> bool:
    """Make a link as it is, unless its own place leads elsewhere."""
    home, place = target.resolve(), target / member.name
    try:
        if not place.parent.resolve().is_relative_to(home):
            return False
        place.symlink_to(member.linkname)
    except OSError:  # something is there, or its directory is not
        return False
    return True


class _Stream:
    """A file to be read once, of pieces."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._rest = b""

    def read(self, size: int = -1) -> bytes:
        while size < 0 or len(self._rest) < size:
            piece = next(self._pieces, b"")
            if not piece:
                break
            self._rest += piece
        cut = len(self._rest) if size < 0 else size
        data, self._rest = self._rest[:cut], self._rest[cut:]
        return data
