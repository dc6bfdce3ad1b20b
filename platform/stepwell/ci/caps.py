"""Caps of runs: a quota of the tenant's or repository's own, else the server's setting."""

from dataclasses import dataclass

from stepwell.engine.room import Caps
from stepwell.tenants.quotas import Quotas


@dataclass(frozen=True)
class RunCaps:
    """A CapsOf."""

    quotas: Quotas
    per_tenant: int | None
    per_repository: int | None

    def __call__(self, tenant: str, scope: str) -> Caps:
        """Say how many runs of a tenant, and of a repository by its full name, may go on."""
        own = self.quotas.runs_of(tenant)
        of_repository = self.quotas.runs_of(tenant, scope.partition("/")[2])
        return Caps(
            self.per_tenant if own is None else own, self.per_repository if of_repository is None else of_repository
        )
