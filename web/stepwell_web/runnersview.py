"""A runner in words and small drawings: cells that are taken, free, or not for this tenant to know."""

from dataclasses import dataclass
from typing import Literal, Protocol

from markupsafe import Markup

from stepwell.ci.runners import RunnerView, Standing
from stepwell.engine.present import CODE, Counted

MOST_CELLS = 24
"""Of which each stands for one; more are drawn as one bar."""
_CELL, _PITCH, _WIDE = 9, 12, 192
Tone = Literal["taken", "ready"]


class Room(Protocol):
    """What gauges are drawn of: a runner as one tenant sees it, or the whole server."""

    @property
    def used(self) -> Counted: ...

    @property
    def others(self) -> Counted | None: ...

    @property
    def standing(self) -> Standing: ...

    @property
    def turns(self) -> int: ...

    @property
    def steps(self) -> int: ...

    @property
    def per_tenant(self) -> int: ...


@dataclass(frozen=True)
class Gauge:
    """How much of something is taken. `told` says all that the drawing shows."""

    name: str
    number: str
    told: str
    drawing: Markup


@dataclass(frozen=True)
class Shown:
    """A runner as its page shows it."""

    view: RunnerView
    gauges: tuple[Gauge, ...]


def shown(view: RunnerView) -> Shown:
    """Tell a runner."""
    return Shown(view, gauges_of(view))


def gauges_of(view: Room) -> tuple[Gauge, ...]:
    """Tell how much of a runner is taken, and what stands ready."""
    used, others, standing = view.used, view.others, view.standing
    beside = others.isolates + others.containers if others else 0
    parts = [f"{used.isolates} in isolates, {used.containers} in containers"]
    if beside:
        parts.append(f"{beside} of other tenants")
    if view.per_tenant < view.steps:
        parts.append(f"at most {view.per_tenant} of one tenant")
    gauges = [
        _gauge("Steps", (used.isolates + used.containers, beside), view.steps, ", ".join(parts)),
        _gauge(
            "Code in isolates", (used.code, others.code if others else 0), view.turns,
            f"{others.code} of other tenants" if others and others.code else "",
        ),
    ]  # fmt: skip
    warm = sum(standing.warm.values())
    if standing.most_warm:
        more = "started ahead, waiting"
        if (first := standing.first_outputs) is not None:
            more += f"; first output of the last {first.steps} container steps after {_took(first.median)}"
            more += f", of 95 % within {_took(first.p95)}"
        gauges.append(_gauge("Warm containers", (warm, 0), standing.most_warm, more, "ready"))
    if others is not None and standing.wanted_blanks:
        gauges.append(_gauge("Blank isolates", (standing.blanks, 0), standing.wanted_blanks, "booted ahead", "ready"))
    return tuple(gauges)


def _took(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"


def _gauge(name: str, taken: tuple[int, int], most: int, more: str, tone: Tone = "taken") -> Gauge:
    drawing = _draw(*taken, max(most, sum(taken)), tone)
    return Gauge(name, f"{sum(taken)} of {most}", more, drawing)


def _draw(taken: int, beside: int, most: int, tone: Tone) -> Markup:
    if most > MOST_CELLS:
        width, other = _WIDE * taken / most, _WIDE * beside / most
        return Markup(
            '<svg class="cells" width="{}" height="{}" aria-hidden="true"><rect class="free" width="100%" height="{}" '
            'rx="2"/><rect class="{}" width="{:.1f}" height="{}" rx="2"/><rect class="beside" x="{:.1f}" '
            'width="{:.1f}" height="{}" rx="2"/></svg>'
        ).format(_WIDE, _CELL, _CELL, tone, width, _CELL, width, other, _CELL)
    kinds = [tone] * taken + ["beside"] * beside + ["free"] * (most - taken - beside)
    cells = Markup("").join(
        Markup('<rect class="{}" x="{}" y=".5" width="{}" height="{}" rx="2"/>').format(
            kind, n * _PITCH + 0.5, _CELL, _CELL
        )
        for n, kind in enumerate(kinds)
    )
    return Markup('<svg class="cells" width="{}" height="{}" aria-hidden="true">{}</svg>').format(
        most * _PITCH, _CELL + 1, cells
    )


def place(kind: str, image: str) -> str:
    """Say where something is executed."""
    if kind == "image":
        return "builds an image"
    if kind == "read":
        return "reads a file"
    return image or ("code in an isolate" if kind == CODE else "isolate")
