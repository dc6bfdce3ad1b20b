"""Retention: which runs have been over for so long that they go, and their removal, a few at a time.

What is removed is written down first (audit), then the files go, then the rows, journal and all, in one transaction. So
rows lead back to whatever a crash leaves: the run is found again and removed in one of the next minutes.

A run stays whatever its age when
  it has not ended, or a run that created it has not;
  it is one of the newest of its repository: so numbers are never given twice, not even by a rebuild;
  it is the last passed run of its pipeline on the default branch, with which later ones compare what has changed.
"""

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any, Protocol

from sqlalchemy import String, and_, literal_column, or_, select
from sqlmodel import Session

from stepwell.ci.history import JOURNAL, RUNS
from stepwell.errors import Conflict
from stepwell.settings import Settings
from stepwell.store.packed import unpack
from stepwell.store.removals import removals_held
from stepwell.store.store import Store
from stepwell.store.tables import Repository
from stepwell.store.told import told
from stepwell.tenants.actors import Actor
from stepwell.tenants.audit import Audit

DAY_SECONDS = 86_400.0
LOOKED_AT = 1_000
"""Runs looked at each minute; the next minute goes on behind them."""
RUNS_AT_ONCE, ENTRIES_AT_ONCE = 20, 2_000
"""What one transaction removes at most, unless a single run is larger: the engine waits meanwhile."""
DEEPEST = 16
"""Runs above a run that are asked whether they have ended."""
_SELF = Actor(name="stepwell")

Remove = Callable[[Sequence[str]], Sequence[str]]
"""Removes rows and other files of runs that have ended; gives the ids of those that are gone."""


class Files(Protocol):
    """Files that are kept by run."""

    def remove(self, run: str) -> None:
        """Remove those of a run; there may be none. Raises OSError."""


@dataclass(frozen=True)
class Policy:
    """How long runs are kept after their end, and how many of each repository whatever their age.

    `shorter` is for repositories that keep theirs for fewer days, by their full names.
    """

    days: float
    newest: int
    shorter: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def of(cls, settings: Settings) -> "Policy":
        """Read it from the settings."""
        return cls(settings.keep_runs_days, settings.keep_runs)

    @property
    def fewest_days(self) -> float:
        """The age below which nothing goes."""
        return min([self.days, *self.shorter.values()])

    def days_of(self, scope: str) -> float:
        """Return for how many days those of a scope are kept."""
        return min(self.days, self.shorter.get(scope, self.days))


@dataclass(frozen=True)
class Over:
    """A run that ended long ago. `entries` is the length of its journal."""

    ended_at: float
    id: str
    tenant: str
    scope: str
    number: int
    state: str
    entries: int
    metadata: str


class Aged:
    """Finds the runs that a policy lets go. Reads only."""

    def __init__(self, store: Store, policy: Policy) -> None:
        self.policy = policy
        self.store = store

    def page(self, now: float, after: Over | None, limit: int) -> tuple[list[Over], Over | None]:
        """Look at the next runs that ended long enough ago, oldest end first: those that go, and the last looked at.

        The second is None when there are none behind.
        """
        columns = [RUNS.c[name] for name in ("ended_at", "id", "tenant", "scope", "number", "state", "seq", "metadata")]
        query = select(*columns).where(RUNS.c.ended_at < now - self.policy.fewest_days * DAY_SECONDS)
        if after is not None:
            same = and_(RUNS.c.ended_at == after.ended_at, RUNS.c.id > after.id)
            query = query.where(RUNS.c.ended_at >= after.ended_at, or_(RUNS.c.ended_at > after.ended_at, same))
        with self.store.read() as session:
            rows = session.execute(query.order_by(RUNS.c.ended_at, RUNS.c.id).limit(limit)).all()
            looked_at = [Over(*row) for row in rows]
            newest: dict[str, int] = {}
            old = [run for run in looked_at if run.ended_at < now - self.policy.days_of(run.scope) * DAY_SECONDS]
            doomed = [run for run in old if self._goes(session, run, newest)]
        return doomed, looked_at[-1] if len(looked_at) == limit else None

    def all(self, now: float) -> Iterator[Over]:
        """Give every run that goes."""
        after: Over | None = None
        while True:
            doomed, after = self.page(now, after, LOOKED_AT)
            yield from doomed
            if after is None:
                return

    def _goes(self, session: Session, run: Over, newest: dict[str, int]) -> bool:
        if run.scope not in newest:
            newest[run.scope] = self._lowest_of_newest(session, run.scope)
        if run.number >= newest[run.scope]:
            return False
        return not _last_passed(session, run) and _above_have_ended(session, run.id)

    def _lowest_of_newest(self, session: Session, scope: str) -> int:
        query = select(RUNS.c.number).where(RUNS.c.scope == scope).order_by(RUNS.c.number.desc())
        found = session.execute(query.offset(self.policy.newest - 1).limit(1)).scalar_one_or_none()
        return 0 if found is None else int(found)


def _last_passed(session: Session, run: Over) -> bool:
    metadata = json.loads(run.metadata)
    repository = session.get(Repository, metadata.get("repository") or "")
    branch, pipeline = metadata.get("branch"), metadata.get("pipeline")
    if run.state != "passed" or repository is None or not pipeline or branch != repository.default_branch:
        return False
    same = [literal_column(told(name), String) == value for name, value in (("branch", branch), ("pipeline", pipeline))]
    later = select(RUNS.c.id).where(
        RUNS.c.scope == run.scope, RUNS.c.number > run.number, RUNS.c.state == "passed", *same
    )
    return session.execute(later.limit(1)).first() is None


def _above_have_ended(session: Session, run: str) -> bool:
    """Say whether the runs that created a run, directly or not, have ended or are gone."""
    for _ in range(DEEPEST):
        query = select(JOURNAL.c.data).where(JOURNAL.c.run == run).order_by(JOURNAL.c.seq).limit(1)
        first = session.execute(query).scalar()
        parent = (json.loads(unpack(first)) if first is not None else {}).get("parent")
        if parent is None:
            return True
        run = str(parent["run"])
        above = session.execute(select(RUNS.c.ended_at).where(RUNS.c.id == run)).first()
        if above is not None and above[0] is None:
            return False
    return True


class Retention:
    """Removes what the policy lets go, some of it at each call."""

    def __init__(
        self, aged: Aged, audit: Audit, files: Sequence[Files], remove: Remove, now: Callable[[], float] = time.time
    ) -> None:
        self._aged = aged
        self._audit = audit
        self._files = files
        self._remove = remove
        self._now = now
        self._after: Over | None = None
        self._stopping = False

    def stop(self) -> None:
        """Have a call under way end after what it is removing."""
        self._stopping = True

    def remove_some(self) -> int:
        """Remove the runs to go among the next that ended long ago; how many are gone."""
        try:
            with removals_held(self._aged.store.database.parent):
                return self._remove_page()
        except Conflict:  # a backup is being made; the next minute will do
            return 0

    def _remove_page(self) -> int:
        doomed, self._after = self._aged.page(self._now(), self._after, LOOKED_AT)
        gone = 0
        for batch in _batches(doomed):
            if self._stopping:
                break
            self._write_down(batch)
            for run in batch:
                for files in self._files:
                    files.remove(run.id)
            gone += len(self._remove([run.id for run in batch]))
        return gone

    def _write_down(self, batch: Sequence[Over]) -> None:
        policy = self._aged.policy
        of_scope = sorted(batch, key=lambda run: (run.tenant, run.scope, run.number))
        with self._aged.store.write() as session:
            for (tenant, scope), runs in groupby(of_scope, key=lambda run: (run.tenant, run.scope)):
                numbers = [run.number for run in runs]
                detail: dict[str, Any] = {"numbers": numbers, "after_days": policy.days}
                self._audit.add(session, _SELF, tenant, "runs.remove", scope, **detail)


def _batches(runs: Sequence[Over]) -> Iterator[list[Over]]:
    batch: list[Over] = []
    entries = 0
    for run in runs:
        if batch and (len(batch) == RUNS_AT_ONCE or entries + run.entries > ENTRIES_AT_ONCE):
            yield batch
            batch, entries = [], 0
        batch.append(run)
        entries += run.entries
    if batch:
        yield batch
