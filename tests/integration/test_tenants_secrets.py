"""Secrets of tenants: sealed, bound to their place, readable by nobody; and the key that seals them."""

import os
import stat
from pathlib import Path

import pytest
from houses import House
from opened import opened

from stepwell.errors import Denied, Invalid, NotFound, Unavailable
from stepwell.store.tables import Secret
from stepwell.tenants.keys import Key


def test_a_secret_row_moved_to_another_place_does_not_open(house: House) -> None:
    first, second = house.repository("one"), house.repository("two")
    house.tenants.secrets.put(house.admin, "acme", "KEY", "value", repository="one")
    with house.store.write() as session:
        row = session.get_one(Secret, _only(house).id)
        row.repository = second.id
    with pytest.raises(Unavailable, match="sealed with another key or for another place"):
        opened(house.tenants.secrets, "acme", second.id, "", ["KEY"])
    assert opened(house.tenants.secrets, "acme", first.id, "", ["KEY"]) == {}


@pytest.mark.parametrize("change", [{"name": "OTHER"}, {"environment": "production"}])
def test_a_renamed_secret_row_does_not_open(house: House, change: dict[str, str]) -> None:
    house.tenants.secrets.put(house.admin, "acme", "KEY", "value")
    with house.store.write() as session:
        row = session.get_one(Secret, _only(house).id)
        for field, value in change.items():
            setattr(row, field, value)
    with pytest.raises(Unavailable):
        opened(house.tenants.secrets, "acme", "r", change.get("environment", ""), [change.get("name", "KEY")])


def _only(house: House) -> Secret:
    from sqlmodel import select

    with house.store.read() as session:
        return session.exec(select(Secret)).one()


def test_a_secret_is_sealed_on_disk_and_gone_when_removed(house: House) -> None:
    house.tenants.secrets.put(house.admin, "acme", "KEY", "a very secret value")
    assert b"a very secret value" not in _only(house).sealed
    house.tenants.secrets.put(house.admin, "acme", "KEY", "another value")
    assert opened(house.tenants.secrets, "acme", "", "", ["KEY", "NONE"]) == {"KEY": "another value"}
    house.tenants.secrets.remove(house.admin, "acme", "KEY")
    with pytest.raises(NotFound):
        house.tenants.secrets.remove(house.admin, "acme", "KEY")
    assert opened(house.tenants.secrets, "acme", "", "", ["KEY"]) == {}


def test_only_maintainers_set_secrets_and_nobody_gets_values(house: House) -> None:
    ann = house.person("ann", "developer")
    with pytest.raises(Denied):
        house.tenants.secrets.put(ann, "acme", "KEY", "value")
    house.tenants.secrets.put(house.admin, "acme", "KEY", "the value itself")
    (view,) = house.tenants.secrets.list(ann, "acme")
    assert view.name == "KEY"
    assert "the value itself" not in repr(view)
    with pytest.raises(Denied):
        house.tenants.secrets.list(house.person("eve", "viewer"), "acme")


@pytest.mark.parametrize(
    ("name", "value"), [("9KEY", "value"), ("A-B", "value"), ("", "value"), ("KEY", "abc"), ("KEY", "a\0bcd")]
)
def test_a_secret_that_could_not_be_used_or_masked_is_refused(house: House, name: str, value: str) -> None:
    with pytest.raises(Invalid):
        house.tenants.secrets.put(house.admin, "acme", name, value)


def test_a_secret_of_an_environment_needs_the_environment(house: House) -> None:
    house.repository()
    with pytest.raises(NotFound, match="Create it first"):
        house.tenants.secrets.put(house.admin, "acme", "KEY", "value", repository="api", environment="production")
    with pytest.raises(Invalid, match="Name the repository"):
        house.tenants.secrets.put(house.admin, "acme", "KEY", "value", environment="production")


def test_the_key_is_made_once_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "state" / "key"
    sealed = Key.load(path).seal("value", "place")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert Key.load(path).open(sealed, "place") == "value"
    assert [entry.name for entry in path.parent.iterdir()] == ["key"]


def test_a_key_that_others_can_read_or_that_is_cut_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "key"
    Key.load(path)
    path.chmod(0o644)
    with pytest.raises(Invalid, match="chmod 600"):
        Key.load(path)
    path.chmod(0o600)
    os.truncate(path, 16)
    with pytest.raises(Unavailable, match="16 bytes"):
        Key.load(path)


def test_another_key_opens_nothing(tmp_path: Path) -> None:
    sealed = Key.load(tmp_path / "one").seal("value", "place")
    with pytest.raises(Unavailable):
        Key.load(tmp_path / "two").open(sealed, "place")
