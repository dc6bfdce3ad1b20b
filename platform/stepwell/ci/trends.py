"""Speed and reliability of pipelines: what their last runs took, and how many of them passed."""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import groupby
from statistics import median
from typing import Any

from sqlalchemy import func, select

from stepwell.ci.history import RUNS, Filter, narrowed, summary_of
from stepwell.ci.views import RunSummary
from stepwell.store.store import Store
from stepwell.tenants.actors import Actor
from stepwell.tenants.scope import visible

RUNS_SHOWN = 30
PIPELINES_SHOWN = 12
LOOKED_AT = 1000
"""Newest runs that are looked at, so that the price does not grow with the history."""
_JUDGED = frozenset({"passed", "failed", "diverged"})


@dataclass(frozen=True)
class Trend:
    """A pipeline's last runs, the oldest first, and what they tell; None where there is nothing to tell yet."""

    scope: str
    pipeline: str
    runs: tuple[RunSummary, ...]
    median_seconds: float | None  # of those that passed, from their start to their end, without waits for people
    pass_rate: float | None  # passed of those that passed, failed or diverged; a cancelled run says nothing

    @property
    def passed(self) -> int:
        """How many passed."""
        return sum(run.state == "passed" for run in self.runs)

    @property
    def judged(self) -> int:
        """How many came to a result."""
        return sum(run.state in _JUDGED for run in self.runs)


class Trends:
    """Reads trends."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def of(self, actor: Actor, tenant: str = "", repository: str = "", branch: str = "") -> list[Trend]:
        """Return a trend for each pipeline of the newest runs, the one that ran last first."""
        mine = select(RUNS.c.id, RUNS.c.metadata, RUNS.c.scope, RUNS.c.created_at)
        mine = mine.where(visible(actor, RUNS.c.tenant, RUNS.c.scope))
        order = RUNS.c.number.desc() if repository else RUNS.c.created_at.desc()  # as there is an index
        newest = narrowed(mine, Filter(tenant, repository)).order_by(order).limit(LOOKED_AT).subquery()
        pipeline = func.json_extract(newest.c.metadata, "$.pipeline")
        place = func.row_number().over(
            partition_by=(newest.c.scope, pipeline), order_by=(newest.c.created_at.desc(), newest.c.id.desc())
        )
        whole = func.json_extract(newest.c.metadata, "$.parent").is_(None)  # what a run created is but a part of it
        ranked: Any = select(newest.c.id, place.label("place")).where(pipeline != "", whole)
        if branch:
            ranked = ranked.where(func.json_extract(newest.c.metadata, "$.branch") == branch)
        ranked = ranked.subquery()
        query = select(RUNS).join(ranked, ranked.c.id == RUNS.c.id).where(ranked.c.place <= RUNS_SHOWN)
        return _trends(summary_of(row) for row in self._store.select(query))


def _trends(runs: Iterable[RunSummary]) -> list[Trend]:
    ordered = sorted(runs, key=lambda run: (run.scope, run.pipeline, run.created_at, run.id))
    trends = [trend_of(tuple(group)) for _, group in groupby(ordered, lambda run: (run.scope, run.pipeline))]
    return sorted(trends, key=lambda trend: -trend.runs[-1].created_at)[:PIPELINES_SHOWN]


def trend_of(runs: tuple[RunSummary, ...]) -> Trend:
    """Tell the trend of one pipeline's runs, the oldest first; there is at least one."""
    took = [run.worked(run.ended_at) for run in runs if run.state == "passed" and run.ended_at]
    judged = sum(run.state in _JUDGED for run in runs)
    rate = sum(run.state == "passed" for run in runs) / judged if judged else None
    return Trend(runs[-1].scope, runs[-1].pipeline, runs, median(took) if took else None, rate)
