"""Ways in for browsers: links that sign in once, and the sessions that they open."""

from collections.abc import Callable

from sqlalchemy import delete
from sqlmodel import col, select

from stepwell.errors import Denied, NotFound
from stepwell.store.store import Store
from stepwell.store.tables import Person, Session, SigninLink
from stepwell.tenants.actors import Actor
from stepwell.tenants.keys import hash_of, new_secret
from stepwell.tenants.people import roles_of

SESSION_SECONDS = 30 * 86400.0
RECENT_SECONDS = 15 * 60.0
"""After signing in, while nobody is asked who they are before they change how they sign in."""
_ACTOR = (
    "SELECT people.id, people.name, people.admin, memberships.tenant, memberships.role FROM sessions "
    "JOIN people ON people.id = sessions.person LEFT JOIN memberships ON memberships.person = people.id "
    "WHERE sessions.hash = ? AND sessions.expires_at > ?"
)


class Sessions:
    """Opens, checks and closes sessions."""

    def __init__(self, store: Store, now: Callable[[], float]) -> None:
        self._store = store
        self._now = now

    def open(self, person: str) -> str:
        """Return the cookie's value of a new session of the person, given by id."""
        secret, now = new_secret(), self._now()
        row = Session(hash=hash_of(secret), person=person, created_at=now, expires_at=now + SESSION_SECONDS)
        with self._store.write() as session:
            session.execute(delete(Session).where(col(Session.expires_at) <= now))
            session.add(row)
        return secret

    def actor(self, secret: str) -> Actor | None:
        """Return whose session this is, None when it is unknown or over."""
        rows = self._store.rows(_ACTOR, (hash_of(secret), self._now()))
        if not rows:
            return None
        person, name, admin = rows[0][:3]
        return Actor(
            person=person, name=name, roles=roles_of(row[3:] for row in rows), admin=bool(admin), via="session"
        )

    def close(self, secret: str) -> None:
        """End the session, if there is one."""
        with self._store.write() as session:
            session.execute(delete(Session).where(col(Session.hash) == hash_of(secret)))

    def recent(self, secret: str) -> bool:
        """Say whether whoever has this session has just signed in."""
        with self._store.read() as session:
            row = session.get(Session, hash_of(secret))
        return row is not None and self._now() - row.created_at < RECENT_SECONDS

    def close_others(self, secret: str) -> None:
        """End all sessions of the person whose session this is, but this one."""
        with self._store.write() as session:
            row = session.get(Session, hash_of(secret))
            if row is not None:
                others = delete(Session).where(col(Session.person) == row.person, col(Session.hash) != row.hash)
                session.execute(others)


class SigninLinks:
    """Issues and redeems links. A link is opened by GET and redeemed by POST, so that a preview does not use it up."""

    def __init__(self, store: Store, now: Callable[[], float]) -> None:
        self._store = store
        self._now = now

    def issue(self, person: str, minutes: float = 60) -> str:
        """Return the code of a link for the person of this name."""
        code, now = new_secret(), self._now()
        with self._store.write() as session:
            row = session.exec(select(Person).where(Person.name == person)).first()
            if row is None:
                raise NotFound(f"There is no person {person!r}.")
            session.execute(delete(SigninLink).where(col(SigninLink.expires_at) <= now))
            link = SigninLink(hash=hash_of(code), person=row.id, created_at=now, expires_at=now + minutes * 60)
            session.add(link)
        return code

    def redeem(self, code: str) -> Person:
        """Return whom the link signs in, and use it up."""
        with self._store.write() as session:
            link = session.get(SigninLink, hash_of(code))
            if link is None or link.expires_at <= self._now() or link.used_at is not None:
                raise Denied("This sign-in link was used, is too old or never existed. Make one: stepwell signin")
            link.used_at = self._now()
            person = session.get(Person, link.person)
            assert person is not None, "a foreign key holds it"
            return person
