"""Questions to people in the rows of runs: short, and read as older rows have them."""

import pytest

from stepwell.store.asked import Asked, asked_of, brief
from stepwell.store.derived import Derived, differences
from stepwell.store.json_text import encode

QUESTIONS = [
    (Asked("Ship it?#1", "Ship it?", ""), "Ship it?#1"),
    (Asked("Ship #2#1", "Ship #2", ""), "Ship #2#1"),
    (Asked("deploy#1", "deploy", "production"), {"key": "deploy#1", "environment": "production"}),
    (Asked("?#1", "other", ""), {"key": "?#1", "name": "other"}),
]


@pytest.mark.parametrize(("asked", "written"), QUESTIONS)
def test_a_question_is_written_without_what_its_key_says(asked: Asked, written: object) -> None:
    assert brief(asked) == written
    assert asked_of(written) == asked


@pytest.mark.parametrize(("asked", "_written"), QUESTIONS)
def test_rows_of_an_older_stepwell_are_read(asked: Asked, _written: object) -> None:
    key, name, environment = asked
    assert asked_of({"key": key, "name": name, "environment": environment or None}) == asked


def kept(summary: str) -> Derived:
    return Derived({"id": "a", "ended_at": None, "awake": 0, "state": "waiting", "summary": summary}, {}, frozenset())


def test_a_row_of_an_older_stepwell_says_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stepwell.store.derived.COLUMNS", ("summary",))
    for asked, written in QUESTIONS:
        old = {"key": asked.key, "name": asked.name, "environment": asked.environment or None}
        rows = [kept(encode({"counts": {"waiting": 1}, "approvals": [one]})) for one in (old, written)]
        assert differences(*rows) == []


@pytest.mark.parametrize("approvals", [[{"name": "Ship it?"}], [7], 7, ["Else?#1"]])
def test_a_row_that_says_something_else_is_told(approvals: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stepwell.store.derived.COLUMNS", ("summary",))
    rows = [kept(encode({"counts": {}, "approvals": one})) for one in (approvals, ["Ship it?#1"])]
    assert [one.what for one in differences(*rows)] == ["summary"]
