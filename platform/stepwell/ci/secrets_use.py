"""Secrets in steps: opened for the one attempt that names them, just before it starts.

`secrets=["A"]` is the variable A; `{"ENV": "NAME"}` renames; `{"ENV": {"file": "NAME"}}` gives a private file's path.
An environment's secret comes before the repository's, that before the tenant's.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from stepwell.ci.environments import Environments
from stepwell.engine.seams import Attempt, Prepared
from stepwell.errors import Denied, NotFound
from stepwell.tenants.registries import Registries
from stepwell.tenants.secrets import Secrets


class SecretsPreparer:
    """Implements Preparer: refuses forbidden environments and unknown secrets, opens the others."""

    def __init__(self, secrets: Secrets, environments: Environments, registries: Registries) -> None:
        self._secrets = secrets
        self._registries = registries
        self._environments = environments

    async def prepare(self, attempt: Attempt) -> Prepared:
        """Return variables, files and masks of the attempt."""
        repository = str(attempt.metadata.get("repository") or "")
        environment = str(attempt.options.get("environment") or "")
        if environment and (why := self._environments.rules(repository, environment).refuses(attempt.metadata)):
            raise Denied(f"Step {attempt.name!r} is refused. {why}")
        variables, files = named(attempt.options.get("secrets"))
        if attempt.metadata.get("plan") and (environment or variables or files):
            raise Denied(
                f"Step {attempt.name!r} is refused. A plan has no secrets and no environments: nobody has pushed its "
                "code. Commit it to a repository as .stepwell/pipeline.py."
            )
        if attempt.metadata.get("plan"):
            return Prepared()
        pulls = _names_images(attempt)
        known = await asyncio.to_thread(self._registries.reveal, attempt.tenant) if pulls else {}
        prepared = Prepared(registries=known, masks=tuple(password for _, password in known.values()))
        if not variables and not files:
            return prepared
        wanted = {*variables.values(), *files.values()}
        values = await asyncio.to_thread(self._secrets.reveal, attempt.tenant, repository, environment, wanted)
        for name in sorted(wanted - set(values)):
            raise NotFound(_missing(attempt, environment, name))
        return replace(
            prepared,
            env={variable: values[name] for variable, name in variables.items()},
            files={variable: values[name] for variable, name in files.items()},
            masks=(*values.values(), *prepared.masks),
        )


def _names_images(attempt: Attempt) -> bool:
    return attempt.kind == "image" or bool(attempt.options.get("image"))


def named(secrets: Any) -> tuple[dict[str, str], dict[str, str]]:
    """Return (variable → secret, variable of a path → secret) of a step's `secrets` option."""
    if not secrets:
        return {}, {}
    if not isinstance(secrets, Mapping):
        return {str(name): str(name) for name in secrets}, {}
    files = {str(variable): str(secret["file"]) for variable, secret in secrets.items() if isinstance(secret, Mapping)}
    return {str(variable): str(name) for variable, name in secrets.items() if str(variable) not in files}, files


def _missing(attempt: Attempt, environment: str, name: str) -> str:
    where = attempt.scope + (f", environment {environment!r}" if environment else "")
    return (
        f"Step {attempt.name!r} names the secret {name!r}, which does not exist for {where}. Add it on the settings "
        f"page of the repository, or run: stepwell secret set {name} --repo {attempt.scope}"
    )
