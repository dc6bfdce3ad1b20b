"""Credentials of private registries: sealed like secrets, used to pull images, and shown to nobody afterwards.

They are rows of the table of secrets, under names that no secret can have. No step can name one: they go to the runner,
which gives them to the container engine for a pull, and nowhere else.
"""

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sqlmodel import Session, col, select

from stepwell.errors import Invalid, NotFound
from stepwell.store.store import Store
from stepwell.store.tables import Secret
from stepwell.tenants.actors import Actor
from stepwell.tenants.audit import Audit
from stepwell.tenants.keys import Key, new_id

PREFIX = "registry:"
HUB = "docker.io"
LONGEST = 16 * 1024
_HOST = re.compile(r"[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?(?::[0-9]{1,5})?")


@dataclass(frozen=True)
class RegistryView:
    """A registry without its password."""

    host: str
    username: str
    created_by: str
    updated_at: float


class Registries:
    """Keeps credentials of a tenant's registries sealed, one pair for each host."""

    def __init__(self, store: Store, audit: Audit, key: Key, now: Callable[[], float]) -> None:
        self._store = store
        self._audit = audit
        self._key = key
        self._now = now

    def put(self, actor: Actor, tenant: str, host: str, username: str, password: str) -> None:
        """Set the credentials for a host, like "registry.example.org:5000", or "docker.io"."""
        actor.require("manage", tenant)
        host = _host(host)
        if not username or len(username) > 255 or not username.isprintable() or ":" in username:
            raise Invalid(f"The user name {username[:40]!r} is not valid. Use 1 to 255 printable characters, no ':'.")
        if not 4 <= len(password.encode()) <= LONGEST or not password.isprintable():
            raise Invalid(
                f"The password for {host} is not valid. Use 4 bytes, so that it can be masked in logs, to "
                f"{LONGEST >> 10} KiB, all printable."
            )
        name, now = PREFIX + host, self._now()
        sealed = self._key.seal(json.dumps([username, password]), tenant, "", "", name)
        with self._store.write() as session:
            row = _find(session, tenant, name)
            if row is None:
                row = Secret(
                    id=new_id(), tenant=tenant, name=name, sealed=sealed, created_by=actor.name, created_at=now,
                    updated_at=now,
                )  # fmt: skip
            row.sealed, row.updated_at, row.created_by = sealed, now, actor.name
            session.add(row)
            self._audit.add(session, actor, tenant, "registry.put", host)

    def remove(self, actor: Actor, tenant: str, host: str) -> None:
        """Forget the credentials for a host. Images that were pulled with them are not given to steps any more."""
        actor.require("manage", tenant)
        host = _host(host)
        with self._store.write() as session:
            row = _find(session, tenant, PREFIX + host)
            if row is None:
                raise NotFound(f"There are no credentials for {host!r}.")
            session.delete(row)
            self._audit.add(session, actor, tenant, "registry.remove", host)

    def list(self, actor: Actor, tenant: str) -> list[RegistryView]:
        """Return hosts and user names. For those who may push."""
        actor.require("write", tenant)
        return [
            RegistryView(row.name.removeprefix(PREFIX), self._open(row)[0], row.created_by, row.updated_at)
            for row in self._rows(tenant)
        ]

    def reveal(self, tenant: str) -> dict[str, tuple[str, str]]:
        """Return host → (user name, password). Only the preparer of attempts may call this."""
        return {row.name.removeprefix(PREFIX): self._open(row) for row in self._rows(tenant)}

    def _rows(self, tenant: str) -> Sequence[Secret]:
        query = select(Secret).where(Secret.tenant == tenant, col(Secret.name).startswith(PREFIX))
        with self._store.read() as session:
            return session.exec(query.order_by(col(Secret.name))).all()

    def _open(self, row: Secret) -> tuple[str, str]:
        username, password = json.loads(self._key.open(row.sealed, row.tenant, "", "", row.name))
        return str(username), str(password)


def _find(session: Session, tenant: str, name: str) -> Secret | None:
    return session.exec(select(Secret).where(Secret.tenant == tenant, Secret.name == name)).first()


def _host(host: str) -> str:
    host = host.lower()
    if host in ("index.docker.io", "registry-1.docker.io", "https://index.docker.io/v1/"):
        host = HUB
    if not _HOST.fullmatch(host):
        raise Invalid(f'Registry {host[:80]!r} is not valid. Write its host, like "registry.example.org:5000".')
    return host
