"""Usage as pictures with the numbers beside them: minutes by month, bytes by kind, and a table of repositories.

Neutral tones: colour means state, and how much was used is none. Each drawing has a table that says the same.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from markupsafe import Markup

from stepwell.ci.usage import DiskUsage, MonthUsage
from stepwell_web import times

MONTHS = 12
_PITCH, _BAR, _HEIGHT = 44, 28, 96
KINDS = {
    "git": "Repositories", "layers": "Layers of workspaces", "logs": "Logs", "artifacts": "Artifacts and results",
    "caches": "Caches", "snapshots": "Snapshots and images",
}  # fmt: skip


@dataclass(frozen=True)
class MonthRow:
    """A month of all repositories, in words."""

    name: str
    runs: int
    isolates: str
    containers: str
    kept: int


@dataclass(frozen=True)
class KindRow:
    """What is kept of one kind; `percent` is its share of the largest."""

    name: str
    bytes: int
    percent: float


@dataclass(frozen=True)
class PlaceRow:
    """A repository: its time this month and in all shown, and its bytes by kind."""

    repository: str
    runs: int
    month: str
    whole: str
    disk: DiskUsage


@dataclass(frozen=True)
class Shown:
    """The page's part about what was used. `sentence` says the most important of it."""

    sentence: str
    months: tuple[MonthRow, ...]
    drawing: Markup
    kinds: tuple[KindRow, ...]
    places: tuple[PlaceRow, ...]
    bytes: int


def shown(months: Sequence[MonthUsage], disk: Sequence[DiskUsage], now: float) -> Shown:
    """Tell a tenant's usage."""
    names = _last_months(now)
    by_month = {name: [one for one in months if one.month == name] for name in names}
    rows = tuple(_month(name, by_month[name]) for name in reversed(names) if by_month[name])
    sums = {kind: sum(getattr(one, kind) for one in disk) for kind in KINDS}
    largest = max(sums.values(), default=0)
    kinds = tuple(
        KindRow(word, sums[kind], 100 * sums[kind] / largest if largest else 0.0) for kind, word in KINDS.items()
    )
    whole = sum(sums.values())
    return Shown(
        _sentence(by_month[names[-1]], whole), rows, _draw(names, by_month), kinds,
        tuple(_places(months, disk, names)), whole,
    )  # fmt: skip


def _sentence(month: Sequence[MonthUsage], kept: int) -> str:
    isolates, containers = _seconds(month, "isolate_seconds"), _seconds(month, "container_seconds")
    steps = f"{minutes(isolates)} of steps in isolates and {minutes(containers)} in containers" if month else "no steps"
    return f"This month: {steps}. On disk now: {times.size(kept)}."


def _last_months(now: float) -> list[str]:
    today = datetime.fromtimestamp(now, UTC)
    count = today.year * 12 + today.month - 1
    return [f"{n // 12:04d}-{n % 12 + 1:02d}" for n in range(count - MONTHS + 1, count + 1)]


def _seconds(months: Iterable[MonthUsage], name: str) -> float:
    return float(sum(getattr(one, name) for one in months))


def minutes(seconds: float) -> str:
    """Write time as it is accounted for: minutes, thousands apart; of less than one, its tenths."""
    value = seconds / 60
    if not value:
        return "0 min"
    return f"{value:,.0f} min" if value >= 10 else f"{value:.1f} min"


def _month(name: str, found: Sequence[MonthUsage]) -> MonthRow:
    kept = sum(one.layers + one.logs + one.artifacts for one in found)
    return MonthRow(
        said(name), sum(one.runs for one in found), minutes(_seconds(found, "isolate_seconds")),
        minutes(_seconds(found, "container_seconds")), kept,
    )  # fmt: skip


def said(month: str) -> str:
    """Write a month for people."""
    return f"{datetime.strptime(month, '%Y-%m').replace(tzinfo=UTC):%b %Y}"


def _places(months: Sequence[MonthUsage], disk: Sequence[DiskUsage], names: Sequence[str]) -> list[PlaceRow]:
    kept = {one.repository: one for one in disk}
    recent = [one for one in months if one.month in names]
    rows = []
    for repository in sorted({one.repository for one in recent} | set(kept)):
        mine = [one for one in recent if one.repository == repository]
        month = _seconds((one for one in mine if one.month == names[-1]), "seconds")
        whole = _seconds(mine, "seconds")
        told = PlaceRow(
            repository, sum(one.runs for one in mine), minutes(month), minutes(whole),
            kept.get(repository, DiskUsage(repository)),
        )  # fmt: skip
        rows.append((whole, told))
    return [told for _, told in sorted(rows, key=lambda row: (-row[0], -row[1].disk.bytes, row[1].repository))]


def _draw(names: Sequence[str], by_month: dict[str, list[MonthUsage]]) -> Markup:
    """Draw a bar for each month, containers at its foot and isolates on them."""
    isolates = [_seconds(by_month[name], "isolate_seconds") for name in names]
    containers = [_seconds(by_month[name], "container_seconds") for name in names]
    top = max((a + b for a, b in zip(isolates, containers, strict=True)), default=0.0)
    if not top:
        return Markup()
    parts = []
    for n, name in enumerate(names):
        x = n * _PITCH + (_PITCH - _BAR) / 2
        heavy, light = _HEIGHT * containers[n] / top, _HEIGHT * isolates[n] / top
        told = f"{said(name)}: {minutes(isolates[n])} in isolates, {minutes(containers[n])} in containers"
        parts.append(
            Markup(
                '<g><title>{}</title><rect class="heavy" x="{:g}" y="{:.1f}" width="{}" height="{:.1f}"/>'
                '<rect class="light" x="{:g}" y="{:.1f}" width="{}" height="{:.1f}"/>'
                '<rect class="none" x="{:g}" y="{}" width="{}" height="1"/>'
                '<text x="{:g}" y="{}">{}</text></g>'
            ).format(
                told,
                x,
                _HEIGHT - heavy,
                _BAR,
                heavy,
                x,
                _HEIGHT - heavy - light,
                _BAR,
                light,
                x,
                _HEIGHT,
                _BAR,
                x + _BAR / 2,
                _HEIGHT + 17,
                said(name)[:3],
            )
        )
    width, height = MONTHS * _PITCH, _HEIGHT + 22
    return Markup('<svg class="months" viewBox="0 0 {} {}" aria-hidden="true">{}</svg>').format(
        width, height, Markup("").join(parts)
    )
