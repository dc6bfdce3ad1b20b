"""Deletion of repositories.

One transaction takes a repository away: its row, and all that gives power in its name, which are secrets, environments,
schedules, quotas, tokens for it alone, and scopes of tokens that lend something of it. It leaves a mark. What the mark
leads to goes after it: runs with their journals, logs and files, then the git directory, then what is kept beside
(trees, caches, images, declarations), the mark last, and with it rows of calls that had found the repository before it
went. So a crash leaves either the repository or a mark, and whoever starts next goes on with that. Until then its name
stays taken: a new repository must not find the runs of the old one.

Runs that go on keep it, and plans that stand on its files: what they hold would vanish under them. No run begins on it
beside the deletion, see beginnings; should one be found all the same, it is ended. A push or a schedule that finds the
repository gone is refused. A push that was let in before it went is told that nothing of it is kept.
"""

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain

from sqlalchemy import and_, or_, text
from sqlmodel import Session, col, delete, select

from stepwell.ci.beginnings import Beginnings
from stepwell.ci.history import RUNS
from stepwell.ci.retention import RUNS_AT_ONCE, Files, Remove
from stepwell.errors import Conflict
from stepwell.repos.repositories import Repositories
from stepwell.store.removals import removals_held
from stepwell.store.store import Store
from stepwell.store.tables import (
    Environment,
    PushIntent,
    Quota,
    RemovedRepository,
    Repository,
    Schedule,
    Secret,
    Token,
)
from stepwell.tenants import Actor, Tenants

BUDGET_SECONDS = 2.0
"""Of one call that clears; the next minute goes on."""
NAMED = 5
"""Runs that a refusal names."""
_LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True)
class Removed:
    """A repository that is gone."""

    id: str
    tenant: str
    name: str

    @property
    def scope(self) -> str:
        """`acme/api`: the scope of its runs."""
        return f"{self.tenant}/{self.name}"


@dataclass(frozen=True)
class Leftovers:
    """What is done with runs: their files, removal of those that have ended, the end of one that has not.

    `forget` removes what is kept beside runs and git; False when some has to be asked for again.
    """

    files: Sequence[Files]
    remove: Remove
    terminate: Callable[[str], object]
    forget: Callable[[Removed], bool]


class Removal:
    """Deletes repositories. Blocks; call from any thread but the engine's."""

    def __init__(
        self, store: Store, tenants: Tenants, repositories: Repositories, beginnings: Beginnings, left: Leftovers,
        *, now: Callable[[], float] = time.time,
    ) -> None:  # fmt: skip
        self._store = store
        self._tenants = tenants
        self._repositories = repositories
        self._beginnings = beginnings
        self._left = left
        self._now = now

    def going_on(self, actor: Actor, tenant: str, name: str) -> list[str]:
        """Name the runs that keep a repository, "#12" or "acme/- #3": those that have not ended. For owners."""
        row = self._tenants.scope.repository(actor, tenant, name, "own")
        inside = or_(RUNS.c.scope == row.full_name, RUNS.c.metadata.contains(row.id))
        with self._store.read() as session:
            return _open(session, row, inside)

    def remove(self, actor: Actor, tenant: str, name: str) -> None:
        """Delete a repository for good. For owners. Raises Conflict when a run of it has not ended."""
        row = self._tenants.scope.repository(actor, tenant, name, "own")
        with self._beginnings.none_on(row.id):
            if runs := self.going_on(actor, tenant, name):
                raise _refusal(row, runs)
            self._take_away(actor, Removed(row.id, tenant, name))
        self._tenants.quotas.reload()
        self.clear()

    def _take_away(self, actor: Actor, gone: Removed) -> None:
        with self._store.write() as session:
            tokens = self._erase(session, gone)
            session.execute(delete(Repository).where(col(Repository.id) == gone.id))
            mark = RemovedRepository(id=gone.id, tenant=gone.tenant, name=gone.name, removed_at=self._now())
            session.add(mark)
            self._tenants.audit.add(session, actor, gone.tenant, "repository.remove", gone.name, tokens_revoked=tokens)

    def _erase(self, session: Session, gone: Removed) -> list[str]:
        """Remove what gives power in a repository's name; the names of tokens that were revoked."""
        for table in (Schedule, Environment, PushIntent, Secret):
            session.execute(delete(table).where(col(table.repository) == gone.id))
        session.execute(delete(Quota).where(col(Quota.tenant) == gone.tenant, col(Quota.repository) == gone.name))
        return self._disarm(session, gone.tenant, gone.name)

    def _disarm(self, session: Session, tenant: str, name: str) -> list[str]:
        """Revoke the tokens for a repository alone, and take from others what they lend of it; names of the former."""
        revoked = []
        alive = select(Token).where(col(Token.tenant) == tenant, col(Token.revoked_at).is_(None))
        lent = (f"secret:{name}/", f"environment:{name}/")
        for token in session.exec(alive):
            if token.repository == name:
                token.revoked_at = self._now()
                revoked.append(token.name)
            elif any(scope.startswith(lent) for scope in token.scopes):
                token.scopes = [scope for scope in token.scopes if not scope.startswith(lent)]
        return revoked

    def clear(self) -> None:
        """Go on with what deleted repositories have left, for a while. Called at start, each minute, and after each."""
        try:
            with removals_held(self._store.database.parent):
                until = self._now() + BUDGET_SECONDS
                with self._store.read() as session:
                    marks = session.exec(select(RemovedRepository)).all()
                for mark in marks:
                    self._clear_safely(Removed(mark.id, mark.tenant, mark.name), until)
        except Conflict:  # a backup is being made; the next minute will do
            return

    def _clear_safely(self, gone: Removed, until: float) -> None:
        try:
            self._clear(gone, until)
        except Exception:  # whatever holds one up, as a git process at work in it, must not hold up the others
            _LOGGER.exception("What is left of %s could not be removed; this is tried again in a minute.", gone.scope)

    def _clear(self, gone: Removed, until: float) -> None:
        while runs := self._runs(gone.scope, RUNS.c.ended_at.is_not(None)):
            for run in runs:
                for files in self._left.files:
                    files.remove(run)
            if not self._left.remove(runs) or self._now() > until:
                return
        if late := self._runs(gone.scope, RUNS.c.ended_at.is_(None)):
            for run in late:
                self._left.terminate(run)
            return
        self._repositories.delete(gone.id)
        if self._left.forget(gone):
            with self._store.write() as session:
                self._erase(session, gone)
                session.execute(text("DELETE FROM numbers WHERE scope = :scope"), {"scope": gone.scope})
                session.execute(delete(RemovedRepository).where(col(RemovedRepository.id) == gone.id))
            self._tenants.quotas.reload()

    def _runs(self, scope: str, which: object) -> list[str]:
        query = select(RUNS.c.id).where(RUNS.c.scope == scope, which).limit(RUNS_AT_ONCE)  # type: ignore[arg-type]
        with self._store.read() as session:
            return list(session.execute(query).scalars())


def _open(session: Session, row: Repository, inside: object) -> list[str]:
    condition = and_(RUNS.c.tenant == row.tenant, RUNS.c.ended_at.is_(None), inside)  # type: ignore[arg-type]
    query = select(RUNS.c.scope, RUNS.c.number).where(condition).order_by(RUNS.c.scope, RUNS.c.number).limit(NAMED + 1)
    return [
        f"#{number}" if scope == row.full_name else f"{scope} #{number}" for scope, number in session.execute(query)
    ]


def _refusal(row: Repository, runs: Sequence[str]) -> Conflict:
    more = [" and others"] if len(runs) > NAMED else []
    named = "".join(chain([", ".join(runs[:NAMED])], more))
    return Conflict(
        f"Runs of {row.full_name} have not ended: {named}. Cancel them or let them end, then delete the repository."
    )
