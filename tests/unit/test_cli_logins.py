"""The file of known servers, and git's credential helper over it."""

import stat
from pathlib import Path

import pytest

from stepwell.cli.credential import answer
from stepwell.cli.logins import Login, Logins, origin_of
from stepwell.errors import Invalid


@pytest.fixture
def logins(tmp_path: Path) -> Logins:
    return Logins(tmp_path / "config")


def test_file_is_readable_by_its_owner_only(logins: Logins) -> None:
    logins.put(Login("http://a:1", "sw_a"), default=True)
    assert stat.S_IMODE(logins.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(logins.path.parent.stat().st_mode) == 0o700


def test_nothing_is_known_without_a_file(logins: Logins) -> None:
    assert logins.all() == []
    assert logins.find("http://a:1") is None


def test_default_comes_first(logins: Logins) -> None:
    logins.put(Login("http://a:1", "sw_a"), default=True)
    logins.put(Login("http://b:1", "sw_b"), default=True)
    assert [one.url for one in logins.all()] == ["http://b:1", "http://a:1"]


def test_own_server_takes_over_from_an_own_server_but_not_from_a_chosen_one(logins: Logins) -> None:
    logins.put(Login("http://127.0.0.1:7700", "sw_a", here=True), default=False)
    logins.put(Login("http://127.0.0.1:7701", "sw_b", here=True), default=False)
    assert logins.all()[0].url == "http://127.0.0.1:7701"
    logins.put(Login("https://ci.example.com", "sw_c"), default=True)
    logins.put(Login("http://127.0.0.1:7700", "sw_d", here=True), default=False)
    assert logins.all()[0].url == "https://ci.example.com"


def test_removed_server_is_forgotten(logins: Logins) -> None:
    logins.put(Login("http://a:1", "sw_a"), default=True)
    logins.put(Login("http://b:1", "sw_b"), default=True)
    logins.remove("http://b:1")
    assert [one.url for one in logins.all()] == ["http://a:1"]


def test_server_is_found_by_any_address_on_it(logins: Logins) -> None:
    logins.put(Login("http://a:1", "sw_a"), default=True)
    found = logins.find("http://x@a:1/acme/api.git")
    assert found is not None and found.token == "sw_a"


def test_broken_file_is_named(logins: Logins) -> None:
    logins.path.parent.mkdir()
    logins.path.write_text("{")
    with pytest.raises(Invalid, match=r"servers\.json is not JSON"):
        logins.all()


@pytest.mark.parametrize("wrong", ["ftp://a", "http://", "://"])
def test_address_that_is_none_is_refused(wrong: str) -> None:
    with pytest.raises(Invalid, match="is not valid"):
        origin_of(wrong)


def test_git_gets_the_token_of_the_server_it_asks_for(logins: Logins) -> None:
    logins.put(Login("http://a:1", "sw_a"), default=True)
    assert answer("protocol=http\nhost=a:1\npath=x\n\n", logins) == "username=stepwell\npassword=sw_a\n"


@pytest.mark.parametrize("host", ["a:2", "b:1", "a"])
def test_git_gets_nothing_for_other_servers(logins: Logins, host: str) -> None:
    logins.put(Login("http://a:1", "sw_a"), default=True)
    assert answer(f"protocol=http\nhost={host}\n", logins) == ""
    assert answer("protocol=https\nhost=a:1\n", logins) == ""
