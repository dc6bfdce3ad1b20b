"""Writing refs by hand where a git process per ref would cost too much: packed refs, under git's own lock."""

import contextlib
import os
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from stepwell.errors import TryLater

_HEADER = "# pack-refs with: peeled fully-peeled sorted \n"
_SORTED = re.compile(rb"#[^\n]* sorted(?: [^\n]*)?\n")
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


class PackedRefs:
    """The content of a file of packed refs, for changing a few of them without a look at all the others."""

    def __init__(self, content: bytes) -> None:
        is_plain = _SORTED.match(content) and content.endswith(b"\n")
        self._content = content if is_plain else _sorted(content)
        self._first = self._content.index(b"\n") + 1

    def __bytes__(self) -> bytes:
        return self._content

    def cut(self, start: bytes, end: bytes) -> None:
        """Leave out the refs from `start` on, which are before `end`."""
        self._content = self._content[: self._place(start)] + self._content[self._place(end) :]

    def put(self, ref: bytes, id_: bytes) -> None:
        """Set a ref to what is no tag object, for that would have to be peeled here."""
        start, end = self._place(ref), self._place(ref + b"\0")
        self._content = b"%s%s %s\n%s" % (self._content[:start], id_, ref, self._content[end:])

    def _place(self, ref: bytes) -> int:
        """Where the first line is whose ref does not come before this one: found by halves."""
        low, high = self._first, len(self._content)
        while low < high:
            start = self._content.rfind(b"\n", 0, (low + high) // 2) + 1
            if self._content[start : start + 1] == b"^":  # belongs to the line before
                start = self._content.rfind(b"\n", 0, start - 1) + 1
            end = self._content.index(b"\n", start)
            if self._content[start:end].partition(b" ")[2] >= ref:
                high = start
            else:
                low = end + 1
                if self._content[low : low + 1] == b"^":
                    low = self._content.index(b"\n", low) + 1
        return low


def _sorted(content: bytes) -> bytes:
    """Sort what none of today's gits has written."""
    lines = re.findall(rb"^([0-9a-f]+) ([^\n]+)\n?(\^[^\n]*)?", content, re.MULTILINE)
    refs = {ref: b"%s %s\n%s" % (id_, ref, peeled and peeled + b"\n") for id_, ref, peeled in lines}
    header = b"# pack-refs with: sorted \n" if refs else _HEADER.encode()
    return header + b"".join(refs[ref] for ref in sorted(refs))


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
