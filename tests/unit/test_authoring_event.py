import pytest

from stepwell import Event
from stepwell.authoring.event import glob_pattern


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
