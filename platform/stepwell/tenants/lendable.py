"""What a person could lend to plans: secrets and environments of the tenants whose secrets they may change."""

from collections import defaultdict
from dataclasses import dataclass

from stepwell.store.store import Store
from stepwell.tenants import lending
from stepwell.tenants.actors import Actor


@dataclass(frozen=True)
class Lendable:
    """Names of a tenant (`repository` "") or of one of its repositories."""

    tenant: str
    repository: str
    secrets: tuple[str, ...]
    environments: tuple[str, ...]


def lendable(store: Store, actor: Actor) -> list[Lendable]:
    """List it by tenant and repository; to a token, what it lends itself."""
    tenants = [tenant for tenant in actor.tenants if actor.may("manage", tenant)]
    if not tenants:
        return []
    marks = ",".join("?" * len(tenants))
    secrets = store.rows(
        "SELECT secrets.tenant, coalesce(repositories.name, ''), secrets.name FROM secrets "  # noqa: S608 - marks
        "LEFT JOIN repositories ON repositories.id = secrets.repository WHERE secrets.environment = '' "
        f"AND secrets.name NOT LIKE 'registry:%' AND secrets.tenant IN ({marks}) ORDER BY secrets.name", tenants,
    )  # fmt: skip
    environments = store.rows(
        "SELECT environments.tenant, repositories.name, environments.name FROM environments "  # noqa: S608 - marks
        "JOIN repositories ON repositories.id = environments.repository "
        f"WHERE environments.tenant IN ({marks}) ORDER BY environments.name", tenants,
    )  # fmt: skip
    found: defaultdict[tuple[str, str], tuple[list[str], list[str]]] = defaultdict(lambda: ([], []))
    for tenant, repository, name in secrets:
        if _may(actor, lending.secret(name, repository)):
            found[tenant, repository][0].append(name)
    for tenant, repository, name in environments:
        if _may(actor, lending.environment(name, repository)):
            found[tenant, repository][1].append(name)
    return [Lendable(*place, tuple(names), tuple(places)) for place, (names, places) in sorted(found.items())]


def _may(actor: Actor, scope: str) -> bool:
    return actor.via != "token" or scope in actor.lends
