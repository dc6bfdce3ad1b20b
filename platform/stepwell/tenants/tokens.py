"""Tokens: ways in for programs. The database keeps a hash; the token itself is shown once."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from sqlmodel import col, select

from stepwell.errors import Denied, Invalid, NotFound
from stepwell.store.store import Store
from stepwell.store.tables import Token
from stepwell.tenants.actors import ACTIONS, Action, Actor
from stepwell.tenants.audit import Audit
from stepwell.tenants.keys import hash_of, new_id, new_secret
from stepwell.tenants.people import actor_of
from stepwell.tenants.scope import Scope

PREFIX = "sw_"
DAY = 86400.0
USED_EVERY_SECONDS = 600.0
"""`used_at` is this exact: each request must not cost a write."""


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
        """Create a token for oneself that may do no more than oneself, nor for longer. `days` None: until revoked."""
        _check(name, scopes, days)
        self._permit(actor, scopes, tenant, repository)
        secret = new_secret(PREFIX)
        now = self._now()
        row = Token(
            id=new_id(),
            hash=hash_of(secret),
            name=name,
            hint=secret[: len(PREFIX) + 5],
            person=actor.person,
            scopes=[scope for scope in ACTIONS if scope in scopes],
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
        narrower = actor.repository in ("", f"{tenant}/{repository}") and actor.tenant in ("", tenant)
        if not set(scopes) <= actor.scopes or not narrower:
            raise Denied("A token cannot issue a token that may do more than itself. Sign in to create it.")
        if repository:
            self._scope.repository(actor, tenant, repository)
        elif tenant:
            actor.require("read", tenant)

    def list(self, actor: Actor) -> list[TokenView]:
        """Return the actor's own tokens that still work, the newest first."""
        now = self._now()
        query = select(Token).where(Token.person == actor.person, col(Token.revoked_at).is_(None))
        with self._store.read() as session:
            rows = session.exec(query.order_by(col(Token.created_at).desc())).all()
        return [_view(row) for row in rows if row.expires_at is None or row.expires_at > now]

    def revoke(self, actor: Actor, id: str) -> None:
        """End a token of one's own."""
        with self._store.write() as session:
            row = session.get(Token, id)
            if row is None or row.person != actor.person or row.revoked_at is not None:
                raise NotFound(f"You have no token {id!r}.")
            row.revoked_at = self._now()
            self._audit.add(session, actor, row.tenant, "token.revoke", row.name, id=id)

    def actor(self, secret: str) -> Actor | None:
        """Return who comes with this token, None when it is unknown, expired or revoked."""
        if not secret.startswith(PREFIX):
            return None
        now = self._now()
        with self._store.read() as session:
            row = session.exec(select(Token).where(Token.hash == hash_of(secret))).first()
            if row is None or row.revoked_at is not None or (row.expires_at is not None and row.expires_at <= now):
                return None
            actor = actor_of(session, row.person, "token")
        if row.used_at is None or now - row.used_at > USED_EVERY_SECONDS:
            self._note_use(row.id, now)
        return _narrowed(actor, row)

    def _note_use(self, id: str, now: float) -> None:
        with self._store.write() as session:
            row = session.get(Token, id)
            if row is not None:
                row.used_at = now


def _check(name: str, scopes: Sequence[str], days: float | None) -> None:
    if not 1 <= len(name.strip()) <= 100:
        raise Invalid(f"Name {name[:40]!r} of a token is not valid. Say in 1 to 100 characters what it is for.")
    wrong = ", ".join(scope for scope in scopes if scope not in ACTIONS)
    if wrong or not scopes:
        raise Invalid(f"Scopes '{wrong}' do not exist. Use some of: {', '.join(ACTIONS)}.")
    if days is not None and not 0 < days <= 3650:
        raise Invalid(f"A token cannot last {days!r} days. Use a number above 0 and up to 3650, or none.")


def _narrowed(actor: Actor, row: Token) -> Actor:
    roles = {name: role for name, role in actor.roles.items() if not row.tenant or name == row.tenant}
    scopes: frozenset[Action] = frozenset(action for action in ACTIONS if action in row.scopes)
    only = f"{row.tenant}/{row.repository}" if row.repository else ""
    admin = actor.admin and "own" in scopes and not row.tenant
    narrowed = replace(actor, roles=roles, scopes=scopes, admin=admin, expires_at=row.expires_at)
    return replace(narrowed, tenant=row.tenant, repository=only)


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
