"""Secrets as an attempt would be given them, whatever the ref of its run."""

from collections.abc import Iterable

from stepwell.tenants.secrets import Secrets


def opened(secrets: Secrets, tenant: str, repository: str, environment: str, names: Iterable[str]) -> dict[str, str]:
    """Return name → value of the secrets that are found."""
    found = secrets.find(tenant, repository, environment, names)
    return {name: secrets.reveal(secret) for name, secret in found.items()}
