"""A step's log as HTML: numbered lines in pages of 500.

A page begins without knowing the whole log before it: the colours in force there are taken from the hundred lines
above, which bounds the work at any place of a log of any length. Up to 5,000 lines are sent whole, as pages that the
browser lays out only when they come into view; above that, only the first lines, the page asked for and, while the log
grows, the last one, and the others when they are scrolled to.
"""

import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from html import escape
from typing import Protocol

from markupsafe import Markup

from stepwell_web import ansi, times
from stepwell_web.logsearch import Found, is_error

PAGE = 500
WHOLE = 5_000
FIRST = 50
"""Lines of a longer log that are there at once: as many as screens have, and each one more is painted later."""
STRETCH = 10_000
"""So many lines out of sight are one place in the document: it has not to hold one for each page of them."""
LOOK_BACK = 100
_SEARCHED = 20_000
QUOTED = 50
NO_LINES = range(0)
_FOLD = re.compile(r"(?:\x1b\[[\d;]*m)*(?:::|##\[)(?:(?P<begins>group)(?:::|\])(?P<title>.*)|endgroup(?:::|\]))")
"""Lines by which tools say that the ones between belong together, as GitHub's and Azure's runners read them."""


_FOLDS = frozenset("\x1b:#")
"""What such a line begins with."""


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

    @property
    def fifties(self) -> int:
        """How many fifties of lines to leave room for."""
        return -(-(self.end - self.start + 1) // 50)


def chunks(log: StepLog, slug: str, count: int, hits: range = NO_LINES, *, grows: bool = False) -> list[Chunk]:
    """Cut a log of `count` lines into pages; the lines of `hits`, counted from 1, are there at once and pointed out."""
    pages = [(at, min(at + PAGE, count)) for at in range(0, count, PAGE)]
    if count <= WHOLE:
        return [Chunk(at + 1, end, page(log, slug, at, end - at, hits)) for at, end in pages]
    wanted = {(n - 1) // PAGE * PAGE for n in (hits[:1] or ())} | ({pages[-1][0]} if grows else set())
    if 0 not in wanted:
        pages[:1], wanted = [(0, FIRST), (FIRST, PAGE)], wanted | {0}
    pages = _stretched(pages, wanted)
    return [Chunk(at + 1, end, page(log, slug, at, end - at, hits) if at in wanted else None) for at, end in pages]


def _stretched(pages: Sequence[tuple[int, int]], wanted: Collection[int]) -> list[tuple[int, int]]:
    """Join the pages of each stretch of which none is wanted."""
    cut, count, places = {at // STRETCH for at in wanted}, pages[-1][1], list[tuple[int, int]]()
    for at, end in pages:
        if at // STRETCH in cut or (at // STRETCH + 1) * STRETCH > count:
            places.append((at, end))
        elif at % STRETCH == 0:
            places.append((at, at + STRETCH))
    return places


def page(log: StepLog, slug: str, start: int, count: int = PAGE, hits: range = NO_LINES) -> Markup:
    """Render `count` lines from line `start`, counted from 0."""
    back = min(LOOK_BACK, start)
    lines = list(log.lines(start - back, back + count))
    return render(lines[back:], slug, style_after(lines[:back]), hits)[0]


def style_after(lines: Iterable[Line]) -> ansi.Style:
    """Return the colours in force after these lines."""
    style = ansi.PLAIN
    for line in lines:
        if b"\x1b" in line.text:
            style = ansi.render(line.text.decode(errors="replace"), style)[1]
    return style


def render(
    lines: Iterable[Line], slug: str, style: ansi.Style = ansi.PLAIN, hits: range = NO_LINES
) -> tuple[Markup, ansi.Style]:
    """Render lines, those of `hits` pointed out; returns them with the style that the next line starts with."""
    anchor = escape(slug)
    parts: list[str] = []
    at, clock = -1.0, ""
    for line in lines:
        text = line.text.decode(errors="replace")
        if line.at != at:  # lines come in batches
            at, clock = line.at, times.clock(line.at)
        fold = _FOLD.match(text) if text[:1] in _FOLDS and not line.note else None
        if line.note:
            html, kind = escape(ansi.plain(text), quote=False), "note"
        elif fold:
            (html, style), kind = ansi.render(fold["title"] or "", style), "group" if fold["begins"] else "endgroup"
        else:
            (html, style), kind = ansi.render(text, style), ""
        n = line.number + 1
        kind = f"{kind} hit".strip() if n in hits else kind
        kind = f' class="{kind}"' if kind else ""
        if fold:
            kind += f' data-at="{line.at:.3f}"'
        if n == hits.start and len(hits) > 1:  # where a link to all of them leads
            html = f'<i id="{anchor}:{n}-{hits[-1]}"></i>{html}'
        parts.append(f'<li id="{anchor}:{n}" data-n="{n}"{kind}><time>{clock}</time>{html}</li>')
    return Markup("".join(parts)), style  # noqa: S704


def first_error(log: StepLog, count: int) -> int | None:
    """Return the number, from 1, of the first line like an error; of a very long log only the end is read."""
    start = max(0, count - _SEARCHED)
    for line in log.lines(start, _SEARCHED):
        if not line.note and is_error(ansi.plain(line.text.decode(errors="replace"))):
            return line.number + 1
    return None


def quoted(log: StepLog, slug: str, found: Found, href: str) -> Markup:
    """Render the first lines that were found as links, for browsers that cannot point them out by themselves."""
    line = Markup('<li data-n="{n}"><a href="{href}&amp;from={n}#{slug}:{n}">{text}</a></li>')
    shown = (one for n in found.lines[:QUOTED] for one in log.lines(n - 1, 1))
    return Markup("").join(
        line.format(n=one.number + 1, href=href, slug=slug, text=ansi.plain(one.text.decode(errors="replace")).strip())
        for one in shown
    )


def complete(log: StepLog) -> int:
    """Count the lines that have their break: what a follower may show for good."""
    count, size = log.line_count, log.size
    return count if not size or log.read(size - 1, 1) == b"\n" else count - 1
