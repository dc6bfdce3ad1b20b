"""Quotas: how many runs of a tenant, or of one of its repositories, may go on at the same time.

Who has none of their own has the server's. They are asked for at every turn of every run, so all of them are kept in
memory; changes are rare and go through here.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from sqlmodel import col, select

from stepwell.errors import Denied, Invalid, NotFound
from stepwell.store.store import Store
from stepwell.store.tables import Quota, Tenant
from stepwell.tenants.actors import Actor
from stepwell.tenants.audit import Audit
from stepwell.tenants.scope import Scope

MOST_RUNS = 10_000


@dataclass(frozen=True)
class QuotaView:
    """A quota. Empty repository: of the tenant."""

    repository: str
    runs: int


class Quotas:
    """Keeps quotas. `runs_of` may be called from any thread and does not block."""

    def __init__(self, store: Store, audit: Audit, scope: Scope, now: Callable[[], float]) -> None:
        self.changed: Callable[[], None] = lambda: None
        self._store = store
        self._scope = scope
        self._audit = audit
        self._now = now
        self._known = self._read()

    def runs_of(self, tenant: str, repository: str = "") -> int | None:
        """Return how many runs may go on, None without a quota of their own."""
        return self._known.get((tenant, repository))

    def list(self, actor: Actor, tenant: str) -> list[QuotaView]:
        """Return the tenant's quotas: its own first, then those of its repositories that the actor may see, by name."""
        if not actor.administers:
            actor.require("read", tenant, actor.repository.partition("/")[2])
        known = sorted((name, runs) for (owner, name), runs in self._known.items() if owner == tenant)
        return [QuotaView(*one) for one in known if actor.administers or actor.may("read", tenant, one[0])]

    def put(self, actor: Actor, tenant: str, runs: int | None, repository: str = "") -> None:
        """Set a quota; None takes it away. A tenant's is for admins of the server, a repository's for its maintainers.

        Raises Invalid, Denied, NotFound.
        """
        if runs is not None and (type(runs) is not int or not 1 <= runs <= MOST_RUNS):
            raise Invalid(f"runs has value {runs!r}. Use a whole number from 1 to {MOST_RUNS:,}, or none for no quota.")
        self._check(actor, tenant, repository)
        with self._store.write() as session:
            row = session.get(Quota, (tenant, repository))
            if runs is not None:
                session.merge(Quota(tenant=tenant, repository=repository, runs=runs, updated_at=self._now()))
            elif row is not None:
                session.delete(row)
            self._audit.add(session, actor, tenant, "quota.put", repository or tenant, runs=runs)
        self.reload()

    def reload(self) -> None:
        """Read them again, after a transaction that changed some beside others."""
        self._known = self._read()
        self.changed()

    def _check(self, actor: Actor, tenant: str, repository: str) -> None:
        if repository:
            self._scope.repository(actor, tenant, repository, "manage")
        elif not actor.administers:
            actor.require("read", tenant)
            raise Denied(f"You may not set the quota of {tenant!r}. Ask an admin of this server.")
        with self._store.read() as session:
            if session.get(Tenant, tenant) is None:
                raise NotFound(f"There is no '{tenant}', or you may not see it.")

    def _read(self) -> Mapping[tuple[str, str], int]:
        with self._store.read() as session:
            rows = session.exec(select(Quota).order_by(col(Quota.tenant), col(Quota.repository)))
            return {(row.tenant, row.repository): row.runs for row in rows}
