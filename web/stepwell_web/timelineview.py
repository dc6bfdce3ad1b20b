"""Where a run's time went, in words, shares and lanes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from urllib.parse import quote

from markupsafe import Markup

from stepwell.ci.timeline import KINDS, Kind, Lane, Span, Timeline
from stepwell.ci.views import RunView, StepView
from stepwell_web import runview, sourceview, times
from stepwell_web.templating import state_word
from stepwell_web.timeaxis import Axis

SLIVER = 0.25
"""Percent that a bar is wide at least, so that short ones are seen."""
WORTH_A_WORD = 0.03
"""Part of the whole that a kind must have to be named in the sentence."""
NAMES: Mapping[Kind, str] = {
    "work": "Work", "queued": "Queued", "retry": "Between tries", "person": "Waiting for a person",
    "wait": "Waiting for a time or an event", "paused": "Paused", "code": "Boot, replay and own code",
}  # fmt: skip
_SAID: Mapping[Kind, str] = {
    "queued": "{} queued", "retry": "{} passed between tries", "person": "{} waited for approval",
    "wait": "{} waited for a time or an event", "paused": "{} were paused",
    "code": "{} went into boot, replay and the code itself",
}  # fmt: skip


@dataclass(frozen=True)
class Bar:
    """A span on the axis; percent."""

    kind: Kind
    outcome: str
    left: float
    width: float
    told: str


@dataclass(frozen=True)
class Row:
    """A lane."""

    name: str
    href: str
    state: str
    word: str
    where: str
    where_href: str
    time: str
    bars: Sequence[Bar]

    @property
    def told(self) -> str:
        """Its bars in words."""
        return "; ".join(one.told for one in self.bars) or "Nothing yet"


def drawn(bars: Sequence[Bar]) -> Markup:
    """Draw bars. In code, for there may be hundreds."""
    parts = (
        f'<rect class="span of-{one.kind}{f" is-{one.outcome}" if one.outcome else ""}" x="{one.left}%" '
        f'width="{one.width}%"><title>{escape(one.told)}</title></rect>'
        for one in bars
    )
    return Markup("".join(parts))  # noqa: S704


@dataclass(frozen=True)
class Share:
    """A kind's part of the whole; percent."""

    kind: Kind
    name: str
    time: str
    percent: float
    left: float


@dataclass(frozen=True)
class Mark:
    """A line of the grid, or a fold with its width; percent."""

    left: float
    width: float
    label: str


@dataclass(frozen=True)
class TimelinePage:
    """All that the page shows."""

    sentence: str
    shares: Sequence[Share]
    run: Sequence[Bar]
    rows: Sequence[Row]
    ticks: Sequence[Mark]
    folds: Sequence[Mark]


def page(view: RunView, told: Timeline) -> TimelinePage:
    """Draw a timeline; `view` tells what became of its steps."""
    axis = Axis(told.stretches) if told.stretches else None
    if axis is None:
        return TimelinePage("Nothing has happened yet.", (), (), (), (), ())
    steps = {step.key: step for step in view.steps}
    slugs = runview.slugs(view.steps)
    folds = [piece for piece in axis.pieces if piece.folded]
    own = [span for span in told.stretches if span.kind in ("code", "paused") or _held(span, told)]
    return TimelinePage(
        sentence=sentence(told, view.summary.finished), shares=_shares(told), run=_bars(own, axis),
        rows=[_row(view, lane, steps.get(lane.key), slugs, axis) for lane in told.lanes],
        ticks=[Mark(tick.place, 0, ("+" if tick.from_fold else "") + _short(tick.after)) for tick in axis.ticks()],
        folds=[Mark(piece.left, piece.right - piece.left, _short(piece.end - piece.start)) for piece in folds],
    )  # fmt: skip


def _held(span: Span, told: Timeline) -> bool:
    """Say whether the run was held back before its code began."""
    return span.kind == "queued" and not any(one.start < span.end for lane in told.lanes for one in lane.spans)


def sentence(told: Timeline, over: bool) -> str:
    """Say in one sentence where the time went: "3.0s of 48s were work; 41s waited for approval"."""
    total = told.end - told.begin
    work = told.seconds.get("work", 0.0)
    said = f"{times.duration(work) if work else 'Nothing'} of {times.duration(total)} {_were(work)} work"
    said += "" if over else " so far"
    others = sorted(((n, kind) for kind, n in told.seconds.items() if kind != "work"), reverse=True)
    named = [_SAID[kind].format(times.duration(n)) for n, kind in others if total and n / total >= WORTH_A_WORD]
    said += f"; {_listed(named[:3])}." if named else "."
    if told.adopted:
        said += f" The first {times.duration(told.adopted)} were in the run that it was restarted from."
    return said


def _were(seconds: float) -> str:
    return "were" if seconds else "was"


def _listed(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def _shares(told: Timeline) -> list[Share]:
    total = told.end - told.begin
    found, left = [], 0.0
    for kind in KINDS:
        seconds = told.seconds.get(kind, 0.0)
        if seconds > 0:
            percent = seconds / total * 100
            found.append(Share(kind, NAMES[kind], times.duration(seconds), percent, left))
            left += percent
    return found


def _row(view: RunView, lane: Lane, step: StepView | None, slugs: Mapping[str, str], axis: Axis) -> Row:
    state = step.state if step else "queued"
    took = sum(span.end - span.start for span in lane.spans)
    url = view.summary.url
    return Row(
        name=lane.name, href=f"{url}?step={quote(slugs[lane.key])}" if step else url, state=state,
        word=state_word(state), where=step.where if step else "",
        where_href=sourceview.href(view.summary, step.where) if step else "",
        time=times.duration(took) if lane.spans else "", bars=_bars(lane.spans, axis),
    )  # fmt: skip


def _bars(spans: Sequence[Span], axis: Axis) -> list[Bar]:
    found = []
    for span in spans:
        left, right = axis.place(span.start), axis.place(span.end)
        width = max(right - left, SLIVER)
        attempt = f", attempt {span.attempt}" if span.attempt else ""
        told = f"{NAMES[span.kind]}{attempt}: {times.duration(span.end - span.start)}"
        told += f", {span.outcome}" if span.outcome else ""
        found.append(Bar(span.kind, span.outcome, round(min(left, 100 - width), 3), round(width, 3), told))
    return found


def _short(seconds: float) -> str:
    """Write a round time without what says nothing: `5m`, not `5m 00s`."""
    return times.duration(seconds).replace(" 00s", "").replace(" 00m", "").replace(".0s", "s")
