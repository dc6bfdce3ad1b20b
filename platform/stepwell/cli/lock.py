"""One server on one state directory: a lock that the kernel releases, whatever happens to the process."""

import fcntl
import json
import os
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from stepwell.errors import Conflict


@dataclass
class StateLock:
    """Held while the server runs. The file also says where the server answers, for commands on this machine."""

    state: Path
    _descriptor: int = -1

    def __enter__(self) -> Self:
        path = _path(self.state)
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(self._descriptor)
            other = _read(self.state)
            raise Conflict(
                f"Another server (pid {other.get('pid', 'unknown')}) uses {self.state}. "
                "Stop it, or give this one a directory of its own with STEPWELL_STATE."
            ) from error
        _write(self._descriptor, None)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.ftruncate(self._descriptor, 0)
        os.close(self._descriptor)


def tell_address(state: Path, url: str) -> None:
    """Write down where the server on this directory answers. For whoever holds the lock."""
    descriptor = os.open(_path(state), os.O_RDWR | os.O_CLOEXEC)
    try:
        _write(descriptor, url)
    finally:
        os.close(descriptor)


def _write(descriptor: int, url: str | None) -> None:
    content = json.dumps({"pid": os.getpid(), "url": url}).encode()
    os.pwrite(descriptor, content, 0)
    os.ftruncate(descriptor, len(content))


def running_url(state: Path) -> str | None:
    """Where the server on this directory answers; None when none runs or it is still starting."""
    path = _path(state)
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        url = _read(state).get("url")
        return str(url) if url else None
    finally:
        os.close(descriptor)
    return None


def _path(state: Path) -> Path:
    return state / "run" / "lock"


def _read(state: Path) -> dict[str, Any]:
    try:
        found = json.loads(_path(state).read_text() or "{}")
    except (FileNotFoundError, PermissionError, json.JSONDecodeError):
        return {}
    return found if isinstance(found, dict) else {}
