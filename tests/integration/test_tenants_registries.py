"""Credentials of private registries, on a real database."""

from pathlib import Path

import pytest
from opened import opened

from stepwell.errors import Denied, Invalid, NotFound
from stepwell.store.store import Store
from stepwell.tenants import Tenants


def test_credentials_of_a_registry_are_sealed_and_no_step_can_name_them(tmp_path: Path) -> None:
    tenants = Tenants(Store(tmp_path / "s.db"), tmp_path / "key")
    admin = tenants.people.actor(tenants.bootstrap("acme").id)
    row = tenants.people.add(admin, "ann")
    tenants.members.put(admin, "acme", "ann", "developer")
    registries, secrets, ann = tenants.registries, tenants.secrets, tenants.people.actor(row.id)
    registries.put(admin, "acme", "Registry.example.org:5000", "robot", "old password")
    registries.put(admin, "acme", "registry.example.org:5000", "robot", "new password")
    registries.put(admin, "acme", "index.docker.io", "hub", "hub password")
    assert registries.reveal("acme") == {
        "docker.io": ("hub", "hub password"),
        "registry.example.org:5000": ("robot", "new password"),
    }
    assert [(one.host, one.username) for one in registries.list(ann, "acme")] == [
        ("docker.io", "hub"),
        ("registry.example.org:5000", "robot"),
    ]
    assert "password" not in str(registries.list(ann, "acme")) + str(tenants.audit.list(admin, "acme"))
    kept = b"".join(path.read_bytes() for path in tmp_path.glob("s.db*"))
    assert b"new password" not in kept
    assert secrets.list(admin, "acme") == []
    assert opened(secrets, "acme", "", "", ["registry:docker.io", "docker.io"]) == {}
    with pytest.raises(NotFound):
        secrets.remove(admin, "acme", "registry:docker.io")
    for name, username, password in (
        ("https://x", "a", "long enough"),
        ("x/y", "a", "long enough"),
        ("x", "a:b", "long enough"),
        ("x", "a", "123"),
        ("x", "a", "two\nlines"),
    ):
        with pytest.raises(Invalid):
            registries.put(admin, "acme", name, username, password)
    with pytest.raises(Denied):
        registries.put(ann, "acme", "x", "a", "long enough")
    with pytest.raises(Denied):
        registries.remove(ann, "acme", "docker.io")
    registries.remove(admin, "acme", "docker.io")
    assert list(registries.reveal("acme")) == ["registry.example.org:5000"]
