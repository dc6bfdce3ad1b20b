"""Tokens: ways in for programs. The database keeps a hash; the token itself is shown once."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from sqlmodel import col, select

from stepwell.errors import Denied, Invalid, NotFound
from stepwell.store.store import Store
from stepwell.store.tables import Token
from stepwell.tenants.actors import ACTIONS, Action, Actor
from stepwell.tenants.audit import Audit
from stepwell.tenants.keys import hash_of, new_id, new_secret
from stepwell.tenants.lendable import Lendable, lendable
from stepwell.tenants.lending import check_lending, is_lending
from stepwell.tenants.people import roles_of
from stepwell.tenants.scope import Scope

PREFIX = "sw_"
DAY = 86400.0
USED_EVERY_SECONDS = 600.0
"""`used_at` is this exact: each request must not cost a write."""
_ACTOR = (
    "SELECT tokens.id, tokens.scopes, tokens.tenant, tokens.repository, tokens.expires_at, tokens.used_at, "
    "people.id, people.name, people.admin, memberships.tenant, memberships.role FROM tokens "
    "JOIN people ON people.id = tokens.person LEFT JOIN memberships ON memberships.person = people.id "
    "WHERE tokens.hash = ? AND tokens.revoked_at IS NULL AND (tokens.expires_at IS NULL OR tokens.expires_at > ?)"
)


@dataclass(frozen=True)
class TokenView:
    """A token without its secret; `hint` are its first characters. Empty tenant: everywhere its person has a role."""

    id: str
    name: str
    hint: str
    scopes: tuple[str, ...]
    tenant: str
    repository: str
    created_at: float
    expires_at: float | None
    used_at: float | None

    @property
    def lends(self) -> tuple[str, ...]:
        """Those of its scopes that lend something to plans."""
        return tuple(filter(is_lending, self.scopes))


@dataclass(frozen=True)
class IssuedToken:
    """A new token; `secret` is seen here and never again."""

    token: TokenView
    secret: str


class Tokens:
    """Issues, checks and revokes tokens."""

    def __init__(self, store: Store, scope: Scope, audit: Audit, now: Callable[[], float]) -> None:
        self._store = store
        self._scope = scope
        self._audit = audit
        self._now = now

    def issue(
        self,
        actor: Actor,
        name: str,
        *,
        scopes: Sequence[str] = ("read", "write", "approve"),
        tenant: str = "",
        repository: str = "",
        days: float | None = 90,
    ) -> IssuedToken:
        """Create a token for oneself that may do no more than oneself, nor for longer. `days` None: until revoked.

        `scopes` are actions, and what the token lends to plans.
        """
        _check(name, scopes, days)
        lending = check_lending(scopes, tenant)
        self._permit(actor, scopes, tenant, repository)
        secret = new_secret(PREFIX)
        now = self._now()
        row = Token(
            id=new_id(),
            hash=hash_of(secret),
            name=name,
            hint=secret[: len(PREFIX) + 5],
            person=actor.person,
            scopes=[*(scope for scope in ACTIONS if scope in scopes), *sorted(lending)],
            tenant=tenant,
            repository=repository,
            created_at=now,
            expires_at=min((at for at in (days and now + days * DAY, actor.expires_at) if at), default=None),
        )
        with self._store.write() as session:
            session.add(row)
            self._audit.add(session, actor, tenant, "token.issue", name, id=row.id, scopes=row.scopes)
        return IssuedToken(_view(row), secret)

    def _permit(self, actor: Actor, scopes: Sequence[str], tenant: str, repository: str) -> None:
        if not actor.signed_in:
            raise Denied("Sign in to create a token.")
        if not _is_within(actor, scopes, tenant, repository):
            raise Denied("A token cannot issue a token that may do more than itself. Sign in to create it.")
        if any(map(is_lending, scopes)):
            actor.require("manage", tenant)
        if repository:
            self._scope.repository(actor, tenant, repository)
        elif tenant:
            actor.require("read", tenant)

    def lendable(self, actor: Actor) -> list[Lendable]:
        """Return what the actor could have a token lend to plans, by place."""
        return lendable(self._store, actor)

    def list(self, actor: Actor) -> list[TokenView]:
        """Return the actor's own tokens that still work, the newest first; a token is told of none that may do more."""
        now = self._now()
        query = select(Token).where(Token.person == actor.person, col(Token.revoked_at).is_(None))
        with self._store.read() as session:
            rows = session.exec(query.order_by(col(Token.created_at).desc())).all()
        alive = (row for row in rows if row.expires_at is None or row.expires_at > now)
        return [_view(row) for row in alive if _is_within(actor, row.scopes, row.tenant, row.repository)]

    def revoke(self, actor: Actor, id: str) -> None:
        """End a token of one's own. A token ends none that may do more than itself: to it there is no such token."""
        with self._store.write() as session:
            row = session.get(Token, id)
            if row is None or row.person != actor.person or row.revoked_at is not None:
                raise NotFound(f"You have no token {id!r}.")
            if not _is_within(actor, row.scopes, row.tenant, row.repository):
                raise NotFound(f"You have no token {id!r} that may do no more than the one you came with.")
            row.revoked_at = self._now()
            self._audit.add(session, actor, row.tenant, "token.revoke", row.name, id=id)

    def actor(self, secret: str) -> Actor | None:
        """Return who comes with this token, None when it is unknown, expired or revoked."""
        if not secret.startswith(PREFIX):
            return None
        now = self._now()
        rows = self._store.rows(_ACTOR, (hash_of(secret), now))
        if not rows:
            return None
        id_, scopes, tenant, repository, expires_at, used_at, person, name, admin = rows[0][:9]
        if used_at is None or now - used_at > USED_EVERY_SECONDS:
            self._note_use(id_, now)
        roles = roles_of(row[9:] for row in rows)
        actor = Actor(person=person, name=name, roles=roles, admin=bool(admin), via="token", expires_at=expires_at)
        return _narrowed(actor, json.loads(scopes), tenant, repository)

    def _note_use(self, id: str, now: float) -> None:
        with self._store.write() as session:
            row = session.get(Token, id)
            if row is not None:
                row.used_at = now


def _is_within(actor: Actor, scopes: Sequence[str], tenant: str, repository: str) -> bool:
    """Say whether a token may do no more than the actor."""
    narrower = actor.repository in ("", f"{tenant}/{repository}") and actor.tenant in ("", tenant)
    lending = {scope for scope in scopes if is_lending(scope)}
    return set(scopes) - lending <= actor.scopes and narrower and (actor.via != "token" or lending <= actor.lends)


def _check(name: str, scopes: Sequence[str], days: float | None) -> None:
    if not 1 <= len(name.strip()) <= 100:
        raise Invalid(f"Name {name[:40]!r} of a token is not valid. Say in 1 to 100 characters what it is for.")
    wrong = ", ".join(scope[:80] for scope in scopes if scope not in ACTIONS and not is_lending(scope))
    if wrong or not any(scope in ACTIONS for scope in scopes):
        raise Invalid(f"Scopes '{wrong}' do not exist. Use some of: {', '.join(ACTIONS)}.")
    if days is not None and not 0 < days <= 3650:
        raise Invalid(f"A token cannot last {days!r} days. Use a number above 0 and up to 3650, or none.")


def _narrowed(actor: Actor, words: Sequence[str], tenant: str, repository: str) -> Actor:
    roles = {name: role for name, role in actor.roles.items() if not tenant or name == tenant}
    scopes: frozenset[Action] = frozenset(action for action in ACTIONS if action in words)
    only = f"{tenant}/{repository}" if repository else ""
    admin = actor.admin and "own" in scopes and not tenant
    lends = frozenset(filter(is_lending, words))
    return replace(actor, roles=roles, scopes=scopes, admin=admin, tenant=tenant, repository=only, lends=lends)


def _view(row: Token) -> TokenView:
    return TokenView(
        id=row.id,
        name=row.name,
        hint=row.hint,
        scopes=tuple(row.scopes),
        tenant=row.tenant,
        repository=row.repository,
        created_at=row.created_at,
        expires_at=row.expires_at,
        used_at=row.used_at,
    )
