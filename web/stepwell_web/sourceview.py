"""A pipeline's source with its lines numbered, coloured, and told what became of the steps that they call."""

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from html import escape
from typing import Any
from urllib.parse import quote

from markupsafe import Markup
from pygments.token import Token

from stepwell.ci.views import RunSummary, RunView, StepView
from stepwell_web import runview, times
from stepwell_web.graph import stem, telling
from stepwell_web.templating import state_word

COLOURED_BYTES = 64 * 1024
"""Longer files come without colours: reading them as Python takes too long for a page."""
LINES = 5000
CHIPS = 3
"""More steps of one line than these are told together."""
_CLASSES = (
    (Token.Comment, "c"), (Token.Literal.String.Doc, "c"), (Token.Literal.String, "s"), (Token.Literal.Number, "n"),
    (Token.Keyword, "k"), (Token.Operator.Word, "k"), (Token.Name.Function, "f"), (Token.Name.Class, "f"),
    (Token.Name.Decorator, "f"),
)  # fmt: skip
_PLACE = re.compile(r"(?:\.stepwell/)?(.+):(\d+)")


@dataclass(frozen=True)
class Chip:
    """What became of a line's step, or of all its steps together."""

    label: str
    state: str
    word: str
    href: str
    time: str


@dataclass(frozen=True)
class SourceLine:
    """A line: `wrong` when the run's error names it."""

    number: int
    html: Markup
    chips: Sequence[Chip]
    wrong: bool


@dataclass(frozen=True)
class SourcePage:
    """One file, and the names of all."""

    file: str
    files: Sequence[tuple[str, str]]  # name, address
    lines: Sequence[SourceLine]
    left: int  # lines that are not shown


def href(run: RunSummary, where: str) -> str:
    """Address of a line of the source from a "file:line"; "" when it is none."""
    found = _PLACE.fullmatch(where)
    return f"{run.url}/source?file={quote(found[1])}#L{found[2]}" if found else ""


def page(view: RunView, files: Mapping[str, str], wanted: str, now: float) -> SourcePage | None:
    """Show a file, that of the run's entry when none is wanted; None when there is no such file."""
    file = wanted or view.entry.partition(":")[0] or next(iter(files), "")
    if file not in files:
        return None
    error = view.error or {}
    wrong = str(error.get("line") or "") if _same(str(error.get("file") or ""), file) else ""
    called = _called(view, file, now)
    shown = coloured(file, files[file])
    lines = [
        SourceLine(n, html, called.get(n, ()), str(n) == wrong) for n, html in enumerate(shown[:LINES], 1)
    ]  # fmt: skip
    names = [(name, f"{view.summary.url}/source?file={quote(name)}") for name in sorted(files)]
    return SourcePage(file, names, lines, max(0, len(shown) - LINES))


def _same(told: str, file: str) -> bool:
    return told.removeprefix(".stepwell/") == file


def _called(view: RunView, file: str, now: float) -> Mapping[int, Sequence[Chip]]:
    found: dict[int, list[StepView]] = defaultdict(list)
    for step in view.steps:
        place = _PLACE.fullmatch(step.where)
        if place and place[1] == file:
            found[int(place[2])].append(step)
    slugs = runview.slugs(view.steps)
    return {line: _chips(view.summary, steps, slugs, now) for line, steps in found.items()}


def _chips(run: RunSummary, steps: Sequence[StepView], slugs: Mapping[str, str], now: float) -> Sequence[Chip]:
    if len(steps) > CHIPS:
        first = min(steps, key=lambda step: telling(step.state))
        stems = {stem(step.name) for step in steps}
        label = f"{stems.pop()} × {len(steps)}" if len(stems) == 1 else f"{len(steps)} steps"
        return [Chip(label, first.state, state_word(first.state), f"{run.url}?step={quote(slugs[first.key])}", "")]
    return [
        Chip(step.name, step.state, state_word(step.state), f"{run.url}?step={quote(slugs[step.key])}",
             times.duration(runview.seconds_of(step, now)))
        for step in steps
    ]  # fmt: skip


@lru_cache(maxsize=64)
def coloured(file: str, text: str) -> Sequence[Markup]:
    """Give a file's lines as HTML: Python in colours, anything else plain."""
    if not file.endswith(".py") or len(text) > COLOURED_BYTES:
        return [Markup(escape(line)) for line in text.rstrip("\n").split("\n")]  # noqa: S704
    from pygments.lexers.python import PythonLexer  # its package loads the names of all languages

    lines: list[list[str]] = [[]]
    for kind, value in PythonLexer(stripnl=False, ensurenl=False).get_tokens(text):
        name = _class(kind)
        for n, part in enumerate(value.split("\n")):
            if n:
                lines.append([])
            if part:
                safe = escape(part)
                lines[-1].append(f'<span class="py-{name}">{safe}</span>' if name else safe)
    if lines and not lines[-1]:
        lines.pop()
    return [Markup("".join(line)) for line in lines]  # noqa: S704


def _class(kind: Any) -> str:
    return next((name for group, name in _CLASSES if kind in group), "")
