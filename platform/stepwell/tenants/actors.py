"""Who asks, and what they may do.

| role | read | write | approve | manage | own |
|---|---|---|---|---|---|
| viewer | x | | | | |
| developer | x | x | x | | |
| maintainer | x | x | x | x | |
| owner | x | x | x | x | x |

read: see code, runs and logs · write: push, start, cancel, re-run, send events · approve: decide where the
environment's rules allow it · manage: secrets, environments, settings of repositories, protected branches ·
own: members, the tenant itself.
A token carries the same words as scopes and allows what both its person's role and its scopes allow. Beside them it may
name secrets and environments that plans sent with it are given: see lending.py.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, get_args

from stepwell.errors import Denied, NotFound

Role = Literal["owner", "maintainer", "developer", "viewer"]
Action = Literal["read", "write", "approve", "manage", "own"]
Via = Literal["session", "token", "nobody"]

ROLES: tuple[Role, ...] = get_args(Role)
ACTIONS: tuple[Action, ...] = get_args(Action)
ALLOWED: Mapping[Role, frozenset[Action]] = {
    "viewer": frozenset({"read"}),
    "developer": frozenset({"read", "write", "approve"}),
    "maintainer": frozenset({"read", "write", "approve", "manage"}),
    "owner": frozenset(ACTIONS),
}


@dataclass(frozen=True)
class Actor:
    """A person on one way in. `roles` maps tenants to the person's role.

    `tenant` and `repository` ("acme/api") are what a token is narrowed to; `expires_at` is when it ends; `lends` are
    its scopes for plans.
    """

    person: str = ""
    name: str = "nobody"
    roles: Mapping[str, Role] = field(default_factory=dict)
    scopes: frozenset[Action] = frozenset(ACTIONS)
    tenant: str = ""
    repository: str = ""
    lends: frozenset[str] = frozenset()
    expires_at: float | None = None
    admin: bool = False
    via: Via = "nobody"

    @property
    def tenants(self) -> tuple[str, ...]:
        """Tenants that the actor may see."""
        return tuple(sorted(self.roles)) if "read" in self.scopes else ()

    @property
    def signed_in(self) -> bool:
        """Say whether this is somebody at all."""
        return bool(self.person)

    @property
    def administers(self) -> bool:
        """Say whether this is an admin of the server, on a way in that is not narrowed."""
        return self.admin and "own" in self.scopes and not self.tenant and not self.repository

    def may(self, action: Action, tenant: str, repository: str = "") -> bool:
        """Say whether the actor may do `action` in the tenant, or in its repository of this name."""
        role = self.roles.get(tenant)
        if role is None or action not in ALLOWED[role] or action not in self.scopes:
            return False
        return not self.repository or self.repository == f"{tenant}/{repository}"

    def require(self, action: Action, tenant: str, repository: str = "") -> None:
        """Raise NotFound for what the actor may not even see, Denied for what they see but may not do."""
        if self.may(action, tenant, repository):
            return
        where = f"{tenant}/{repository}" if repository else tenant
        if not self.may("read", tenant, repository):
            raise NotFound(f"There is no '{where}', or you may not see it.")
        role = self.roles[tenant]
        why = f"your role is {role}" if action not in ALLOWED[role] else "this token's scopes do not allow it"
        raise Denied(f"You may not {_VERBS[action]} '{where}': {why}. Ask an owner of {tenant}.")


_VERBS: Mapping[Action, str] = {
    "read": "read",
    "write": "push to or start runs in",
    "approve": "approve in",
    "manage": "change settings or secrets of",
    "own": "change members of",
}

NOBODY = Actor()
"""A stranger: no tenants, no rights."""
