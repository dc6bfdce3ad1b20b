"""Scopes of tokens that lend secrets and environments to the plans sent with them. Pure.

| scope | lends |
|---|---|
| `secret:NAME` | the tenant's secret |
| `secret:REPOSITORY/NAME` | the repository's, to plans on its files |
| `environment:REPOSITORY/NAME` | the environment with its own secrets and under its rules, to plans on its files |

Nobody has pushed a plan's code, so it is given nothing that the token does not name.
"""

import re
from collections.abc import Iterable

from stepwell.errors import Invalid

MOST = 50
"""Scopes of a token that lend."""
_LENDING = re.compile(
    r"secret:(?:[A-Za-z0-9][A-Za-z0-9._-]{0,99}/)?[A-Za-z_][A-Za-z0-9_]{0,99}"
    r"|environment:[A-Za-z0-9][A-Za-z0-9._-]{0,99}/[A-Za-z0-9][A-Za-z0-9._-]{0,62}"
)


def is_lending(scope: str) -> bool:
    """Say whether a scope lends something, instead of allowing an action."""
    return scope.startswith(("secret:", "environment:"))


def check_lending(scopes: Iterable[str], tenant: str) -> frozenset[str]:
    """Return those of the scopes that lend. Raises Invalid for one that names nothing."""
    lending = frozenset(scope for scope in scopes if is_lending(scope))
    for scope in sorted(lending):
        if not _LENDING.fullmatch(scope):
            raise Invalid(
                f"Scope {scope[:80]!r} lends nothing. Write secret:NAME for a secret of the tenant, "
                "secret:REPOSITORY/NAME or environment:REPOSITORY/NAME."
            )
    if lending and not tenant:
        raise Invalid("A token that lends secrets or environments is for one tenant. Name it.")
    if len(lending) > MOST:
        raise Invalid(f"The token names {len(lending)} secrets and environments; at most {MOST}.")
    return lending


def secret(name: str, repository: str = "") -> str:
    """Return the scope that lends a secret: the tenant's, or a repository's."""
    return f"secret:{repository}/{name}" if repository else f"secret:{name}"


def environment(name: str, repository: str) -> str:
    """Return the scope that lends an environment of a repository."""
    return f"environment:{repository}/{name}"
