"""Tokens in memory, for their page: what a person has, and could lend."""

from collections.abc import Callable, Sequence
from typing import Any

from stepwell.errors import NotFound
from stepwell.tenants import Actor
from stepwell.tenants.lendable import Lendable
from stepwell.tenants.lending import check_lending
from stepwell.tenants.tokens import IssuedToken, TokenView

DAY = 86_400.0


class FixtureTokens:
    """Implements what pages and API use of Tokens; what was issued is kept in `made`."""

    def __init__(self, actor: Callable[[str], Actor | None], now: float, empty: bool) -> None:
        self.actor = actor
        self._now = now
        self.made: list[TokenView] = []
        scopes = ("read", "write", "secret:MIRROR_KEY", "secret:payments-api/DEPLOY_KEY",
                  "environment:payments-api/staging")  # fmt: skip
        self.known = [] if empty else [
            TokenView("t2", "nightly agent", "sw_fGhIj", scopes, "acme", "", now - DAY, now + 60 * DAY, now - 900.0),
            TokenView("t3", "laptop", "sw_kLmNo", ("read", "write", "approve"), "", "", now - 9 * DAY, None, None),
        ]  # fmt: skip

    def lendable(self, actor: Actor) -> list[Lendable]:
        if not actor.may("manage", "acme"):
            return []
        return [
            Lendable("acme", "", ("MIRROR_KEY", "NPM_TOKEN"), ()),
            Lendable("acme", "payments-api", ("DEPLOY_KEY", "SENTRY_DSN"), ("production", "staging")),
            Lendable("umbrella", "hive", ("QUEEN",), ("preview",)),
        ]

    def list(self, actor: Actor) -> list[TokenView]:
        return [*reversed(self.made), *self.known] if actor.tenants else []

    def issue(self, actor: Actor, name: str, *, scopes: Sequence[str] = (), tenant: str = "", **_: Any) -> IssuedToken:
        check_lending(scopes, tenant)
        made = TokenView("t1", name, "sw_abcde", tuple(scopes), tenant, "", self._now, self._now + DAY, None)
        self.made.append(made)
        return IssuedToken(made, "sw_abcdefsecret")

    def revoke(self, actor: Actor, id: str) -> None:
        if not actor.tenants or id not in {one.id for one in self.list(actor)}:
            raise NotFound(f"You have no token {id!r}.")
