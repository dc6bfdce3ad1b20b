"""What is served of a tree without asking git, and what is left to git."""

import pytest

from stepwell_runners.lazy_tree import converts, is_plain, parse

ID = bytes(20)


@pytest.mark.parametrize(
    "name",
    [
        b".git", b".GIT", b".Git", b"git~1", b"GIT~2", b".git ", b".git.", b".git::$INDEX_ALLOCATION", b".git\\x",
        b"a\\b", b"..", b".", b"", b"a/b", ".g\u200cit".encode(), "\u200d.git".encode(), "g\ufeffit~1".encode(),
        b"x" * 256,
    ],
)  # fmt: skip
def test_names_that_may_be_gits_own_are_left_to_git(name: bytes) -> None:
    assert not is_plain(b"100644", name) and not is_plain(b"40000", name)


@pytest.mark.parametrize(
    "name",
    [b"a", b".gitignore", b".github", b"...", b"gitfs.py", b"Gemfile", b"-rf", "ü".encode(), b"\xff\xfe", b"a\nb"],
)
def test_other_names_are_served_as_they_stand(name: bytes) -> None:
    assert is_plain(b"100644", name)


def test_links_in_place_of_gits_own_files_are_left_to_git() -> None:
    assert is_plain(b"120000", b"latest")
    assert not any(is_plain(b"120000", name) for name in (b".gitmodules", b".gitattributes", b"GITMOD~1", b"x.GIT"))


@pytest.mark.parametrize("mode", [b"100664", b"060000", b"20666", b"0", b""])
def test_modes_that_git_does_not_write_are_left_to_git(mode: bytes) -> None:
    assert not is_plain(mode, b"a")


def test_a_tree_object_is_parsed_or_left_to_git() -> None:
    raw = b"100644 a\0" + ID + b"40000 b\0" + bytes([1]) * 20
    assert parse(raw, 20) == [(b"100644", b"a", "00" * 20), (b"40000", b"b", "01" * 20)]
    assert parse(b"", 20) == []
    for broken in (raw + raw, raw[:-1], b"100644 a", b"100644", b"\0" * 40):
        assert parse(broken, 20) is None


@pytest.mark.parametrize(
    ("text", "may"),
    [
        (b"* text=auto\n*.png binary\n*.sh text eol=lf\ndocs/** linguist-documentation\n", False),
        (b"*.bat eol=crlf", True),
        (b"*.bin filter=lfs diff=lfs merge=lfs -text", True),
        (b"*.c ident", True),
        (b"*.txt working-tree-encoding=UTF-16", True),
        (b"[attr]dos eol=lf", True),
        (b"*.x crlf", True),
        (b"eol=lfx eol=lf", True),
    ],
)
def test_attributes_that_may_convert_are_known(text: bytes, may: bool) -> None:
    assert converts(text) is may
