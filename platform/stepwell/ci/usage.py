"""How many runs a tenant's repositories have begun lately, what those that have ended took, and what is kept of them.

The first is read from the newest part of the list of runs, the others from what stepwell.ci.metering has summed up.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TypeVar

from sqlalchemy import func, select
from sqlmodel import col

from stepwell.ci.history import RUNS
from stepwell.store.store import Store
from stepwell.store.tables import UsageMonth, UsagePlace
from stepwell.tenants.actors import Actor
from stepwell.tenants.scope import visible

DAYS = 30
Summed = TypeVar("Summed", UsageMonth, UsagePlace)


@dataclass(frozen=True)
class RepositoryUsage:
    """Runs that one repository has begun in the last DAYS, by state. `-`: the tenant's plans."""

    repository: str
    states: Mapping[str, int]

    @property
    def runs(self) -> int:
        """All of them."""
        return sum(self.states.values())

    def count(self, *states: str) -> int:
        """Those in one of the states."""
        return sum(self.states.get(state, 0) for state in states)


@dataclass(frozen=True)
class MonthUsage:
    """What the runs of a repository that ended in a month ("2026-11", UTC) took, and what is kept of them in bytes."""

    repository: str
    month: str
    runs: int
    isolate_seconds: float
    container_seconds: float
    layers: int
    logs: int
    artifacts: int

    @property
    def seconds(self) -> float:
        """Time of attempts in isolates and in containers."""
        return self.isolate_seconds + self.container_seconds


@dataclass(frozen=True)
class DiskUsage:
    """What a repository takes on disk, in bytes, as far as it is measured. `-`: the tenant's plans."""

    repository: str
    git: int = 0
    layers: int = 0
    logs: int = 0
    artifacts: int = 0
    caches: int = 0
    snapshots: int = 0

    @property
    def bytes(self) -> int:
        """All of it."""
        return self.git + self.layers + self.logs + self.artifacts + self.caches + self.snapshots


class Usage:
    """Counts runs."""

    def __init__(self, store: Store, now: Callable[[], float] = time.time) -> None:
        self._store = store
        self._now = now

    def of(self, actor: Actor, tenant: str) -> list[RepositoryUsage]:
        """Return the usage of each repository that has begun a run, the busiest first. Raises NotFound."""
        actor.require("read", tenant, actor.repository.partition("/")[2])
        since = self._now() - DAYS * 86_400.0
        query = (
            select(RUNS.c.scope, RUNS.c.state, func.count())
            .where(visible(actor, RUNS.c.tenant, RUNS.c.scope), RUNS.c.tenant == tenant, RUNS.c.created_at >= since)
            .group_by(RUNS.c.scope, RUNS.c.state)
        )
        found: dict[str, dict[str, int]] = {}
        with self._store.read() as session:
            for scope, state, count in session.execute(query):
                found.setdefault(scope.partition("/")[2], {})[state] = count
        usage = [RepositoryUsage(name, states) for name, states in found.items()]
        return sorted(usage, key=lambda one: (-one.runs, one.repository))

    def months(self, actor: Actor, tenant: str) -> list[MonthUsage]:
        """Return what the runs of each repository took, the newest month first. Raises NotFound."""
        found = self._rows(actor, tenant, UsageMonth)
        months = [
            MonthUsage(
                row.repository, row.month, row.runs, row.isolate_seconds, row.container_seconds,
                row.layers, row.logs, row.artifacts,
            )
            for row in found
        ]  # fmt: skip
        return sorted(sorted(months, key=lambda one: one.repository), key=lambda one: one.month, reverse=True)

    def disk(self, actor: Actor, tenant: str) -> list[DiskUsage]:
        """Return what each repository takes on disk, the largest first. Raises NotFound."""
        sums: dict[str, DiskUsage] = {}
        for place in self._rows(actor, tenant, UsagePlace):
            sums[place.repository] = DiskUsage(
                place.repository, git=place.git, caches=place.caches, snapshots=place.snapshots
            )
        for month in self.months(actor, tenant):
            so_far = sums.get(month.repository, DiskUsage(month.repository))
            sums[month.repository] = replace(
                so_far, layers=so_far.layers + month.layers, logs=so_far.logs + month.logs,
                artifacts=so_far.artifacts + month.artifacts,
            )  # fmt: skip
        return sorted((one for one in sums.values() if one.bytes), key=lambda one: (-one.bytes, one.repository))

    def _rows(self, actor: Actor, tenant: str, table: type[Summed]) -> list[Summed]:
        actor.require("read", tenant, actor.repository.partition("/")[2])
        columns = col(table.tenant), col(table.repository)
        query = select(table).where(visible(actor, columns[0], columns[0] + "/" + columns[1]), columns[0] == tenant)
        with self._store.read() as session:
            return list(session.execute(query).scalars())
