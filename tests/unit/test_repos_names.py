import pytest

from stepwell.errors import Invalid
from stepwell.repos.names import check_id, check_name


@pytest.mark.parametrize("name", ["a", "api", "A.b_c-d", "0", "x" * 100, "git", "a.github.io"])
def test_good_name_is_returned(name: str) -> None:
    assert check_name(name) == name


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("", "not valid"),
        ("..", "'..'"),
        ("a..b", "'..'"),
        ("api.git", "'.git'"),
        ("api.GIT", "'.git'"),
        (".hidden", "not valid"),
        ("-option", "not valid"),
        ("a/b", "not valid"),
        ("a b", "not valid"),
        ("a\n", "not valid"),
        ("ä", "not valid"),
        ("x" * 101, "not valid"),
    ],
)
def test_bad_name_is_refused_with_the_reason(name: str, reason: str) -> None:
    with pytest.raises(Invalid, match=reason):
        check_name(name)


@pytest.mark.parametrize("repository", ["", "../x", ".new-1", "a/b", "a.b", "x" * 65])
def test_id_that_could_leave_the_directory_is_refused(repository: str) -> None:
    with pytest.raises(Invalid):
        check_id(repository)
