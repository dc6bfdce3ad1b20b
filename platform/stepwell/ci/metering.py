"""Metering: what runs took and what is kept of them, counted when they have ended, a few at a time.

Minutes are those for which attempts of `step.run`, `step.read` and `step.image` held a place, read from the journal of
each run once. A mark says which run was counted last; it moves in the transaction that counts, so that a crash counts
none twice and forgets none. What is on disk is measured then, again once a day, and taken off when the run is removed.
Pages read sums of months and repositories only, however many runs there are.

A run that has not ended is not counted yet. Of one that began anew with `step.continue_as`, what its last round took.
"""

import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol

from sqlalchemy import and_, or_, select
from sqlmodel import Session, col

from stepwell.ci.history import JOURNAL, RUNS
from stepwell.repos.repositories import Repositories
from stepwell.store.caches import CacheFiles
from stepwell.store.packed import unpack
from stepwell.store.store import Store
from stepwell.store.tables import Repository, UsageMark, UsageMonth, UsagePlace, UsageRun
from stepwell.store.taken import taken

SETTLED_SECONDS = 5.0
"""Age of an end that is counted: whatever ended before it is in the database by then."""
AT_ONCE = 50
"""Runs that one transaction counts."""
BUDGET_SECONDS = 2.0
"""Of one call; the next minute goes on."""
AGAIN_SECONDS = 86_400.0
PLACES_AT_ONCE = 10
KINDS = ("layers", "logs", "artifacts")
_ENDS = frozenset({"done", "retry", "lost", "dropped"})


class RunFiles(Protocol):
    """Files that are kept by run."""

    def taken(self, run: str) -> int:
        """Return their bytes."""


class DiskOfRunner(Protocol):
    """What a runner keeps on disk, in bytes: layers of each run, snapshots of repositories by full name. Both block."""

    def layers(self, runs: Sequence[str]) -> Sequence[int]: ...

    def snapshots(self) -> Mapping[str, int]: ...


class PlaceFiles(Protocol):
    """What is kept of a repository, by its id, beside its runs."""

    def git(self, repository: str) -> int: ...

    def caches(self, tenant: str, repository: str) -> int: ...


@dataclass(frozen=True)
class FilesOfRepositories:
    """Implements PlaceFiles."""

    repositories: Repositories
    cached: CacheFiles

    def git(self, repository: str) -> int:
        """Count the repository itself."""
        return taken([self.repositories.path(repository)])[0]

    def caches(self, tenant: str, repository: str) -> int:
        """Count what its steps have saved; keys may share one content."""
        return sum({one.digest: one.bytes for one in self.cached.keys(f"{tenant}/{repository}")}.values())


@dataclass(frozen=True)
class Took:
    """Seconds for which attempts of a run held a place."""

    isolates: float = 0.0
    containers: float = 0.0


def took(entries: Iterable[tuple[int, float, str, str, Any]]) -> Took:
    """Sum up a journal's (seq, at, type, key, data); data is needed of `created`, `continued` and `asked` only. Pure.

    What a restarted run has adopted was another run's work.
    """
    adopted = 0
    heavy: set[str] = set()
    begun: dict[str, float] = {}
    seconds = {False: 0.0, True: 0.0}

    def end(key: str, at: float) -> None:
        if (since := begun.pop(key, None)) is not None:
            seconds[key in heavy] += max(0.0, at - since)

    for seq, at, kind, key, data in entries:
        if kind in ("created", "continued"):
            adopted = int(((data or {}).get("ancestry") or {}).get("until") or 0) if kind == "created" else 0
        elif kind == "asked" and (data.get("kind") == "image" or (data.get("options") or {}).get("image")):
            heavy.add(key)
        elif kind == "started" and seq > adopted:
            begun[key] = at
        elif kind in _ENDS:
            end(key, at)
        elif kind == "ended":
            for open_key in list(begun):
                end(open_key, at)
    return Took(seconds[False], seconds[True])


class Meter:
    """Counts. Blocks; `count` is for one thread, `remove` for any."""

    def __init__(
        self, store: Store, logs: RunFiles, artifacts: RunFiles, places: PlaceFiles,
        *, runner: DiskOfRunner | None = None, now: Callable[[], float] = time.time,
    ) -> None:  # fmt: skip
        self._store = store
        self._logs = logs
        self._artifacts = artifacts
        self._places = places
        self._runner = runner
        self._now = now

    def count(self) -> int:
        """Count runs that have ended, measure again what is due; how many runs were counted."""
        until = time.monotonic() + BUDGET_SECONDS
        counted = 0
        while True:
            found, places = self._count_some()
            counted += found
            self._measure_places(places)
            if found < AT_ONCE or time.monotonic() > until:
                break
        self._measure_again()
        self._measure_places(self._stale_places())
        return counted

    def remove(self, run: str) -> None:
        """Take what is kept of a run off the sums: it is being removed. What it took stays."""
        with self._store.write() as session:
            row = session.get(UsageRun, run)
            if row is not None:
                self._set(session, row, (0, 0, 0))

    def _count_some(self) -> tuple[int, set[tuple[str, str]]]:
        ended = self._ended()
        if not ended:
            return 0, set()
        took_by = {run["id"]: self._took(run["id"]) for run in ended}
        kept = self._kept([run["id"] for run in ended])
        places: set[tuple[str, str]] = set()
        with self._store.write() as session:
            for run in ended:
                tenant, repository = run["tenant"], run["scope"].partition("/")[2]
                month = month_of(run["ended_at"])
                sums = self._month(session, tenant, repository, month)
                sums.runs += 1
                sums.isolate_seconds += took_by[run["id"]].isolates
                sums.container_seconds += took_by[run["id"]].containers
                row = UsageRun(run=run["id"], tenant=tenant, repository=repository, month=month, measured_at=0)
                self._set(session, row, kept[run["id"]])
                places.add((tenant, repository))
            last = ended[-1]
            session.merge(UsageMark(id=1, ended_at=last["ended_at"], run=last["id"]))
        return len(ended), places

    def _ended(self) -> list[Any]:
        columns = [RUNS.c[name] for name in ("id", "tenant", "scope", "ended_at")]
        query = select(*columns).where(RUNS.c.ended_at < self._now() - SETTLED_SECONDS)
        with self._store.read() as session:
            mark = session.get(UsageMark, 1)
            if mark is not None:
                same = and_(RUNS.c.ended_at == mark.ended_at, RUNS.c.id > mark.run)
                query = query.where(RUNS.c.ended_at >= mark.ended_at, or_(RUNS.c.ended_at > mark.ended_at, same))
            return list(session.execute(query.order_by(RUNS.c.ended_at, RUNS.c.id).limit(AT_ONCE)).mappings())

    def _took(self, run: str) -> Took:
        told = ("created", "asked", "started", "ended", *_ENDS)
        columns = [JOURNAL.c[name] for name in ("seq", "at", "type", "key", "data")]
        query = select(*columns).where(JOURNAL.c.run == run, JOURNAL.c.type.in_(told)).order_by(JOURNAL.c.seq)
        with self._store.read() as session:
            return took(
                (seq, at, kind, key, json.loads(unpack(data)) if kind in ("created", "asked") else None)
                for seq, at, kind, key, data in session.execute(query)
            )

    def _kept(self, runs: Sequence[str]) -> dict[str, tuple[int, int, int]]:
        layers = self._runner.layers(runs) if self._runner else [0] * len(runs)
        return {
            run: (size, self._logs.taken(run), self._artifacts.taken(run))
            for run, size in zip(runs, layers, strict=True)
        }

    def _month(self, session: Session, tenant: str, repository: str, month: str) -> UsageMonth:
        found = session.get(UsageMonth, (tenant, repository, month))
        if found is None:
            found = UsageMonth(tenant=tenant, repository=repository, month=month)
            session.add(found)
            session.flush()
        return found

    def _set(self, session: Session, row: UsageRun, kept: tuple[int, int, int]) -> None:
        """Write what a run keeps, and the difference into its month."""
        sums = self._month(session, row.tenant, row.repository, row.month)
        for kind, size in zip(KINDS, kept, strict=True):
            setattr(sums, kind, getattr(sums, kind) + size - getattr(row, kind))
            setattr(row, kind, size)
        row.measured_at = self._now()
        if any(kept):
            session.add(row)
        elif row in session:
            session.delete(row)

    def _measure_again(self) -> None:
        due = col(UsageRun.measured_at) < self._now() - AGAIN_SECONDS
        with self._store.read() as session:
            query = select(UsageRun.run).where(due).order_by(col(UsageRun.measured_at)).limit(AT_ONCE)  # type: ignore[call-overload]
            runs = list(session.execute(query).scalars())
        if not runs:
            return
        kept = self._kept(runs)
        with self._store.write() as session:
            for run in runs:
                row = session.get(UsageRun, run)
                if row is not None:  # not removed meanwhile
                    self._set(session, row, kept[run])

    def _stale_places(self) -> set[tuple[str, str]]:
        """Give repositories that were not measured lately, and rows of such as are there no more."""
        measured = {(row.tenant, row.repository): row.measured_at for row in self._rows()}
        with self._store.read() as session:
            known = [(one.tenant, one.name) for one in session.execute(select(Repository)).scalars()]
        gone = set(measured) - set(known) - {key for key in measured if key[1] == "-"}
        due = sorted((measured.get(key, 0.0), key) for key in known)
        stale = [key for at, key in due if at < self._now() - AGAIN_SECONDS]
        return gone | set(stale[:PLACES_AT_ONCE])

    def _rows(self) -> list[UsagePlace]:
        with self._store.read() as session:
            return list(session.execute(select(UsagePlace)).scalars())

    def _measure_places(self, places: set[tuple[str, str]]) -> None:
        if not places:
            return
        snapshots = self._runner.snapshots() if self._runner else {}
        for tenant, repository in sorted(places):
            query = select(Repository).where(col(Repository.tenant) == tenant, col(Repository.name) == repository)
            with self._store.read() as session:
                found = session.execute(query).scalar_one_or_none()
            git, caches = (self._places.git(found.id), self._places.caches(tenant, found.id)) if found else (0, 0)
            row = UsagePlace(
                tenant=tenant, repository=repository, git=git, caches=caches,
                snapshots=snapshots.get(f"{tenant}/{repository}", 0), measured_at=self._now(),
            )  # fmt: skip
            with self._store.write() as session:
                if found is None and not row.snapshots:
                    old = session.get(UsagePlace, (tenant, repository))
                    if old is not None:
                        session.delete(old)
                else:
                    session.merge(row)


def month_of(at: float) -> str:
    """Return the month of a moment in UTC, as "2026-11"."""
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m}"
