"""What roles and tokens allow."""

import pytest

from stepwell.errors import Denied, Invalid, NotFound
from stepwell.tenants.actors import NOBODY, Actor
from stepwell.tenants.names import check_name, check_repository


def ann(**more: object) -> Actor:
    return Actor(**{"person": "p", "name": "ann", "roles": {"acme": "developer"}, **more})  # type: ignore[arg-type]


def test_what_one_may_not_see_does_not_exist() -> None:
    with pytest.raises(NotFound, match="no 'other'"):
        ann().require("write", "other")
    with pytest.raises(NotFound):
        NOBODY.require("read", "acme")


def test_what_one_sees_but_may_not_do_is_denied_with_the_reason() -> None:
    with pytest.raises(Denied, match="your role is developer"):
        ann().require("manage", "acme")
    with pytest.raises(Denied, match="this token's scopes"):
        ann(scopes=frozenset({"read"})).require("write", "acme")


def test_a_token_without_read_sees_nothing() -> None:
    assert ann(scopes=frozenset({"write"})).tenants == ()


def test_a_token_for_one_repository_has_no_rights_beside_it() -> None:
    narrow = ann(repository="acme/api")
    assert narrow.may("write", "acme", "api")
    assert not narrow.may("read", "acme", "web")
    assert not narrow.may("read", "acme")


@pytest.mark.parametrize("name", ["", "-a", "A", "a b", "a..b", "a.git", "a/b", "x" * 40, "api", "approvals", "../x"])
def test_names_that_could_be_something_else_are_refused(name: str) -> None:
    with pytest.raises(Invalid):
        check_name(name, "tenant")


@pytest.mark.parametrize("name", ["a", "acme", "acme-2", "a.b_c", "x" * 39])
def test_other_names_are_good(name: str) -> None:
    assert check_name(name, "tenant") == name


def test_a_repository_cannot_hide_a_page_of_its_tenant() -> None:
    with pytest.raises(Invalid):
        check_repository("Settings")
