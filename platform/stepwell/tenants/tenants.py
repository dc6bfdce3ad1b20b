"""The room's door: tenants themselves, and the parts that look after people, ways in and secrets."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from sqlmodel import Session, col, select

from stepwell.errors import Conflict, Denied
from stepwell.store.store import Store
from stepwell.store.tables import Membership, Person, Tenant
from stepwell.tenants.actors import Actor
from stepwell.tenants.audit import Audit
from stepwell.tenants.keys import Key
from stepwell.tenants.members import Members
from stepwell.tenants.names import check_name
from stepwell.tenants.people import People
from stepwell.tenants.quotas import Quotas
from stepwell.tenants.registries import Registries
from stepwell.tenants.scope import Scope
from stepwell.tenants.secrets import Secrets
from stepwell.tenants.sessions import Sessions, SigninLinks
from stepwell.tenants.tokens import Tokens


@dataclass(frozen=True)
class TenantView:
    """A tenant as one of its members sees it."""

    name: str
    title: str
    role: str
    created_at: float


class Tenants:
    """Opens tenants; its parts, `people`, `members`, `tokens` and the others, do the rest."""

    def __init__(self, store: Store, key: Path, now: Callable[[], float] = time.time) -> None:
        self._store = store
        self._now = now
        self.audit = Audit(store, now)
        self.scope = Scope(store)
        self.people = People(store, self.audit, now)
        self.members = Members(store, self.audit, now)
        self.tokens = Tokens(store, self.scope, self.audit, now)
        self.sessions = Sessions(store, now)
        self.links = SigninLinks(store, now)
        self.quotas = Quotas(store, self.audit, self.scope, now)
        sealing = Key.load(key)
        self.secrets = Secrets(store, self.scope, self.audit, sealing, now)
        self.registries = Registries(store, self.audit, sealing, now)

    def bootstrap(self, tenant: str = "home", person: str = "admin") -> Person:
        """Make the first person, admin of the server and owner of a first tenant; later, return the first admin."""
        query = select(Person).where(col(Person.admin)).order_by(col(Person.created_at))
        with self._store.read() as session:
            first = session.exec(query).first()
        if first is not None:
            return first
        with self._store.write() as session:
            if (raced := session.exec(query).first()) is not None:
                return raced
            row = self.people.insert(session, person, "", admin=True)
            self._insert(session, Actor(person=row.id, name="stepwell"), tenant, "")
            return row

    def create(self, actor: Actor, name: str, title: str = "") -> TenantView:
        """Open a tenant whose owner is the actor. For admins of the server."""
        if not actor.admin:
            raise Denied("You may not create tenants. Ask an admin of this server.")
        with self._store.write() as session:
            row = self._insert(session, actor, name, title)
        return TenantView(row.name, row.title, "owner", row.created_at)

    def list(self, actor: Actor) -> list[TenantView]:
        """Return the actor's tenants by name."""
        query = select(Tenant).where(col(Tenant.name).in_(actor.tenants)).order_by(col(Tenant.name))
        with self._store.read() as session:
            return [
                TenantView(row.name, row.title, actor.roles[row.name], row.created_at) for row in session.exec(query)
            ]

    def get(self, actor: Actor, name: str) -> TenantView:
        """Return one tenant of the actor."""
        actor.require("read", name, actor.repository.partition("/")[2])
        return next(view for view in self.list(actor) if view.name == name)

    def _insert(self, session: Session, actor: Actor, name: str, title: str) -> Tenant:
        check_name(name, "tenant")
        if session.get(Tenant, name) is not None:
            raise Conflict(f"There is a tenant {name!r} already. Choose another name.")
        row = Tenant(name=name, title=title, created_at=self._now())
        session.add(row)
        session.flush()
        session.add(Membership(tenant=name, person=actor.person, role="owner", created_at=self._now()))
        self.audit.add(session, actor, name, "tenant.create", name)
        return row
