"""People and what they bring: roles in tenants, an optional password."""

from collections.abc import Callable
from typing import TYPE_CHECKING, cast

from sqlmodel import Session, select

from stepwell.errors import Conflict, Denied, Invalid, NotFound
from stepwell.store.store import Store
from stepwell.store.tables import Membership, Person
from stepwell.tenants.actors import ALLOWED, Actor, Role, Via
from stepwell.tenants.audit import Audit
from stepwell.tenants.keys import new_id
from stepwell.tenants.names import check_name

if TYPE_CHECKING:
    from pwdlib import PasswordHash

SHORTEST_PASSWORD = 10


class People:
    """Adds and finds people."""

    def __init__(self, store: Store, audit: Audit, now: Callable[[], float]) -> None:
        self._store = store
        self._audit = audit
        self._now = now

    def add(self, actor: Actor, name: str, title: str = "") -> Person:
        """Add a person, who then needs a role in a tenant. For admins of the server and owners of a tenant."""
        if not (actor.admin or any(actor.may("own", tenant) for tenant in actor.tenants)):
            raise Denied("You may not add people. Ask an owner of your tenant.")
        with self._store.write() as session:
            person = self.insert(session, name, title, admin=False)
            self._audit.add(session, actor, "", "person.add", name)
            return person

    def insert(self, session: Session, name: str, title: str, *, admin: bool) -> Person:
        """Write the person's row."""
        check_name(name, "person")
        if session.exec(select(Person).where(Person.name == name)).first() is not None:
            raise Conflict(f"There is a person {name!r} already. Choose another name.")
        person = Person(id=new_id(), name=name, title=title, admin=admin, created_at=self._now())
        session.add(person)
        session.flush()
        return person

    def by_name(self, name: str) -> Person | None:
        """Find a person."""
        with self._store.read() as session:
            return session.exec(select(Person).where(Person.name == name)).first()

    def actor(self, person: str, via: Via = "session") -> Actor:
        """Return the person, by id, as somebody who asks."""
        with self._store.read() as session:
            return actor_of(session, person, via)

    def set_password(self, actor: Actor, name: str, password: str) -> None:
        """Set the password of oneself, or as admin anybody's."""
        if len(password) < SHORTEST_PASSWORD:
            raise Invalid(f"The password has {len(password)} characters. Use at least {SHORTEST_PASSWORD}.")
        hashed = _hasher().hash(password)
        with self._store.write() as session:
            person = session.exec(select(Person).where(Person.name == name)).first()
            if person is None or (person.id != actor.person and not actor.admin):
                raise NotFound(f"There is no person {name!r} whose password you may set.")
            person.password = hashed
            self._audit.add(session, actor, "", "person.password", name)

    def check_password(self, name: str, password: str) -> Person:
        """Return the person whose password this is; Denied with the same words for every reason."""
        person = self.by_name(name)
        known = person.password if person is not None and person.password else _hasher().hash("no such person")
        right = _hasher().verify(password, known)
        if person is None or person.password is None or not right:
            raise Denied("Name or password is wrong.")
        return person


def actor_of(session: Session, person: str, via: Via) -> Actor:
    """Read the person's roles."""
    row = session.get(Person, person)
    if row is None:
        raise NotFound("There is no such person any more.")
    members = session.exec(select(Membership).where(Membership.person == person))
    roles = {member.tenant: cast(Role, member.role) for member in members if member.role in ALLOWED}
    return Actor(person=row.id, name=row.name, roles=roles, admin=row.admin, via=via)


def _hasher() -> "PasswordHash":
    from pwdlib import PasswordHash

    return PasswordHash.recommended()
