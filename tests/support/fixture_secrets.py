"""Secrets in memory, for pages: names and refs, no values."""

from dataclasses import replace
from typing import Any

from stepwell.errors import NotFound
from stepwell.tenants import Actor
from stepwell.tenants.secrets import Refs, SecretView


class FixtureSecrets:
    """Implements what pages use of Secrets, and keeps what they asked for in `done`."""

    def __init__(self, now: float, empty: bool) -> None:
        self.done: list[tuple[str, str, str, Refs | None]] = []
        self.known = [] if empty else [
            SecretView("DEPLOY_KEY", "payments-api", "production", "mara.okoye", now - 400_000.0),
            SecretView("MIRROR_TOKEN", "payments-api", "", "ida.berg", now - 9000.0, ("main", "release/*", "tags/v*")),
            SecretView("SENTRY_DSN", "payments-api", "", "ida.berg", now - 90_000.0, "protected"),
        ]  # fmt: skip

    def list(self, actor: Actor, tenant: str, repository: str = "") -> list[SecretView]:
        actor.require("write", tenant, repository)
        if repository:
            return [one for one in self.known if one.repository == repository]
        return [replace(one, repository="") for one in self.known if not one.environment]

    def put(self, actor: Actor, tenant: str, name: str, value: str, *, refs: Refs | None = None, **_: Any) -> None:
        actor.require("manage", tenant)
        self.done.append(("put", name, value, refs))

    def limit(self, actor: Actor, tenant: str, name: str, refs: Refs, **_: Any) -> None:
        actor.require("manage", tenant)
        if name not in {one.name for one in self.known}:
            raise NotFound(f"There is no secret {name!r}.")
        self.done.append(("limit", name, "", refs))

    def remove(self, actor: Actor, tenant: str, name: str, **_: Any) -> None:
        actor.require("manage", tenant)
