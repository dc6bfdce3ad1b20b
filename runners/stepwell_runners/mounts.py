"""The engine's side of the mounter: descriptors of mounts that are attached nowhere yet."""

import asyncio
import os
import shutil
import socket
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from stepwell_runners.link import Gone, Link, Refused, Reply
from stepwell_runners.spec import Directory, Merged, Overlay, Shown


class Mounts:
    """Starts the mounter when it is needed, and again when it died."""

    def __init__(self, root: bool, by_descriptor: bool = True) -> None:
        self._config = {"root": root, "by_descriptor": by_descriptor}
        self._link: Link | None = None
        self._starting = asyncio.Lock()

    async def make(self, number: int, owner: int, mounts: Sequence[Shown]) -> list[int]:
        """One descriptor per mount, shown as owned by `owner`. Raises Refused or Gone."""
        link = await self._alive()
        message = {"id": number, "owner": owner, "mounts": [_as_request(mount) for mount in mounts]}
        return (await link.request(number, message))[1]

    async def send(
        self, number: int, owner: int, mounts: Sequence[Shown], target: socket.socket
    ) -> "asyncio.Future[Reply]":
        """Have the descriptors sent to this socket; what is returned ends as Refused or Gone when they are not."""
        link = await self._alive()
        message = {"id": number, "owner": owner, "mounts": [_as_request(mount) for mount in mounts]}
        return link.ask(number, message, [target.fileno()])

    async def try_overlay(self, below: Path, owner: int) -> Refused | None:
        """Make an overlay in this directory and throw it away; why that was refused."""
        trial = _trial(below)
        try:
            overlay = Overlay((trial / "lower",), trial / "upper", trial / "work")
            for descriptor in await self.make(0, owner, [overlay]):
                os.close(descriptor)
        except Refused as refused:
            return refused
        except Gone:
            return Refused({"step": "mounter", "text": "it ended"})
        finally:
            remove_work(trial / "work")
            shutil.rmtree(trial)
        return None

    async def stop(self) -> None:
        """End the mounter."""
        if self._link is not None:
            self._link.close()
            await self._link.join()

    async def _alive(self) -> Link:
        async with self._starting:
            if self._link is None or not self._link.alive:
                link = Link("stepwell_runners.mounter", lambda _: None, lambda: None)
                await link.start(self._config)
                self._link = link
            return self._link


def remove_work(work: Path) -> None:
    """Remove an overlay's work directory, inside of which the kernel leaves directories without permissions."""
    work.chmod(0o700)
    for inside in work.iterdir():
        if inside.is_dir() and not inside.is_symlink():
            remove_work(inside)
        else:
            inside.unlink()
    work.rmdir()


def _trial(below: Path) -> Path:
    below.mkdir(parents=True, exist_ok=True)
    trial = Path(tempfile.mkdtemp(prefix="trial-", dir=below))
    for name in ("lower", "upper", "work"):
        (trial / name).mkdir()
    return trial


def _as_request(mount: Shown) -> dict[str, Any]:
    if isinstance(mount, Directory):
        return {"path": str(mount.path), "read_only": mount.read_only}
    if isinstance(mount, Merged):
        return {"lowers": [str(path) for path in mount.lowers]}
    return {"lowers": [str(path) for path in mount.lowers], "upper": str(mount.upper), "work": str(mount.work)}
