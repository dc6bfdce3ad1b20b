"""Writing refs by hand where a git process per ref would cost too much: packed refs, under git's own lock."""

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from stepwell.errors import TryLater

_HEADER = "# pack-refs with: peeled fully-peeled sorted \n"
_WAIT_S = 5.0


def rewrite_packed(repository: Path, change: Callable[[dict[str, str]], bool]) -> None:
    """Let `change` edit ref → value under the lock git takes too, and replace the file if it returns true. Blocks.

    A value is the line's object id, with the `^` line of a peeled tag after a line break.
    """
    with _lock(repository / "packed-refs.lock") as lock:
        refs = read_packed(repository / "packed-refs")
        if not change(refs):
            return
        body = "".join(_line(name, refs[name]) for name in sorted(refs, key=str.encode))
        lock.write_text(_HEADER + body, "utf-8", "surrogateescape", "\n")
        _sync_file(lock)
        lock.replace(repository / "packed-refs")


def _line(name: str, value: str) -> str:
    sha, _, peeled = value.partition("\n")
    return f"{sha} {name}\n" + (f"{peeled}\n" if peeled else "")


def read_packed(file: Path) -> dict[str, str]:
    """Read ref → value as `rewrite_packed` gives them; empty when there is no such file."""
    refs: dict[str, str] = {}
    last = ""
    try:
        text = file.read_text("utf-8", "surrogateescape")
    except FileNotFoundError:
        return refs
    for line in text.split("\n"):
        if line.startswith("^"):
            refs[last] += f"\n{line}"
        elif line and not line.startswith("#"):
            sha, _, last = line.partition(" ")
            refs[last] = sha
    return refs


@contextlib.contextmanager
def _lock(path: Path) -> Iterator[Path]:
    deadline = time.monotonic() + _WAIT_S
    while True:
        try:
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644))
            break
        except FileExistsError as error:
            if time.monotonic() > deadline:
                raise TryLater(f"Another process holds {path.name!r} of the repository.", retry_after=5) from error
            time.sleep(0.005)
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)


def _sync_file(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
