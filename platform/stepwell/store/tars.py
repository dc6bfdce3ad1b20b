"""Tar files of any number of members: Python's keep a list of them all, and a million of them are a gigabyte."""

import tarfile
from typing import Any


class UnlistedTar(tarfile.TarFile):
    """A tar file that is written or read from its beginning to its end, and remembers no member."""

    members: list[tarfile.TarInfo]

    def addfile(self, tarinfo: tarfile.TarInfo, fileobj: Any = None) -> None:
        """Write a member."""
        super().addfile(tarinfo, fileobj)
        self.members.clear()

    def next(self) -> tarfile.TarInfo | None:
        """Read the head of the next member."""
        found = super().next()
        self.members.clear()
        return found
