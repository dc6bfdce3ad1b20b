import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepwell import Event
from stepwell.authoring.globs import glob_pattern


@pytest.mark.parametrize(
    ("glob", "path", "matches"),
    [
        ("src/**", "src/a/b.py", True), ("src/**", "src", False), ("*.py", "a.py", True), ("*.py", "src/a.py", False),
        ("**/*.py", "a.py", True), ("**/*.py", "x/y/a.py", True), ("docs/?.md", "docs/a.md", True),
        ("a/**/z", "a/z", True),
        ("docs/?.md", "docs/ab.md", False), ("[ab].c", "b.c", True), ("[!ab].c", "b.c", False), ("a+b", "aab", False),
    ],
)  # fmt: skip
def test_globs_match_paths(glob: str, path: str, matches: bool) -> None:
    assert bool(glob_pattern(glob).fullmatch(path)) is matches


def test_changed_asks_the_list_of_the_host() -> None:
    event = Event({"kind": "push", "changed": ["src/a.py", "README.md"]})
    assert event.changed("src/**", "nothing")
    assert not event.changed("tests/**")
    assert event.changed()
    assert not Event({"changed": []}).changed()


def test_changed_says_when_it_cannot_know() -> None:
    with pytest.raises(ValueError, match="cannot answer for this cron event"):
        Event({"kind": "cron"}).changed("src/**")


def test_fields_that_an_event_does_not_have_are_none() -> None:
    event = Event({"kind": "tag", "tag": "v1", "sha": "abc"})
    assert (event.tag, event.sha, event.branch, event.payload, event.inputs) == ("v1", "abc", None, None, {})


def test_a_glob_takes_no_longer_than_the_name() -> None:
    before = time.process_time()
    for glob in ("*a" * 30 + "b", "**a" * 30 + "b", "**/" * 30 + "b", "**/a" * 30 + "*b", "***" * 50 + "b"):
        assert not glob_pattern(glob).fullmatch("a" * 3000) and not glob_pattern(glob).fullmatch("a/" * 1500)
    assert time.process_time() - before < 5


@given(st.text("a/b*?[]!-", max_size=8).filter(lambda glob: glob and "[" not in glob), st.text("ab/", max_size=8))
def test_globs_mean_what_the_regular_expression_said(glob: str, text: str) -> None:
    said = re.sub(r"\*\*/|\*\*|\*|\?|.", lambda m: _AS_RE.get(m[0], re.escape(m[0])), glob)
    assert glob_pattern(glob).fullmatch(text) is bool(re.fullmatch(said, text, re.DOTALL))


_AS_RE = {"**/": "(?:[^/]+/)*", "**": ".*", "*": "[^/]*", "?": "[^/]"}


@pytest.mark.parametrize("glob", ["", "x" * 1001, "[z-a]"])
def test_what_is_no_glob_is_refused(glob: str) -> None:
    with pytest.raises(ValueError, match="glob has value"):
        glob_pattern(glob)


def test_what_no_event_has_is_told_apart_from_its_payload() -> None:
    event = Event({"payload": {"order": 7}})
    with pytest.raises(
        AttributeError, match=r"event has no 'order'\. It has: kind, .*given as payload is event\.payload"
    ):
        event.order  # noqa: B018
    assert not hasattr(event, "__deepcopy__")
