"""Secrets: put in, named by steps, given to the attempt that names them, and shown to nobody afterwards."""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from sqlmodel import Session, col, select

from stepwell.errors import Invalid, NotFound
from stepwell.store.store import Store
from stepwell.store.tables import Environment, Repository, Secret
from stepwell.tenants.actors import Actor
from stepwell.tenants.audit import Audit
from stepwell.tenants.keys import Key, new_id
from stepwell.tenants.scope import Scope

LONGEST_BYTES = 64 * 1024
MOST_REFS = 50
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,99}")
Refs = Literal["protected"] | tuple[str, ...]
"""To which runs a secret is given: those of protected branches, or of the branches and `tags/` that match one of these
globs; none: of every ref."""


@dataclass(frozen=True)
class SecretView:
    """A secret without its value. Empty repository: of the tenant; empty environment: of the repository."""

    name: str
    repository: str
    environment: str
    created_by: str
    updated_at: float
    refs: Refs = ()


@dataclass(frozen=True)
class Sealed:
    """A secret that was found for an attempt, not yet opened. Empty repository, environment: as in SecretView."""

    tenant: str
    repository: str
    environment: str
    name: str
    refs: Refs
    sealed: bytes


class Secrets:
    """Keeps secrets sealed. A value shorter than 4 bytes cannot be masked in logs and is refused."""

    def __init__(self, store: Store, scope: Scope, audit: Audit, key: Key, now: Callable[[], float]) -> None:
        self._store = store
        self._scope = scope
        self._audit = audit
        self._key = key
        self._now = now

    def put(
        self,
        actor: Actor,
        tenant: str,
        name: str,
        value: str,
        *,
        repository: str = "",
        environment: str = "",
        refs: Refs | None = None,
    ) -> None:
        """Set a secret of the tenant, of a repository, or of an environment of it.

        Without `refs` a secret that is there keeps its own. A new one is for protected branches; one of an environment
        for all refs that the environment's rules let in.
        """
        _check(name, value)
        refs = _refs(refs)
        place = self._place(actor, tenant, repository, environment)
        sealed = self._key.seal(value, tenant, *place, name)
        now = self._now()
        with self._store.write() as session:
            row = _find(session, tenant, *place, name)
            if row is None:
                row = Secret(
                    id=new_id(),
                    tenant=tenant,
                    repository=place[0],
                    environment=place[1],
                    name=name,
                    refs=() if environment else "protected",
                    sealed=sealed,
                    created_by=actor.name,
                    created_at=now,
                    updated_at=now,
                )
            row.sealed, row.updated_at, row.created_by = sealed, now, actor.name
            row.refs = _stored(row.refs if refs is None else refs)
            session.add(row)
            where = {"repository": repository, "environment": environment, "refs": row.refs}
            self._audit.add(session, actor, tenant, "secret.put", name, **where)

    def limit(
        self, actor: Actor, tenant: str, name: str, refs: Refs, *, repository: str = "", environment: str = ""
    ) -> None:
        """Change to which refs a secret is given; its value stays as it is."""
        place = self._place(actor, tenant, repository, environment)
        refs = _refs(refs) or ()
        with self._store.write() as session:
            row = _find(session, tenant, *place, name) if _NAME.fullmatch(name) else None
            if row is None:
                raise _unknown(name, environment)
            row.refs = _stored(refs)
            session.add(row)
            where = {"repository": repository, "environment": environment, "refs": row.refs}
            self._audit.add(session, actor, tenant, "secret.limit", name, **where)

    def remove(self, actor: Actor, tenant: str, name: str, *, repository: str = "", environment: str = "") -> None:
        """Forget a secret."""
        place = self._place(actor, tenant, repository, environment)
        with self._store.write() as session:
            row = _find(session, tenant, *place, name) if _NAME.fullmatch(name) else None
            if row is None:
                raise _unknown(name, environment)
            session.delete(row)
            where = {"repository": repository, "environment": environment}
            self._audit.add(session, actor, tenant, "secret.remove", name, **where)

    def list(self, actor: Actor, tenant: str, repository: str = "") -> list[SecretView]:
        """Return names: of the tenant, or of a repository and its environments. For those who may push."""
        place = self._scope.repository(actor, tenant, repository, "write").id if repository else ""
        actor.require("write", tenant, repository)
        query = select(Secret).where(
            Secret.tenant == tenant, Secret.repository == place, col(Secret.name).not_like("registry:%")
        )
        with self._store.read() as session:
            rows = session.exec(query.order_by(col(Secret.environment), col(Secret.name))).all()
        return [
            SecretView(row.name, repository, row.environment, row.created_by, row.updated_at, _read(row.refs))
            for row in rows
        ]

    def find(self, tenant: str, repository_id: str, environment: str, names: Iterable[str]) -> dict[str, Sealed]:
        """Find secrets for an attempt of a step: the environment's before the repository's before the tenant's.

        Names without a secret are missing from the answer.
        """
        wanted = {name for name in names if _NAME.fullmatch(name)}  # and no credentials of a registry
        places = ["", *([environment] if environment else [])]
        query = select(Secret).where(
            Secret.tenant == tenant,
            col(Secret.name).in_(wanted),
            col(Secret.repository).in_(["", repository_id]),
            col(Secret.environment).in_(places),
        )
        with self._store.read() as session:
            rows = sorted(session.exec(query), key=lambda row: (row.environment != "", row.repository != ""))
        return {row.name: _sealed(row) for row in rows}

    def find_at(self, tenant: str, repository_id: str, environment: str, name: str) -> Sealed | None:
        """Find a secret of exactly this place, for a plan that was lent it."""
        with self._store.read() as session:
            row = _find(session, tenant, repository_id, environment, name) if _NAME.fullmatch(name) else None
        return None if row is None else _sealed(row)

    def reveal(self, found: Sealed) -> str:
        """Open a secret. Only the preparer of attempts may call this, once the run may be given it."""
        return self._key.open(found.sealed, found.tenant, found.repository, found.environment, found.name)

    def values(self, tenant: str, repository_id: str) -> Sequence[tuple[str, str]]:
        """Open all secrets that steps of a repository may be given, by name: to see that none is published."""
        query = select(Secret).where(
            Secret.tenant == tenant,
            col(Secret.repository).in_(["", repository_id]),
            col(Secret.name).not_like("registry:%"),
        )
        with self._store.read() as session:
            rows = list(session.exec(query))
        return [
            (row.name, self._key.open(row.sealed, tenant, row.repository, row.environment, row.name)) for row in rows
        ]

    def _place(self, actor: Actor, tenant: str, repository: str, environment: str) -> tuple[str, str]:
        if not repository:
            if environment:
                raise Invalid(f"Environment {environment!r} belongs to a repository. Name the repository too.")
            actor.require("manage", tenant)
            return "", ""
        row: Repository = self._scope.repository(actor, tenant, repository, "manage")
        if environment:
            query = select(Environment).where(Environment.repository == row.id, Environment.name == environment)
            with self._store.read() as session:
                if session.exec(query).first() is None:
                    raise NotFound(f"{tenant}/{repository} has no environment {environment!r}. Create it first.")
        return row.id, environment


def _find(session: Session, tenant: str, repository: str, environment: str, name: str) -> Secret | None:
    query = select(Secret).where(
        Secret.tenant == tenant,
        Secret.repository == repository,
        Secret.environment == environment,
        Secret.name == name,
    )
    return session.exec(query).first()


def _sealed(row: Secret) -> Sealed:
    return Sealed(row.tenant, row.repository, row.environment, row.name, _read(row.refs), row.sealed)


def _stored(refs: Refs) -> Any:
    return refs if refs == "protected" else list(refs)


def _read(stored: Any) -> Refs:
    return "protected" if stored == "protected" else tuple(stored)


def _refs(refs: Refs | None) -> Refs | None:
    if refs is None or refs == "protected":
        return refs
    if len(refs) > MOST_REFS:
        raise Invalid(f"{len(refs)} branches and tags were given for a secret; at most {MOST_REFS}. Use a glob.")
    for ref in refs:
        if not ref.strip() or len(ref) > 200 or not ref.isprintable():
            raise Invalid(f"{ref[:40]!r} is no branch or tag. Write one like 'main', 'release/*' or 'tags/v*'.")
    return tuple(refs)


def _unknown(name: str, environment: str) -> NotFound:
    reach = f"in {environment!r}" if environment else "for every step; those of an environment need its name"
    return NotFound(f"There is no secret {name!r} {reach}.")


def _check(name: str, value: str) -> None:
    if not _NAME.fullmatch(name):
        raise Invalid(f"Name {name[:40]!r} of a secret is not valid. Use letters, digits and '_', no digit first.")
    size = len(value.encode())
    if size < 4:
        raise Invalid(f"The value of {name!r} has {size} bytes: too short to be masked in logs. Use at least 4.")
    if size > LONGEST_BYTES or "\0" in value:
        raise Invalid(f"The value of {name!r} is over {LONGEST_BYTES // 1024} KiB or has a NUL in it.")
