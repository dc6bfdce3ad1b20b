"""Diffs of many texts, made by one bounded git."""

import pytest

from stepwell.repos import differences
from stepwell.repos.differences import unified


def test_pairs_are_compared_each_for_itself() -> None:
    pairs = [(b"a\n", b"b\n"), (b"same", b"same"), (b"", b"\xff\n"), (b"diff --git a b\n", b"@@ c\n")]
    assert unified(pairs, timeout_s=60) == [
        "@@ -1 +1 @@\n-a\n+b",
        "",
        "@@ -0,0 +1 @@\n+\ufffd",
        "@@ -1 +1 @@\n-diff --git a b\n+@@ c",
    ]
    assert unified([], timeout_s=60) == []


def test_what_there_is_no_room_for_is_none_and_not_half_of_it() -> None:
    pairs = [(b"", b"a\n"), (b"", b"line\n" * 1000), (b"", b"c\n")]
    assert unified(pairs, timeout_s=60, most_bytes=2000) == ["@@ -0,0 +1 @@\n+a", None, None]


def test_git_is_ended_when_the_time_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(differences, "_COMMAND", ("sleep", "600"))
    assert unified([(b"a", b"b")], timeout_s=0.01) == [None]
