"""The one place that narrows queries to what an actor may see.

Every read of a row that belongs to a tenant goes through `Scope` or through `visible`. What an actor may not see does
not exist for them: NotFound, with the same words as for what is not there.
"""

import json
from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, and_, false

from stepwell.errors import NotFound
from stepwell.store.store import Store
from stepwell.store.tables import Repository
from stepwell.tenants.actors import Action, Actor


def visible(actor: Actor, tenant: Any, full_name: Any | None = None) -> ColumnElement[bool]:
    """Return the condition that a row is of a tenant of the actor.

    `tenant` is the row's column with the tenant's name, `full_name` the one with the repository's full name. A table
    without the latter is closed to an actor whose token is for one repository.
    """
    if not actor.tenants:
        return false()
    inside: ColumnElement[bool] = tenant.in_(actor.tenants)
    if not actor.repository:
        return inside
    return false() if full_name is None else and_(inside, full_name == actor.repository)


def visible_sql(actor: Actor, tenant: str, full_name: str) -> tuple[str, list[str]]:
    """Return the same condition as SQL with its values; both expressions are ours."""
    if not actor.tenants:
        return "0", []
    inside = f"{tenant} IN ({','.join('?' * len(actor.tenants))})"
    if not actor.repository:
        return inside, [*actor.tenants]
    return f"{inside} AND {full_name} = ?", [*actor.tenants, actor.repository]


_REPOSITORY = (
    "SELECT id, tenant, name, description, default_branch, protected, created_by, created_at, keep_artifacts_days "
    "FROM repositories WHERE "
)


class Scope:
    """Finds repositories for actors."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def repository(self, actor: Actor, tenant: str, name: str, action: Action = "read") -> Repository:
        """Return the repository; NotFound when the actor may not see it, Denied when `action` is not theirs."""
        missing = NotFound(f"There is no '{tenant}/{name}', or you may not see it.")
        if not actor.may("read", tenant, name):
            raise missing
        found = self._store.rows(f"{_REPOSITORY} tenant = ? AND name = ?", (tenant, name))
        if not found:
            raise missing
        actor.require(action, tenant, name)
        return _repository(found[0])

    def repositories(self, actor: Actor, tenant: str | None = None) -> list[Repository]:
        """Return the repositories that the actor may see, by name."""
        condition, values = visible_sql(actor, "tenant", "tenant || '/' || name")
        if tenant is not None:
            condition, values = f"{condition} AND tenant = ?", [*values, tenant]
        return [
            _repository(row) for row in self._store.rows(f"{_REPOSITORY} {condition} ORDER BY tenant, name", values)
        ]


def _repository(row: Sequence[Any]) -> Repository:
    id_, tenant, name, description, default_branch, protected, created_by, created_at, days = row
    return Repository(
        id=id_, tenant=tenant, name=name, description=description, default_branch=default_branch,
        protected=json.loads(protected), created_by=created_by, created_at=created_at, keep_artifacts_days=days,
    )  # fmt: skip
