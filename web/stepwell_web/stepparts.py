"""The parts of a run's page that show all its steps: graph, list, legend; kept while nothing about them can change.

What is kept belongs to a run, never to who looks: its page has found the run for its visitor before it asks here, and
nothing in these parts depends on the visitor.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from markupsafe import Markup

from stepwell.ci.expected import Expected
from stepwell.ci.remembered import Remembered
from stepwell.ci.views import RunView, StepView
from stepwell_web import graph, runview, steplist

KEPT = 128
"""Runs that are over, each with one of its steps chosen, whose parts are kept: 100 kB for 200 steps."""
ROOM = 32 * 1024 * 1024
"""Characters of all that is kept."""
MOST_SHOWN = 1000
"""Steps that list and graph show; a run may have fifty times as many, and its page must not take a minute."""
FEW = 20
"""Runs with fewer steps are drawn at each look: it costs less than to keep them."""


@dataclass(frozen=True)
class Parts:
    """`folded` is how many steps a phone hides at first; `left` how many are in no list, as there are too many."""

    graph: Markup
    steps: Markup
    legend: Sequence[tuple[str, int]]
    folded: int
    left: int


class StepParts:
    """Draws them."""

    def __init__(self) -> None:
        self._kept: Remembered[Parts] = Remembered(KEPT, weigh=lambda one: len(one.graph) + len(one.steps), room=ROOM)

    def of(self, view: RunView, chosen: StepView | None, now: float, expected: Expected | None) -> Parts:
        """Draw the parts of a run that the visitor may see."""
        run = view.summary
        if not run.finished or view.restart_of is not None or len(view.steps) < FEW:
            return _drawn(view, chosen, now, expected)
        key = "\n".join((run.id, str(run.seq), run.url, str(bool(view.log_size)), chosen.key if chosen else ""))
        return self._kept.of(key, lambda: _drawn(view, chosen, now, expected))


def _drawn(view: RunView, chosen: StepView | None, now: float, expected: Expected | None) -> Parts:
    names, shown = runview.slugs(view.steps), _shown(view, chosen)
    nodes = runview.nodes(shown, chosen, now, expected, names)
    items = steplist.listed(shown.steps, runview.rows(shown, chosen, now, names))
    drawn = graph.draw(nodes, f"Steps of run {view.summary.number}") if len(nodes) > 1 and view.steps else Markup("")
    folded, left = sum(item.folded for item in items), len(view.steps) - len(shown.steps)
    return Parts(drawn, steplist.html(items), runview.legend(view), folded, left)


def _shown(view: RunView, selected: StepView | None) -> RunView:
    """Leave out steps where there are too many: what does not simply pass stays, and the newest."""
    if len(view.steps) <= MOST_SHOWN:
        return view
    half = MOST_SHOWN // 2
    telling = [step.key for step in view.steps if step.state != "passed"][:half]
    kept = {*telling, *(step.key for step in view.steps[-half:])} | ({selected.key} if selected else set())
    return replace(view, steps=tuple(step for step in view.steps if step.key in kept))
