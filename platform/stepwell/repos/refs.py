"""Reading and writing refs by hand where a git process, or dulwich per ref, would cost too much."""

import contextlib
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from stepwell.errors import TryLater
from stepwell.store.small_files import read

BRANCHES, TAGS = "refs/heads", "refs/tags"
_HEADER = "# pack-refs with: peeled fully-peeled sorted \n"
_SORTED = re.compile(rb"#[^\n]* sorted(?: [^\n]*)?\n")
ID = re.compile(rb"[0-9a-f]{40}(?:[0-9a-f]{24})?")
_WAIT_S = 5.0


def read_refs(repository: Path, folder: str) -> dict[str, str]:
    """Read the refs below a folder: name in it → id, sorted by name."""
    # Loose before packed: a ref that moves from one to the other meanwhile is then seen at least once.
    loose = {ref: value for ref, value in loose_refs(f"{repository}/{folder}", folder) if ID.fullmatch(value)}
    found = dict(PackedRefs(packed_content(repository)).below(folder.encode())) | loose
    start = len(folder) + 1
    return {ref[start:].decode("utf-8", "replace"): found[ref].decode() for ref in sorted(found)}


def loose_refs(folder: str, name: str) -> Iterator[tuple[bytes, bytes]]:
    """Give the refs that are files of their own in a directory, which is called `name` in them, and their content."""
    for path in loose_files(folder):
        with contextlib.suppress(FileNotFoundError):  # deleted or packed meanwhile
            yield os.fsencode(f"{name}{path[len(folder) :]}"), read(path).strip()


def loose_files(folder: str) -> Iterator[str]:
    """Give the paths of the refs that are files of their own; texts, for paths are slow."""
    with contextlib.suppress(FileNotFoundError), os.scandir(folder) as entries:  # its last ref was packed meanwhile
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                yield from loose_files(entry.path)
            elif not entry.name.endswith(".lock"):
                yield entry.path


def packed_content(repository: Path) -> bytes:
    """Read the file of packed refs; empty when there is none."""
    try:
        return read(f"{repository}/packed-refs")
    except FileNotFoundError:
        return b""


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

    def below(self, folder: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Give the refs below a folder with their ids."""
        lines = self._content[self._place(folder + b"/") : self._place(folder + b"0")]  # "0" follows "/"
        for line in lines.split(b"\n"):
            if line and not line.startswith(b"^"):  # that is what the tag before it stands for
                id_, _, ref = line.partition(b" ")
                yield ref, id_

    def cut(self, start: bytes, end: bytes) -> None:
        """Leave out the refs from `start` on, which are before `end`."""
        self._content = self._content[: self._place(start)] + self._content[self._place(end) :]

    def put(self, refs: Mapping[bytes, bytes]) -> None:
        """Set refs to ids of what are no tag objects, for those would have to be peeled here."""
        pieces, done = list[bytes](), 0
        for ref in sorted(refs):
            pieces += [self._content[done : self._place(ref)], b"%s %s\n" % (refs[ref], ref)]
            done = self._place(ref + b"\0")
        self._content = b"".join([*pieces, self._content[done:]])

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
