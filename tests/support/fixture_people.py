"""Three people of one tenant in memory: sign-in, sessions, roles, what was audited."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from fixture_runs import NASTY, NOW
from fixture_secrets import FixtureSecrets
from fixture_tokens import FixtureTokens

from stepwell.errors import Conflict, Denied
from stepwell.store.tables import AuditEntry
from stepwell.tenants.actors import Actor
from stepwell.tenants.members import MemberView

if TYPE_CHECKING:
    from fixture_services import FixtureServices

ADMIN = Actor("p1", "ida.berg", {"acme": "owner"}, via="session")

STRANGER = Actor("p2", "sam", {}, via="session")

VIEWER = Actor("p3", "eve", {"acme": "viewer"}, via="session")


@dataclass
class _Person:
    id: str = "p1"
    name: str = "ida.berg"


class FixtureTenants:
    """Sign-in, sessions and tokens of the two people."""

    def __init__(self, services: FixtureServices) -> None:
        self.links = self.sessions = self.people = self.quotas = self.registries = self
        self.tokens = FixtureTokens(self.actor, NOW, services.empty)
        self.secrets = FixtureSecrets(NOW, services.empty)
        self.members, self.audit = FixtureMembers(services), FixtureAudit(services)
        self.services = services
        self.codes = {"code-1"}
        self.open_sessions = {"admin-session": ADMIN, "stranger-session": STRANGER, "viewer-session": VIEWER}

    def redeem(self, code: str) -> _Person:
        if code not in self.codes:
            raise Denied("This sign-in link was used, is too old or never existed. Make one: stepwell signin")
        self.codes.remove(code)
        return _Person()

    def add(self, actor: Actor, name: str, title: str = "") -> _Person:
        if name in ("ida.berg", "mara.okoye", "known.elsewhere"):
            raise Conflict(f"There is a person {name!r} already.")
        return _Person("p9", name)

    def check_password(self, name: str, password: str) -> _Person:
        raise Denied("Name or password is wrong.")

    def set_password(self, actor: Actor, password: str) -> None:
        self.services.stopped.append(f"password of {actor.name}")

    def recent(self, secret: str) -> bool:
        return secret == "admin-session"

    def close_others(self, secret: str) -> None:
        self.services.stopped.append("other sessions")

    def open(self, person: str) -> str:
        return "admin-session"

    def close(self, session: str) -> None:
        self.open_sessions.pop(session, None)

    def actor(self, secret: str) -> Actor | None:
        known = {
            "p1": ADMIN,
            "sw_admin": replace(ADMIN, via="token"),
            "sw_stranger": replace(STRANGER, via="token"),
            "p3": VIEWER,
        }
        return known.get(secret) or self.open_sessions.get(secret)

    def get(self, actor: Actor, name: str) -> Any:
        actor.require("read", name)
        return _TenantView(name, "Acme", actor.roles[name], NOW)

    def list(self, actor: Actor, tenant: str = "", *_: Any) -> list[Any]:
        if tenant:
            actor.require("read", tenant)
        return []

    def issue(self, person: str, **_: Any) -> str:
        return f"code-of-{person}"

    def put(self, actor: Actor, tenant: str, *_: Any, **where: Any) -> None:
        actor.require("manage", tenant)

    def remove(self, actor: Actor, tenant: str, *_: Any, **where: Any) -> None:
        actor.require("manage", tenant)


class FixtureMembers:
    """Two people of the tenant."""

    def __init__(self, services: FixtureServices) -> None:
        self._services = services

    def list(self, actor: Actor, tenant: str) -> list[MemberView]:
        actor.require("read", tenant)
        return [MemberView("ida.berg", "Ida Berg", "owner"), MemberView("mara.okoye", NASTY, "developer")]

    def put(self, actor: Actor, tenant: str, person: str, role: str) -> None:
        actor.require("own", tenant)
        self._services.stopped.append(f"member {person} {role}")

    def remove(self, actor: Actor, tenant: str, person: str) -> None:
        actor.require("own", tenant)
        self._services.stopped.append(f"no member {person}")


class FixtureAudit:
    """Two changes."""

    def __init__(self, services: FixtureServices) -> None:
        self._services = services

    def list(self, actor: Actor, tenant: str, before: int | None = None, limit: int = 100) -> list[AuditEntry]:
        actor.require("manage", tenant)
        if self._services.empty:
            return []
        detail = {"reviewers": ["ida.berg", "jun.sato"], "count": 2, "reason": NASTY, "undo": None}
        return [
            AuditEntry(id=2, at=NOW - 400, tenant=tenant, actor="ida.berg", action="environment.put",
                       subject="production", detail=detail),
            AuditEntry(id=1, at=NOW - 90_000, tenant=tenant, actor=NASTY, action="secret.put", subject="KEY"),
        ]  # fmt: skip


@dataclass(frozen=True)
class _TenantView:
    name: str
    title: str
    role: str
    created_at: float
