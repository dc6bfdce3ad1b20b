"""The parts of a run's page that show all its steps: graph, list, legend; kept while nothing about them can change.

What is kept belongs to a run, never to who looks: its page has found the run for its visitor before it asks here, and
nothing in these parts depends on the visitor.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from stepwell.ci.expected import Expected
from stepwell.ci.remembered import Remembered
from stepwell.ci.views import RunView, StepView
from stepwell_web import graph, runview, steplist

KEPT = 128
"""Runs that are over, each with one of its steps chosen, whose parts are kept: up to 100 kB each."""
FEW = 20
"""Runs with fewer steps are drawn at each look: it costs less than to keep them."""


@dataclass(frozen=True)
class Parts:
    """`folded` is how many steps a phone hides at first."""

    graph: Markup
    steps: Markup
    legend: Sequence[tuple[str, int]]
    folded: int


class StepParts:
    """Draws them."""

    def __init__(self) -> None:
        self._kept: Remembered[Parts] = Remembered(KEPT)

    def of(self, view: RunView, chosen: StepView | None, now: float, expected: Expected | None) -> Parts:
        """Draw the parts of a run that the visitor may see."""
        run = view.summary
        if not run.finished or view.restart_of is not None or len(view.steps) < FEW:
            return _drawn(view, chosen, now, expected)
        key = "\n".join((run.id, str(run.seq), run.url, str(bool(view.log_size)), chosen.key if chosen else ""))
        return self._kept.of(key, lambda: _drawn(view, chosen, now, expected))


def _drawn(view: RunView, chosen: StepView | None, now: float, expected: Expected | None) -> Parts:
    nodes = runview.nodes(view, chosen, now, expected)
    items = steplist.listed(view.steps, runview.rows(view, chosen, now))
    drawn = graph.draw(nodes, f"Steps of run {view.summary.number}") if len(nodes) > 1 and view.steps else Markup("")
    return Parts(drawn, steplist.html(items), runview.legend(view), sum(item.folded for item in items))
