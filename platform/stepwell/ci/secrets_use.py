"""Secrets in steps: opened for the one attempt that names them, just before it starts.

`secrets=["A"]` is the variable A; `{"ENV": "NAME"}` renames; `{"ENV": {"file": "NAME"}}` gives a private file's path.
An environment's secret comes before the repository's, that before the tenant's. A plan is given what it was lent.
A secret is given only to runs of the refs that it is for, and the nearest one decides: none that is farther away takes
its place. A plan has no ref of its own. What is for protected branches, as most are, it is given when lent; what names
branches or tags, never.
"""

import asyncio
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from stepwell.ci.approvals import rules_for
from stepwell.ci.environments import Environments
from stepwell.ci.lent import Lent
from stepwell.ci.rules import TAGS, covers, ref_of
from stepwell.engine.seams import Attempt, Prepared
from stepwell.errors import Denied, NotFound
from stepwell.store.store import Store
from stepwell.store.tables import Repository
from stepwell.tenants.registries import Registries
from stepwell.tenants.secrets import Sealed, Secrets


class SecretsPreparer:
    """Implements Preparer: refuses forbidden environments and unknown secrets, opens the others."""

    def __init__(self, secrets: Secrets, environments: Environments, registries: Registries, store: Store) -> None:
        self._store = store
        self._secrets = secrets
        self._registries = registries
        self._environments = environments

    async def prepare(self, attempt: Attempt) -> Prepared:
        """Return variables, files and masks of the attempt."""
        environment = str(attempt.options.get("environment") or "")
        variables, files = named(attempt.options.get("secrets"))
        wanted = {*variables.values(), *files.values()}
        plan = bool(attempt.metadata.get("plan"))
        if plan:
            Lent.of(attempt.metadata).require(attempt.name, environment, wanted)
        rules = rules_for(self._environments, attempt.metadata, environment)
        if why := rules.refuses(attempt.metadata):
            raise Denied(f"Step {attempt.name!r} is refused. {why}")
        pulls = not plan and _names_images(attempt)
        known = await asyncio.to_thread(self._registries.reveal, attempt.tenant) if pulls else {}
        prepared = Prepared(registries=known, masks=tuple(password for _, password in known.values()))
        if not wanted:
            return prepared
        values = await asyncio.to_thread(self._values, attempt, environment, sorted(wanted))
        return replace(
            prepared,
            env={variable: values[name] for variable, name in variables.items()},
            files={variable: values[name] for variable, name in files.items()},
            masks=(*values.values(), *prepared.masks),
        )

    def _values(self, attempt: Attempt, environment: str, names: Iterable[str]) -> dict[str, str]:
        plan = bool(attempt.metadata.get("plan"))
        found = (self._lent if plan else self._own)(attempt, environment, names)
        for name in names:
            if name not in found:
                raise NotFound(_missing(attempt, environment, name))
            if why := self._withheld(attempt, found[name]):
                raise Denied(f"Step {attempt.name!r} is refused. {why}")
        return {name: self._secrets.reveal(secret) for name, secret in found.items()}

    def _own(self, attempt: Attempt, environment: str, names: Iterable[str]) -> dict[str, Sealed]:
        repository = str(attempt.metadata.get("repository") or "")
        return self._secrets.find(attempt.tenant, repository, environment, names)

    def _lent(self, attempt: Attempt, environment: str, names: Iterable[str]) -> dict[str, Sealed]:
        lent, found = Lent.of(attempt.metadata), dict[str, Sealed]()
        for name in names:
            for place in lent.places(name, environment):
                if name not in found and (secret := self._secrets.find_at(attempt.tenant, *place, name)):
                    found[name] = secret
        return found

    def _withheld(self, attempt: Attempt, secret: Sealed) -> str:
        """Say why a run is for no ref that the secret is for; "" when it may be given."""
        if not secret.refs or (secret.refs == "protected" and attempt.metadata.get("plan")):
            return ""
        globs: Sequence[str] = secret.refs
        if secret.refs == "protected":
            with self._store.read() as session:
                row = session.get(Repository, str(attempt.metadata.get("repository") or ""))
            globs = row.protected if row else ()
        if covers(globs, attempt.metadata):
            return ""
        return _other_ref(attempt, secret, ", ".join(globs))


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


def _other_ref(attempt: Attempt, secret: Sealed, allowed: str) -> str:
    only = f"protected branches ({allowed or 'there are none'})" if secret.refs == "protected" else allowed
    place = (
        f"--repo {attempt.metadata.get('workspace') or attempt.scope}"
        if secret.repository
        else f"--tenant {secret.tenant}"
    )
    place += f" --environment {secret.environment}" if secret.environment else ""
    branch, tag = str(attempt.metadata.get("branch") or ""), str(attempt.metadata.get("tag") or "")
    ref = f"{TAGS}{tag}" if tag else branch
    more = shlex.quote(", ".join(filter(None, (allowed, ref)))) if ref else "every"
    what = "a plan, which is for no ref" if attempt.metadata.get("plan") else f"for {ref_of(attempt.metadata)}"
    return (
        f"Secret {secret.name!r} is given only to {only}; this run is {what}. A maintainer can change that on the "
        f"settings page, or by: stepwell secret limit {secret.name} {place} --refs {more}"
    )


def _missing(attempt: Attempt, environment: str, name: str) -> str:
    if attempt.metadata.get("plan"):
        scopes = ", ".join(sorted(Lent.of(attempt.metadata).scopes))
        return f"Step {attempt.name!r} names the secret {name!r}, which was lent ({scopes}) but does not exist there."
    where = attempt.scope + (f", environment {environment!r}" if environment else "")
    return (
        f"Step {attempt.name!r} names the secret {name!r}, which does not exist for {where}. Add it on the settings "
        f"page of the repository, or run: stepwell secret set {name} --repo {attempt.scope}"
    )
