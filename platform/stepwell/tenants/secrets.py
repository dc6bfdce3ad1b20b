"""Secrets: put in, named by steps, given to the attempt that names them, and shown to nobody afterwards."""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from sqlmodel import Session, col, select

from stepwell.errors import Invalid, NotFound
from stepwell.store.store import Store
from stepwell.store.tables import Environment, Repository, Secret
from stepwell.tenants.actors import Actor
from stepwell.tenants.audit import Audit
from stepwell.tenants.keys import Key, new_id
from stepwell.tenants.scope import Scope

LONGEST_BYTES = 64 * 1024
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,99}")


@dataclass(frozen=True)
class SecretView:
    """A secret without its value. Empty repository: of the tenant; empty environment: of the repository."""

    name: str
    repository: str
    environment: str
    created_by: str
    updated_at: float


class Secrets:
    """Keeps secrets sealed. A value shorter than 4 bytes cannot be masked in logs and is refused."""

    def __init__(self, store: Store, scope: Scope, audit: Audit, key: Key, now: Callable[[], float]) -> None:
        self._store = store
        self._scope = scope
        self._audit = audit
        self._key = key
        self._now = now

    def put(
        self, actor: Actor, tenant: str, name: str, value: str, *, repository: str = "", environment: str = ""
    ) -> None:
        """Set a secret of the tenant, of a repository, or of an environment of it."""
        _check(name, value)
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
                    sealed=sealed,
                    created_by=actor.name,
                    created_at=now,
                    updated_at=now,
                )
            row.sealed, row.updated_at, row.created_by = sealed, now, actor.name
            session.add(row)
            where = {"repository": repository, "environment": environment}
            self._audit.add(session, actor, tenant, "secret.put", name, **where)

    def remove(self, actor: Actor, tenant: str, name: str, *, repository: str = "", environment: str = "") -> None:
        """Forget a secret."""
        place = self._place(actor, tenant, repository, environment)
        with self._store.write() as session:
            row = _find(session, tenant, *place, name) if _NAME.fullmatch(name) else None
            if row is None:
                reach = (
                    f"in {environment!r}" if environment else "for every step; those of an environment need its name"
                )
                raise NotFound(f"There is no secret {name!r} {reach}.")
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
        return [SecretView(row.name, repository, row.environment, row.created_by, row.updated_at) for row in rows]

    def reveal(self, tenant: str, repository_id: str, environment: str, names: Iterable[str]) -> dict[str, str]:
        """Open secrets for an attempt of a step: the environment's before the repository's before the tenant's.

        Only the preparer of attempts may call this. Names without a secret are missing from the answer.
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
        nearest = {row.name: row for row in rows}
        return {
            name: self._key.open(row.sealed, tenant, row.repository, row.environment, name)
            for name, row in nearest.items()
        }

    def reveal_at(self, tenant: str, repository_id: str, environment: str, names: Iterable[str]) -> dict[str, str]:
        """Open secrets of exactly this place, for a plan that was lent them. Only the preparer may call this."""
        wanted = [name for name in names if _NAME.fullmatch(name)]
        with self._store.read() as session:
            rows = [_find(session, tenant, repository_id, environment, name) for name in wanted]
        place = (tenant, repository_id, environment)
        return {row.name: self._key.open(row.sealed, *place, row.name) for row in rows if row is not None}

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


def _check(name: str, value: str) -> None:
    if not _NAME.fullmatch(name):
        raise Invalid(f"Name {name[:40]!r} of a secret is not valid. Use letters, digits and '_', no digit first.")
    size = len(value.encode())
    if size < 4:
        raise Invalid(f"The value of {name!r} has {size} bytes: too short to be masked in logs. Use at least 4.")
    if size > LONGEST_BYTES or "\0" in value:
        raise Invalid(f"The value of {name!r} is over {LONGEST_BYTES // 1024} KiB or has a NUL in it.")
