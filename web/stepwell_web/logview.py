"""A step's log as HTML: numbered lines in pages of 500.

A page begins without knowing the whole log before it: the colours in force there are taken from the hundred lines
above, which bounds the work at any place of a log of any length. Up to 5,000 lines are sent whole, as pages that the
browser lays out only when they come into view; above that, only the first, the last and the one asked for, and the
others when they are scrolled to.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from html import escape
from typing import Protocol

from markupsafe import Markup

from stepwell_web import ansi, times

PAGE = 500
WHOLE = 5_000
LOOK_BACK = 100
_SEARCHED = 20_000
_ERROR = re.compile(
    r"^(?:E {2,}|error\b|ERROR\b|Error:|fatal:|FATAL\b|FAILED?\b|panic:|Traceback \(most recent)"
    r"|^\S+:\d+(?::\d+)?:? (?:fatal )?error\b"
    r"|^\w*(?:Error|Exception): "
)


class Line(Protocol):
    """One line as the log store gives it; `number` counts from 0."""

    @property
    def number(self) -> int: ...
    @property
    def at(self) -> float: ...
    @property
    def text(self) -> bytes: ...
    @property
    def note(self) -> bool: ...


class StepLog(Protocol):
    """The log of an attempt."""

    @property
    def size(self) -> int: ...
    @property
    def line_count(self) -> int: ...
    def read(self, offset: int = 0, limit: int = 65536) -> bytes: ...
    def lines(self, start: int = 0, count: int = 500) -> "Iterable[Line]": ...


@dataclass(frozen=True)
class Chunk:
    """Lines `start` to `end`, counted from 1; `html` is None where they are fetched later."""

    start: int
    end: int
    html: Markup | None

    @property
    def full(self) -> bool:
        """Say whether it is a whole page, of a height known beforehand."""
        return self.end - self.start + 1 == PAGE


def chunks(log: StepLog, slug: str, count: int, shown: Iterable[int] = (), hit: int | None = None) -> list[Chunk]:
    """Cut a log of `count` lines into pages; pages of `shown` lines are there at once, `hit` is pointed out."""
    pages = range(0, count, PAGE)
    wanted = {0, (count - 1) // PAGE, *((n - 1) // PAGE for n in (*shown, hit) if n)}
    return [
        Chunk(at + 1, min(at + PAGE, count), page(log, slug, at, min(PAGE, count - at), hit))
        if count <= WHOLE or n in wanted
        else Chunk(at + 1, min(at + PAGE, count), None)
        for n, at in enumerate(pages)
    ]


def page(log: StepLog, slug: str, start: int, count: int = PAGE, hit: int | None = None) -> Markup:
    """Render `count` lines from line `start`, counted from 0."""
    back = min(LOOK_BACK, start)
    lines = list(log.lines(start - back, back + count))
    return render(lines[back:], slug, style_after(lines[:back]), hit)[0]


def style_after(lines: Iterable[Line]) -> ansi.Style:
    """Return the colours in force after these lines."""
    style = ansi.PLAIN
    for line in lines:
        if b"\x1b" in line.text:
            style = ansi.render(line.text.decode(errors="replace"), style)[1]
    return style


def render(
    lines: Iterable[Line], slug: str, style: ansi.Style = ansi.PLAIN, hit: int | None = None
) -> tuple[Markup, ansi.Style]:
    """Render lines, `hit` pointed out; returns them with the style that the next line starts with."""
    anchor = escape(slug)
    parts: list[str] = []
    for line in lines:
        text = line.text.decode(errors="replace")
        if line.note:
            html, kind = escape(ansi.plain(text), quote=False), ' class="note"'
        else:
            (html, style), kind = ansi.render(text, style), ""
        n = line.number + 1
        kind = ' class="hit"' if n == hit else kind
        parts.append(f'<li id="{anchor}:{n}" data-n="{n}"{kind}><time>{times.clock(line.at)}</time>{html}</li>')
    return Markup("".join(parts)), style  # noqa: S704


def first_error(log: StepLog, count: int) -> int | None:
    """Return the number, from 1, of the first line like an error; of a very long log only the end is read."""
    start = max(0, count - _SEARCHED)
    for line in log.lines(start, _SEARCHED):
        if not line.note and _ERROR.search(ansi.plain(line.text.decode(errors="replace"))):
            return line.number + 1
    return None


def find(log: StepLog, query: str, limit: int = 1000) -> list[int]:
    """Return the numbers, from 1, of the lines that contain the text, in any case."""
    needle, start = query.casefold(), 0
    found: list[int] = []
    while len(found) < limit:
        lines = list(log.lines(start, 10_000))
        if not lines:
            break
        found += [one.number + 1 for one in lines if needle in ansi.plain(one.text.decode(errors="replace")).casefold()]
        start += len(lines)
    return found[:limit]


def complete(log: StepLog) -> int:
    """Count the lines that have their break: what a follower may show for good."""
    count, size = log.line_count, log.size
    return count if not size or log.read(size - 1, 1) == b"\n" else count - 1
