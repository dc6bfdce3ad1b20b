"""Tenants on a real database, whose clock a test sets."""

from pathlib import Path

from stepwell.store.store import Store
from stepwell.store.tables import Repository
from stepwell.tenants import Actor, Tenants


class House:
    """The tenant `acme`, its owner, and whoever a test adds."""

    def __init__(self, path: Path) -> None:
        self.time = 1_000_000.0
        self.store = Store(path / "s.db")
        self.tenants = Tenants(self.store, path / "key", now=lambda: self.time)
        self.admin = self.tenants.people.actor(self.tenants.bootstrap("acme").id)

    def person(self, name: str, role: str = "") -> Actor:
        row = self.tenants.people.by_name(name) or self.tenants.people.add(self.admin, name)
        if role:
            self.tenants.members.put(self.admin, "acme", name, role)
        return self.tenants.people.actor(row.id)

    def repository(self, name: str = "api", tenant: str = "acme") -> Repository:
        row = Repository(id=f"id-{tenant}-{name}", tenant=tenant, name=name, created_at=0)
        with self.store.write() as session:
            session.add(row)
        return row
