"""A pipeline's last runs as bars: height is duration, colour and shape the result, the newest at the right.

A bar above the line says how long the run worked, waits for people left out; the mark below it says how it ended, by
shape, for those who do not see colour or print without it. A passed run has no mark. The scale ends at twice the
median, so that one endless run does not press all others flat; a taller bar is drawn open at its top.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from markupsafe import Markup

from stepwell.ci.plans import NO_REPOSITORY
from stepwell.ci.trends import RUNS_SHOWN, Trend
from stepwell.ci.views import RunSummary
from stepwell_web import times
from stepwell_web.templating import state_word

PITCH, BAR, HEIGHT, LOWEST, FOOT = 10, 7, 36, 3, 11
TOP_OF_SCALE = 2.0
"""Times the median."""
_MARKS = {
    "failed": "M{0} {2}L{1} {3}M{0} {3}L{1} {2}",
    "diverged": "M{0} {2}L{1} {3}M{0} {3}L{1} {2}",
    "waiting": "M{4} {2}L{1} {5}L{4} {3}L{0} {5}Z",
    "paused": "M{0} {2}V{3}M{1} {2}V{3}",
    "cancelled": "M{0} {5}H{1}",
    "running": "M{0} {5}A2.5 2.5 0 1 1 {1} {5}A2.5 2.5 0 1 1 {0} {5}",
    "queued": "M{0} {5}h1.5m2 0H{1}",
}


@dataclass(frozen=True)
class TrendRow:
    """A pipeline's line in the table of trends; `href` leads to its runs."""

    name: str
    href: str
    bars: Markup
    spoken: str
    median: str
    rate: str
    judged: str


def row(trend: Trend, href: str, now: float, whole_name: bool = False) -> TrendRow:
    """Tell a trend in a drawing and words; `whole_name` says the repository, too."""
    repository = trend.scope.partition("/")[2]
    name = (
        f"{'plans' if repository == NO_REPOSITORY else repository} {trend.pipeline}" if whole_name else trend.pipeline
    )
    return TrendRow(
        name=name, href=href, bars=draw(trend, now), spoken=spoken(trend.runs),
        median=times.duration(trend.median_seconds) or "–",
        rate=f"{trend.pass_rate * 100:.0f} %" if trend.pass_rate is not None else "–",
        judged=f"{trend.passed} of {trend.judged}" if trend.judged else "no result yet",
    )  # fmt: skip


def spoken(runs: Sequence[RunSummary]) -> str:
    """Say in words what the bars show."""
    counts = Counter(run.state for run in runs)
    told = ", ".join(f"{n} {state}" for state, n in counts.most_common())
    return f"Last {len(runs)} runs: {told}." if len(runs) > 1 else f"One run: {told}."


def draw(trend: Trend, now: float) -> Markup:
    """Draw the bars. Each leads to its run for those who point; the list of runs does so for everybody."""
    took = [run.worked(now) for run in trend.runs]
    top = max(took)
    if trend.median_seconds:
        top = min(top, TOP_OF_SCALE * trend.median_seconds)
    width = RUNS_SHOWN * PITCH
    missing = RUNS_SHOWN - len(took)
    parts = [f'<svg class="bars" viewBox="0 0 {width} {HEIGHT + FOOT}" width="{width}" height="{HEIGHT + FOOT}" '
             'aria-hidden="true">']  # fmt: skip
    parts += [f'<rect class="none" x="{n * PITCH + 1}" y="{HEIGHT - 1}" width="{BAR}" height="1"/>'
              for n in range(missing)]  # fmt: skip
    for n, (run, seconds) in enumerate(zip(trend.runs, took, strict=True), missing):
        parts.append(_bar(run, seconds, top, n * PITCH + 1))
    return Markup("".join(parts) + "</svg>")  # noqa: S704


def _bar(run: RunSummary, seconds: float, top: float, x: int) -> str:
    height = max(float(LOWEST), HEIGHT * min(1.0, seconds / top)) if top else float(LOWEST)
    y = HEIGHT - height
    over = " over" if seconds > top else ""
    told = escape(f"#{run.number} {state_word(run.state)}, {times.duration(seconds)}: {run.title or run.message}")
    return (
        f'<a href="{escape(run.url)}" tabindex="-1"><title>{told}</title>'
        f'<rect class="reach" x="{x - 1}" width="{PITCH}" height="{HEIGHT + FOOT}"/>'
        f'<path class="bar is-{escape(run.state)}{over}" d="{_shape(x, y, bool(over))}"/>'
        f"{_mark(run.state, x)}</a>"
    )


def _shape(x: int, y: float, over: bool) -> str:
    right = x + BAR
    if over:  # two strokes at the top: it goes on beyond the scale
        return f"M{x} {HEIGHT}V6L{right} 3V{HEIGHT}ZM{x} 3.5V2.5L{right} -.5V.5Z"
    return f"M{x} {HEIGHT}V{y + 1.5:.1f}q0-1.5 1.5-1.5h{BAR - 3}q1.5 0 1.5 1.5V{HEIGHT}Z"


def _mark(state: str, x: int) -> str:
    shape = _MARKS.get(state)
    if shape is None:
        return ""
    left, right, upper, lower = x + 1, x + 6, HEIGHT + 3.5, HEIGHT + 8.5
    d = shape.format(left, right, upper, lower, (left + right) / 2, (upper + lower) / 2)
    return f'<path class="mark is-{escape(state)}" d="{d}"/>'
