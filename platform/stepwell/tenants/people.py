"""People and what they bring: roles in tenants, an optional password."""

import threading
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from typing import TYPE_CHECKING, cast

from sqlmodel import Session, select

from stepwell.errors import Conflict, Denied, Invalid, NotFound, TryLater
from stepwell.store.store import Store
from stepwell.store.tables import Membership, Person
from stepwell.tenants.actors import ALLOWED, Actor, Role, Via
from stepwell.tenants.audit import Audit
from stepwell.tenants.keys import new_id
from stepwell.tenants.names import check_name

if TYPE_CHECKING:
    from pwdlib import PasswordHash

SHORTEST_PASSWORD, LONGEST_PASSWORD = 10, 1_000
MOST_WRONG = 10
"""Wrong passwords for a name in WRONG_SECONDS, after which none is looked at: links still sign in."""
WRONG_SECONDS = 300.0
_MOST_NAMES = 10_000
_HASHING = threading.BoundedSemaphore(2)
"""Checking a password costs 64 MiB, and anybody may ask for it."""
_ASKING = threading.BoundedSemaphore(8)
"""Who waits for that holds one of the web's threads, of which strangers must not take all."""


class People:
    """Adds and finds people."""

    def __init__(self, store: Store, audit: Audit, now: Callable[[], float]) -> None:
        self._store = store
        self._audit = audit
        self._now = now
        self._wrong: dict[str, list[float]] = {}  # name → moments of the last wrong passwords

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

    def set_password(self, actor: Actor, password: str) -> None:
        """Set one's own password. Denied for tokens, which would outlive their end by it."""
        if actor.via != "session":
            raise Denied("A password is set by its person, signed in with a browser. Tokens may not.")
        if not SHORTEST_PASSWORD <= len(password) <= LONGEST_PASSWORD:
            told = f"Use {SHORTEST_PASSWORD} to {LONGEST_PASSWORD}"
            raise Invalid(f"The password has {len(password)} characters. {told}.", "password")
        with _HASHING:
            hashed = _hasher().hash(password)
        with self._store.write() as session:
            person = session.get_one(Person, actor.person)
            person.password = hashed
            self._audit.add(session, actor, "", "person.password", person.name)

    def check_password(self, name: str, password: str) -> Person:
        """Return the person whose password this is; Denied with the same words for every reason.

        Raises TryLater after too many wrong ones, whether there is such a person or not, and when many sign in at once.
        """
        if not _ASKING.acquire(blocking=False):
            raise TryLater("Too many people sign in at this moment. Try again, or by a link: stepwell signin", 2)
        try:
            return self._checked(name, password)
        finally:
            _ASKING.release()

    def _checked(self, name: str, password: str) -> Person:
        name = name[:100]  # nobody's is longer, and it is kept for a while
        wrong = [at for at in self._wrong.get(name, ()) if at > self._now() - WRONG_SECONDS]
        if len(wrong) >= MOST_WRONG:
            raise TryLater("Too many wrong passwords. Wait some minutes, or sign in by a link: stepwell signin", 60)
        person = self.by_name(name)
        with _HASHING:
            known = person.password if person is not None and person.password else _nobodys_password()
            right = _hasher().verify(password, known)
        if person is None or person.password is None or not right:
            self._note_wrong(name, wrong)
            raise Denied("Name or password is wrong.")
        self._wrong.pop(name, None)
        return person

    def _note_wrong(self, name: str, before: list[float]) -> None:
        self._wrong.pop(name, None)
        while len(self._wrong) >= _MOST_NAMES:
            self._wrong.pop(next(iter(self._wrong)), None)  # the one that was wrong the longest ago
        self._wrong[name] = [*before, self._now()]


def actor_of(session: Session, person: str, via: Via) -> Actor:
    """Read the person's roles."""
    row = session.get(Person, person)
    if row is None:
        raise NotFound("There is no such person any more.")
    members = session.exec(select(Membership).where(Membership.person == person))
    roles = roles_of((member.tenant, member.role) for member in members)
    return Actor(person=row.id, name=row.name, roles=roles, admin=row.admin, via=via)


def roles_of(members: Iterable[Sequence[str | None]]) -> dict[str, Role]:
    """Map tenants to roles; a role that is not known gives nothing."""
    return {tenant: cast(Role, role) for tenant, role in members if tenant is not None and role in ALLOWED}


def _hasher() -> "PasswordHash":
    from pwdlib import PasswordHash

    return PasswordHash.recommended()


@cache
def _nobodys_password() -> str:
    """Return a hash to compare with where there is none: the answer must take as long."""
    return _hasher().hash("no such person")
