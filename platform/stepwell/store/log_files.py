"""The files of a log: how they are named, written, indexed and read.

`<run>/<name>-<hash of key>.<attempt>.log` holds the bytes, `….idx` beside it (offset, number of the line there, time)
for each batch and every 500 lines, so that a line or a moment is found without reading the whole file.
"""

import hashlib
import re
import shutil
import struct
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO

NOTE = b"\x1e"
"""A line that begins with it is Stepwell's own."""
LIMIT = 256 * 1024 * 1024
LONGEST_LINE = 8192
"""Bytes of a line that readers of lines get; readers of bytes get all."""
LINES_PER_MARK = 500
MARK_SECONDS = 0.1
_BLOCK = 4096
_MARK = struct.Struct("<QQd")


@dataclass(frozen=True, slots=True)
class LogLine:
    """One line, without its line break; `at` is the time of the batch it came in, `note` says it is Stepwell's own."""

    number: int
    at: float
    text: bytes
    note: bool


@dataclass(frozen=True)
class LogName:
    """Which log: run, step's key, number of the attempt."""

    run: str
    key: str
    attempt: int

    @property
    def folder(self) -> str:
        """Directory of the run's logs."""
        return self.run if re.fullmatch(r"[A-Za-z0-9_-]{1,100}", self.run) else f"run-{_hash(self.run)}"

    @property
    def stem(self) -> str:
        """Readable start of the key, made unambiguous by its hash."""
        return _stem(self.key)

    @property
    def file(self) -> str:
        """Name of the file."""
        return f"{self.stem}.{self.attempt}.log"


@lru_cache(4096)
def _stem(key: str) -> str:
    readable = re.sub(r"[^A-Za-z0-9]+", "-", key).strip("-")[:40] or "run"
    return f"{readable}-{_hash(key)}"


def _hash(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


class LogFile:
    """The log file and its index. Nothing stays open between batches: thousands of quiet logs cost no descriptors."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._known = False
        self._fresh = True  # the next byte begins a line
        self._lines = 0
        self._marked = (0, 0.0)  # line and time of the last mark
        self._refused = 0
        self.size = 0

    def append(self, pieces: list[bytes], now: float) -> None:
        """Write pieces of output and notes; a note begins a line of its own."""
        if not self._known:
            self._continue()
        data = bytearray()
        fresh = self._fresh
        for piece in filter(None, pieces):
            if piece.startswith(NOTE) and not fresh:
                data += b"\n"
            data += piece
            fresh = piece.endswith(b"\n")
        if data and self.size < LIMIT:
            self._write(self._bounded(bytes(data)), now)

    def _continue(self) -> None:
        """Go on where a former writer of the same attempt ended."""
        self._known = True
        if self._path.exists():
            self.size = self._path.stat().st_size
            self._lines, self._fresh = _count(self._path)

    def _bounded(self, data: bytes) -> bytes:
        if self.size + len(data) <= LIMIT:
            return data
        note = f"The log ends here: it reached {LIMIT // 1024**2} MiB. The step goes on."
        return data[: LIMIT - self.size] + b"\n" + NOTE + note.encode() + b"\n"

    def _write(self, data: bytes, now: float) -> None:
        if self._refused:
            note = f"{self._refused} bytes are missing here: the disk did not take them."
            data = (b"" if self._fresh else b"\n") + NOTE + note.encode() + b"\n" + data
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            if marks := self._marks(data, now):
                with self._path.with_suffix(".idx").open("ab") as index:
                    index.write(marks)
            with self._path.open("ab", buffering=0) as file:
                written = file.write(data)
        except OSError:
            self._refused += len(data)
            return
        self._refused = len(data) - written
        data = data[:written]
        self.size += written
        self._lines += data.count(b"\n")
        self._fresh = data.endswith(b"\n")

    def _marks(self, data: bytes, now: float) -> bytes:
        """Return new marks: one for the batch unless the last is fresh, and one about every 500 lines in it.

        Lines are counted by the block: a flood of short ones costs no more than its bytes.
        """
        line, at = self._marked
        ends = data.count(b"\n")
        if self.size and now - at < MARK_SECONDS and self._lines + ends - line < LINES_PER_MARK:
            return b""
        marks = [_MARK.pack(self.size, self._lines, now)]
        seen = marked = 0
        for start in range(0, len(data) if ends >= LINES_PER_MARK else 0, _BLOCK):
            seen += data.count(b"\n", start, start + _BLOCK)
            if seen - marked >= LINES_PER_MARK:
                marked = seen
                marks.append(
                    _MARK.pack(self.size + data.rindex(b"\n", start, start + _BLOCK) + 1, self._lines + seen, now)
                )
        self._marked = (self._lines + marked, now)
        return b"".join(marks)


def copy_log(root: Path, source: LogName, target: LogName) -> None:
    """Copy a log that has ended; one to which nothing was written is not there, and then there is nothing to copy."""
    old, new = root / source.folder / source.file, root / target.folder / target.file
    if not old.exists():
        return
    new.parent.mkdir(parents=True, exist_ok=True)
    for suffix in (".idx", ".log"):
        if old.with_suffix(suffix).exists():
            shutil.copyfile(old.with_suffix(suffix), new.with_suffix(suffix))


def _count(path: Path) -> tuple[int, bool]:
    lines, last = 0, b"\n"
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            lines += block.count(b"\n")
            last = block[-1:]
    return lines, last == b"\n"


def _lines_of(file: BinaryIO) -> Iterator[tuple[bytes, int]]:
    """Yield each line with its true length; of one that a stranger made endless, only the beginning is read at once."""
    while text := file.readline(LONGEST_LINE):
        length, rest = len(text), text
        while not rest.endswith(b"\n") and (rest := file.readline(1 << 20)):
            length += len(rest)
        more = length - len(text) - rest.endswith(b"\n")
        yield (text if length == len(text) else text + f" … {more:,} more bytes".encode()), length


def _offset(mark: tuple[int, int, float]) -> int:
    return mark[0]


def _line(number: int, at: float, text: bytes) -> LogLine:
    note = text.startswith(NOTE)
    return LogLine(number, at, text.rstrip(b"\n")[len(NOTE) if note else 0 :], note)


class Log:
    """One log as readers see it, also while it grows."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def size(self) -> int:
        """Bytes so far."""
        try:
            return self.path.stat().st_size
        except FileNotFoundError:
            return 0

    @property
    def line_count(self) -> int:
        """Lines so far; a last line without its break counts."""
        if not self.size:
            return 0
        line, offset = (self._marks() or [(0, 0, 0.0)])[-1][1::-1]
        rest = self.read(offset, self.size - offset)
        return line + rest.count(b"\n") + (rest != b"" and not rest.endswith(b"\n"))

    def read(self, offset: int = 0, limit: int = 65536) -> bytes:
        """Return at most `limit` bytes from `offset`; empty at the end."""
        try:
            with self.path.open("rb") as file:
                file.seek(offset)
                return file.read(limit)
        except FileNotFoundError:
            return b""

    def lines(self, start: int = 0, count: int = 500) -> list[LogLine]:
        """Return at most `count` lines from line `start` on, counted from 0."""
        marks = self._marks()
        if not marks:
            return []
        number, offset = self._before(marks, start)
        found: list[LogLine] = []
        batch = -1  # place of the last mark at or before the line
        with self.path.open("rb") as file:
            file.seek(offset)
            for text, length in _lines_of(file):
                if number >= start + count:
                    break
                if number >= start:
                    if batch < 0:
                        batch = max(0, bisect_left(marks, offset + 1, key=_offset) - 1)
                    while batch + 1 < len(marks) and marks[batch + 1][0] <= offset:
                        batch += 1
                    found.append(_line(number, marks[batch][2], text))
                number, offset = number + 1, offset + length
        return found

    @staticmethod
    def _before(marks: list[tuple[int, int, float]], line: int) -> tuple[int, int]:
        """Return (line, offset) of the last mark in an earlier line: from there, breaks can be counted."""
        place = bisect_left(marks, line, key=lambda mark: mark[1]) - 1
        if place < 0:
            return 0, 0
        offset, number, _ = marks[place]
        return number, offset

    def _marks(self) -> list[tuple[int, int, float]]:
        try:
            raw = self.path.with_suffix(".idx").read_bytes()
        except FileNotFoundError:
            return []
        return list(_MARK.iter_unpack(raw[: len(raw) - len(raw) % _MARK.size]))
