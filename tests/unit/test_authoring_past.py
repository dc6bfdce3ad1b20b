from typing import Any

from stepwell.authoring.past import Past

INLINE = {"kind": "do", "name": "d", "fingerprint": "f"}
JOURNAL: list[list[Any]] = [
    [1, 0.0, "created", "", 0, {}],
    [2, 0.0, "asked", "a#1", 0, {"kind": "run", "fingerprint": "x", "where": "p.py:3"}],
    [3, 0.0, "asked", "~2", 0, {"kind": "timer", "fingerprint": "", "where": ""}],
    [4, 0.0, "retry", "d#1", 1, {"error": {}, "due": 5.0, "inline": INLINE}],
    [5, 0.0, "done", "a#1", 1, {"ok": True, "value": 1}],
]


def test_everything_asked_must_be_asked_again() -> None:
    past = Past(JOURNAL, 0)
    assert past.left_over({"a#1": 1, "d#1": 1}, 2, {}) is None
    assert past.left_over({"d#1": 1}, 2, {}) == "a#1"
    assert past.left_over({"a#1": 1, "d#1": 1}, 1, {}) == "~2"
    assert past.left_over({"a#1": 1}, 2, {}) == "d#1"
    assert past.told("a#1") == "the journal has it as a run step asked at p.py:3"


def test_attempts_go_on_behind_the_last_retry() -> None:
    past = Past(JOURNAL, 0)
    assert (past.attempts, past.backing_off) == ({"d#1": 1}, {"d#1"})
    assert not Past([*JOURNAL, [6, 5.0, "fired", "d#1", 0, None]], 0).backing_off


def test_what_the_code_has_caused_shows_how_far_it_was_played() -> None:
    assert Past(JOURNAL, 0).played == 1
    assert Past(JOURNAL, 5).played == 5


def test_what_is_asked_otherwise_is_told_with_the_settings_that_differ() -> None:
    options = {"command": "make", "tools": ["a==1"], "cpu": 1, "env": {}, "cwd": "x" * 200}
    asked = {"kind": "run", "fingerprint": "x", "where": "p.py:3", "options": options}
    past = Past([[1, 0.0, "asked", "a#1", 0, asked], *JOURNAL[3:4]], 0)
    new = {**options, "command": "make all", "tools": ("a==1",)}
    assert past.told_otherwise("a#1", "run", new, "p.py:4") == (
        "it is now asked with other settings at p.py:4: command was 'make', is 'make all'"
    )
    told = past.told_otherwise("a#1", "run", {"memory": "1 GiB"}, "")
    assert told.startswith("it is now asked with other settings: command was 'make', is None, tools was ['a==1'], is")
    assert told.endswith(", and 3 more")
    assert "…" in past.told_otherwise("a#1", "run", {**options, "cwd": None}, "")
    assert past.told_otherwise("a#1", "sleep", {}, "p.py:4") == "it is now a sleep step at p.py:4"
    assert past.told_otherwise("d#1", "do", None, "") == "it is now another function, or has other arguments"
