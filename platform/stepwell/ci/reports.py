"""What the tests of a run came to: the reports of its steps, for whoever may see the run."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from stepwell.ci.junit import Case, Report, add_up, report_of_json
from stepwell.ci.runs import Runs
from stepwell.ci.views import RunView, StepView
from stepwell.errors import NotFound
from stepwell.store.blobs import BlobFiles
from stepwell.tenants.actors import Actor

REPORTS = 32
"""Reports that are kept for the next view."""


@dataclass(frozen=True)
class StepTests:
    """The tests of a step: their numbers by state, and each of them, failures first."""

    key: str
    step: str
    counts: Mapping[str, Any]
    cases: tuple[Case, ...]
    left: int  # that are counted only
    problems: tuple[tuple[str, str], ...]  # reports that could not be read, and why


class Reports:
    """Reads reports. Blocks; for any thread but the engine's."""

    def __init__(self, runs: Runs, blobs: BlobFiles) -> None:
        self._runs = runs
        self._blobs = blobs
        self._known = lru_cache(REPORTS)(self._read)

    def listed(self, actor: Actor, run_id: str, key: str | None = None) -> list[StepTests]:
        """Return those of a run, or of one of its steps. Raises NotFound, Unavailable."""
        view = self._runs.get(actor, run_id)
        if key is not None and all(step.key != key for step in view.steps):
            raise NotFound(f"Run #{view.summary.number} has no step {key!r}.")
        return [one for one in self.of(view) if key in (None, one.key)]

    def of(self, view: RunView) -> list[StepTests]:
        """Return those of a run that the caller has seen, in the order in which its steps were asked."""
        found = ((step, counts_of(step)) for step in view.steps)
        return [self._of(view.summary.id, step, counts) for step, counts in found if counts]

    def _of(self, run_id: str, step: StepView, counts: Mapping[str, Any]) -> StepTests:
        report = self._known(run_id, str(counts["id"]), int(counts["size"]))
        told = {name: value for name, value in counts.items() if name not in ("id", "size")}
        return StepTests(step.key, step.name, told, tuple(report.cases), report.left, tuple(report.problems))

    def _read(self, run_id: str, id: str, size: int) -> Report:
        return report_of_json(json.loads(b"".join(self._blobs.whole(run_id, id, size))))


def counts_of(step: StepView) -> Mapping[str, Any]:
    """Return the numbers of a step's tests; empty when it has no report."""
    counts: Mapping[str, Any] = (step.collected or {}).get("tests") or {}
    return counts


def counts(view: RunView) -> dict[str, Any]:
    """Return the numbers of all tests of a run; empty when it has no report."""
    return add_up(filter(None, map(counts_of, view.steps)))
