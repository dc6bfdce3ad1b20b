"""A patch as git prints it, cut into files and numbered lines."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

LINES = 4_000
"""Lines of a patch that are shown; all are counted."""
FILE_LINES = 1_000
_HUNK = re.compile(r"@@ -(\d+)(?:,\d+)? \+(\d+)(?:,\d+)? @@(.*)")


@dataclass(frozen=True)
class DiffLine:
    """A line with its numbers before and after; `hunk` lines tell where the next ones stand."""

    kind: Literal["add", "del", "same", "hunk"]
    before: int | None
    after: int | None
    text: str


@dataclass
class DiffFile:
    """One file's part of a patch; `left` lines of it are not shown."""

    path: str = ""
    was: str = ""  # its former name
    word: str = "changed"
    binary: bool = False
    added: int = 0
    removed: int = 0
    lines: list[DiffLine] = field(default_factory=list)
    left: int = 0


def files(text: str) -> Sequence[DiffFile]:
    """Cut a patch into its files."""
    found, room = [], LINES
    for part in re.split(r"^(?=diff --git )", text, flags=re.MULTILINE):
        if part.startswith("diff --git "):
            file = _file(part, min(room, FILE_LINES))
            room -= len(file.lines)
            found.append(file)
    return found


def _file(part: str, room: int) -> DiffFile:
    head, at, body = part.partition("\n@@ ")
    file = DiffFile()
    for line in head.split("\n"):
        _read_head(file, line)
    if not file.path:  # neither text nor renamed: its name stands only in the first line, twice
        name = head.split("\n", 1)[0].removeprefix("diff --git ")
        file.path = name[: len(name) // 2].removeprefix("a/")
    for one in _lines(at.lstrip("\n") + body if at else ""):
        file.added += one.kind == "add"
        file.removed += one.kind == "del"
        if len(file.lines) < room:
            file.lines.append(one)
        else:
            file.left += 1
    return file


def _read_head(file: DiffFile, line: str) -> None:
    if line.startswith("new file"):
        file.word = "new"
    elif line.startswith("deleted file"):
        file.word = "deleted"
    elif line.startswith("rename from "):
        file.word, file.was = "renamed", line.removeprefix("rename from ")
    elif line.startswith("rename to "):
        file.path = line.removeprefix("rename to ")
    elif line.startswith("Binary files "):
        file.binary = True
    elif line.startswith(("--- a/", "+++ b/")):
        file.path = line[6:].rstrip("\t")


def _lines(body: str) -> Iterator[DiffLine]:
    before = after = 0
    for line in body.removesuffix("\n").split("\n") if body else ():
        if place := _HUNK.match(line):
            before, after = int(place[1]), int(place[2])
            yield DiffLine("hunk", None, None, place[3].strip())
        elif line.startswith("+"):
            yield DiffLine("add", None, after, line[1:])
            after += 1
        elif line.startswith("-"):
            yield DiffLine("del", before, None, line[1:])
            before += 1
        elif line.startswith(" "):
            yield DiffLine("same", before, after, line[1:])
            before, after = before + 1, after + 1
