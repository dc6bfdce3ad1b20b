"""The one place that narrows queries to what an actor may see.

Every read of a row that belongs to a tenant goes through `Scope` or through `visible`. What an actor may not see does
not exist for them: NotFound, with the same words as for what is not there.
"""

from typing import Any

from sqlalchemy import ColumnElement, and_, false
from sqlmodel import col, select

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


class Scope:
    """Finds repositories for actors."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def repository(self, actor: Actor, tenant: str, name: str, action: Action = "read") -> Repository:
        """Return the repository; NotFound when the actor may not see it, Denied when `action` is not theirs."""
        missing = NotFound(f"There is no '{tenant}/{name}', or you may not see it.")
        if not actor.may("read", tenant, name):
            raise missing
        query = select(Repository).where(Repository.tenant == tenant, Repository.name == name)
        with self._store.read() as session:
            found = session.exec(query).first()
        if found is None:
            raise missing
        actor.require(action, tenant, name)
        return found

    def repositories(self, actor: Actor, tenant: str | None = None) -> list[Repository]:
        """Return the repositories that the actor may see, by name."""
        full_name = col(Repository.tenant) + "/" + col(Repository.name)
        query = select(Repository).where(visible(actor, col(Repository.tenant), full_name))
        if tenant is not None:
            query = query.where(Repository.tenant == tenant)
        with self._store.read() as session:
            return list(session.exec(query.order_by(col(Repository.tenant), col(Repository.name))))
