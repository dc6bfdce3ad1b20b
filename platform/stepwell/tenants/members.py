"""Who belongs to a tenant, and as what."""

from collections.abc import Callable
from dataclasses import dataclass

from sqlmodel import Session, col, select

from stepwell.errors import Conflict, Invalid, NotFound
from stepwell.store.store import Store
from stepwell.store.tables import Membership, Person
from stepwell.tenants.actors import ROLES, Actor
from stepwell.tenants.audit import Audit


@dataclass(frozen=True)
class MemberView:
    """A person with a role in a tenant."""

    name: str
    title: str
    role: str


class Members:
    """Reads and changes memberships."""

    def __init__(self, store: Store, audit: Audit, now: Callable[[], float]) -> None:
        self._store = store
        self._audit = audit
        self._now = now

    def list(self, actor: Actor, tenant: str) -> list[MemberView]:
        """Return the members by name."""
        actor.require("read", tenant)
        query = select(Person, Membership).join(Membership).where(Membership.tenant == tenant)
        with self._store.read() as session:
            rows = session.exec(query.order_by(col(Person.name)))
            return [MemberView(person.name, person.title, member.role) for person, member in rows]

    def put(self, actor: Actor, tenant: str, person: str, role: str) -> None:
        """Give a person a role, instead of the one they have."""
        actor.require("own", tenant)
        if role not in ROLES:
            raise Invalid(f"Role {role!r} does not exist. Use one of: {', '.join(ROLES)}.")
        with self._store.write() as session:
            row = self._person(session, person)
            member = session.get(Membership, (tenant, row.id))
            if member is None:
                session.add(Membership(tenant=tenant, person=row.id, role=role, created_at=self._now()))
            else:
                self._keep_an_owner(session, member, role)
                member.role = role
            self._audit.add(session, actor, tenant, "member.put", person, role=role)

    def remove(self, actor: Actor, tenant: str, person: str) -> None:
        """Take a person's role away."""
        actor.require("own", tenant)
        with self._store.write() as session:
            member = session.get(Membership, (tenant, self._person(session, person).id))
            if member is None:
                raise NotFound(f"{person!r} is no member of {tenant!r}.")
            self._keep_an_owner(session, member, "")
            session.delete(member)
            self._audit.add(session, actor, tenant, "member.remove", person)

    @staticmethod
    def _person(session: Session, name: str) -> Person:
        row = session.exec(select(Person).where(Person.name == name)).first()
        if row is None:
            raise NotFound(f"There is no person {name!r}. Add them first.")
        return row

    @staticmethod
    def _keep_an_owner(session: Session, member: Membership, role: str) -> None:
        query = select(Membership).where(Membership.tenant == member.tenant, Membership.role == "owner")
        if member.role == "owner" and role != "owner" and len(session.exec(query).all()) == 1:
            raise Conflict(f"{member.tenant!r} would have no owner any more. Make somebody else owner first.")
