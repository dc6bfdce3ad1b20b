"""What changed since the last green run, in words and rows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from urllib.parse import quote

from markupsafe import Markup

from stepwell.ci.changes import ChangesSince
from stepwell.ci.comparison import Difference, StepChange
from stepwell.ci.views import RunSummary, RunView, StepView
from stepwell_web import runview, stepbars, times
from stepwell_web.icons import state_icon
from stepwell_web.templating import state_word

NOTABLE_SECONDS, NOTABLE_PART = 1.0, 0.2
"""A step is told to be slower or faster by at least this much, and this part of what it took."""
_ENDS = frozenset({"passed", "failed", "cancelled"})


@dataclass(frozen=True)
class Side:
    """A step in one of the runs."""

    state: str
    word: str
    time: str
    href: str


@dataclass(frozen=True)
class ChangeRow:
    """A step in both; `pace` in words when it is notable, `slower` then."""

    name: str
    before: Side | None
    after: Side | None
    pace: str
    slower: bool
    differences: Sequence[Difference]
    first: bool

    @property
    def changed(self) -> bool:
        """Say whether there is anything to tell."""
        return bool(self.pace or self.differences)


@dataclass(frozen=True)
class ChangesPage:
    """All that the page shows."""

    sentence: str
    told: Sequence[tuple[str, ChangeRow]]  # what to look at first, and why
    rows: Sequence[ChangeRow]  # those that are otherwise
    same: Sequence[ChangeRow]
    python: tuple[str, str] | None

    @property
    def plain(self) -> Markup:
        """The rows of those that are the same. Written in code, for there may be hundreds."""
        return Markup("".join(  # noqa: S704
            f'<tr><th scope="row">{escape(row.name)}</th><td>{_shown(row.before)}</td><td>{_shown(row.after)}</td>'
            "<td></td></tr>"
            for row in self.same
        ))  # fmt: skip


def _shown(side: Side | None) -> str:
    if side is None:
        return '<span class="of-none">not there</span>'
    icon = state_icon(side.state, label=side.word)
    return f'<a href="{escape(side.href)}">{icon}<span class="num">{escape(side.time or side.word)}</span></a>'


def page(view: RunView, found: ChangesSince) -> ChangesPage:
    """Show a comparison."""
    here, there = runview.slugs(view.steps), runview.slugs(found.green_steps)
    rows = [_row(view.summary, found, change, here, there) for change in found.steps]
    then, now = found.python
    first = next((row for row in rows if row.first), None)
    failed = next((row for row in rows if row.after and row.after.state == "failed"), None)
    told = [("The first step that differs is", first), ("The first step that failed is", failed)]
    return ChangesPage(
        sentence=sentence(view, found),
        told=[(why, row) for n, (why, row) in enumerate(told) if row and not (n and row is first)],
        rows=[row for row in rows if row.changed], same=[row for row in rows if not row.changed],
        python=(then, now) if then and now and then != now else None,
    )  # fmt: skip


def sentence(view: RunView, found: ChangesSince) -> str:
    """Say in one sentence what happened since: "3 commits in 5 files; 12s slower: 1m 16s instead of 1m 04s.".

    Times are without waits for people and events, which say nothing of what changed.
    """
    run, commits, green = view.summary, found.commits, found.green
    if commits.gone:
        said = "The green run's commit is not in the repository any more"
    elif green.sha == run.sha:
        said = "The same commit"
    else:
        files = len(commits.paths.paths)
        more = "" if commits.paths.complete else "more than "
        said = f"{_many(commits.count, 'commit')}, {more}{_many(files, 'file')} changed"
    if not run.ended_at or not green.ended_at or run.state != "passed":
        return f"{said}."
    (then, all_then), (now, all_now) = _lengths(green, found.green_steps), _lengths(run, view.steps)
    pace = _pace(now - then, then)
    without = " without waits" if (then, now) != (all_then, all_now) else ""
    if not pace:
        return f"{said}; as fast as then: {times.duration(now)}{without}."
    return f"{said}; {pace}: {times.duration(now)} instead of {times.duration(then)}{without}."


def _lengths(run: RunSummary, steps: Sequence[StepView]) -> tuple[float, float]:
    """How long a run took without waits and with them."""
    begin, end = run.started_at or run.created_at, run.ended_at or 0.0
    return end - begin - stepbars.waited(steps, begin, end), end - begin


def _many(n: int, word: str) -> str:
    return f"{n:,} {word}{'' if n == 1 else 's'}"


def _pace(by: float, before: float) -> str:
    if abs(by) < NOTABLE_SECONDS or abs(by) < before * NOTABLE_PART:
        return ""
    return f"{times.duration(abs(by))} {'slower' if by > 0 else 'faster'}"


def _row(
    run: RunSummary, found: ChangesSince, change: StepChange, here: Mapping[str, str], there: Mapping[str, str]
) -> ChangeRow:
    by = change.slower_by
    before = change.before.seconds if change.before else None
    return ChangeRow(
        name=change.name, before=_side(found.green, change.before, there), after=_side(run, change.after, here),
        pace=_pace(by, before or 0.0) if by is not None else "", slower=bool(by and by > 0),
        differences=change.differences, first=change is found.first,
    )  # fmt: skip


def _side(run: RunSummary, step: StepView | None, slugs: Mapping[str, str]) -> Side | None:
    if step is None:
        return None
    time = times.duration(step.seconds) if step.state in _ENDS else ""
    return Side(step.state, state_word(step.state), time, f"{run.url}?step={quote(slugs[step.key])}")
