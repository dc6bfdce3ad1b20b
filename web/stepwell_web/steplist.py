"""The list of steps: siblings of a matrix as one row that unfolds, as the graph draws them in one box."""

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from markupsafe import Markup

from stepwell.ci.views import StepView
from stepwell_web import times
from stepwell_web.graph import SIBLINGS, stem, telling
from stepwell_web.icons import state_icon
from stepwell_web.runview import Row
from stepwell_web.templating import state_word


@dataclass(frozen=True)
class Item:
    """A row, or a group of them under a name; `row` of a group tells the most telling state and the whole time."""

    row: Row
    members: Sequence[Row] = ()
    id: str = ""
    open: bool = False
    summary: str = ""  # of a group, in words: "3 passed, 1 failed"

    @property
    def folded(self) -> int:
        """How many steps a phone hides with it at first."""
        if self.row.folded:
            return len(self.members) or 1
        return sum(member.folded for member in self.members) if self.open else 0


def listed(steps: Sequence[StepView], rows: Sequence[Row]) -> list[Item]:
    """Put rows into groups; `rows` end with one for each step, in order."""
    groups: dict[tuple[str, tuple[str, ...]], list[Row]] = defaultdict(list)
    places = [(stem(step.name), step.needs) for step in steps]
    own = rows[len(rows) - len(steps) :]
    for place, row in zip(places, own, strict=True):
        groups[place].append(row)
    items = [Item(row) for row in rows[: len(rows) - len(steps)]]
    told: set[tuple[str, tuple[str, ...]]] = set()
    used: set[str] = set()
    for place, row in zip(places, own, strict=True):
        if len(groups[place]) < SIBLINGS:
            items.append(Item(row))
        elif place not in told:
            told.add(place)
            items.append(_group(place[0], groups[place], used))
    return items


def html(items: Sequence[Item]) -> Markup:
    """Write the entries of the list. In code, for there may be hundreds: a template takes ten times as long."""
    return Markup("".join(_entry(item) for item in items))  # noqa: S704


def _entry(item: Item) -> str:
    opening = _opening(item.row.folded)
    if not item.members:
        return f"{opening}{_link(item.row)}</li>"
    inside = item.open and not item.row.folded  # one that is unfolded by hand shows all it has
    members = "".join(f"{_opening(inside and row.folded)}{_link(row)}</li>" for row in item.members)
    return (
        f'{opening}<details class="step-group" id="{escape(item.id)}"{" open" if item.open else ""}>'
        f'<summary class="step" data-row title="{escape(item.summary)}">{_line(item.row, 0)}</summary>\n'
        f"<ol>{members}</ol></details></li>"
    )


def _opening(folded: bool) -> str:
    return '<li class="is-folded">' if folded else "<li>"


def _link(row: Row) -> str:
    current = ' aria-current="true"' if row.selected else ""
    return f'<a class="step" href="{escape(row.href)}" data-step data-row{current}>{_line(row, row.tries)}</a>'


def _line(row: Row, tries: int) -> str:
    said = ""
    if row.reused:
        said = f" <small>reused from #{row.reused}</small>"
    elif row.origin:
        said = f" <small>from #{row.origin}</small>"
    elif row.again:
        said = " <small>run again</small>"
    elif tries > 1:
        said = f" <small>try {tries}</small>"
    since = f' data-since="{row.since}"' if row.since else ""
    bar = (
        f'<svg class="axis" aria-hidden="true"><rect class="is-{row.state}" x="{row.start / 10:g}%" '
        f'width="{row.width / 10:g}%"/></svg>'
        if row.width
        else ""
    )
    return (
        f'{state_icon(row.state, label=row.word)}<span class="step-name">{escape(row.name)}{said}</span>'
        f'<span class="step-time"{since}>{escape(row.time)}</span>\n{bar}'
    )


def _group(name: str, members: Sequence[Row], used: set[str]) -> Item:
    first = min(members, key=lambda member: telling(member.state))
    placed = [member for member in members if member.width]
    start = min((member.start for member in placed), default=0)
    end = max((member.start + member.width for member in placed), default=0)
    begun = [member.since for member in members if member.since]
    length = max((member.length or 0.0 for member in members), default=0.0)
    slug = re.sub(r"\W+", "-", name).strip("-") or "steps"
    while slug in used:
        slug += "-"
    used.add(slug)
    row = Row(
        f"{name} × {len(members)}", "", first.state, state_word(first.state), times.duration(length) if length else "",
        min(begun) if begun else None, start, end - start, 0, False, all(member.folded for member in members),
    )  # fmt: skip
    return Item(row, members, f"group-{slug}", any(member.selected for member in members), _summary(members))


def _summary(members: Sequence[Row]) -> str:
    states = sorted({member.state for member in members}, key=telling)
    return ", ".join(f"{sum(member.state == state for member in members)} {state}" for state in states)
