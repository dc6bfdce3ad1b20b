"""Which runs a selection means, and cursors that are only good for their own question."""

from typing import Any

import pytest

from stepwell.dynamic.survey import cursor_of
from stepwell.engine.selection import Selection
from stepwell.errors import Invalid
from stepwell.store.journal import RunRow

ROW = RunRow({"pipeline": "Ship", "n": 1}, "r", "acme", "acme/api", 1, "W", "waiting", None, 100.0, 120.0, None, 5)
FITS: list[dict[str, Any]] = [
    {}, {"tenant": "acme"}, {"scope": "acme/api"}, {"states": frozenset({"waiting", "paused"})},
    {"metadata": {"pipeline": "Ship", "n": 1}}, {"created_after": 99.0}, {"created_until": 100.0},
]  # fmt: skip
DOES_NOT: list[dict[str, Any]] = [
    {"tenant": "acm"}, {"scope": "acme"}, {"states": frozenset({"paused"})}, {"metadata": {"pipeline": "ship"}},
    {"metadata": {"pipeline": "Ship", "missing": None}}, {"created_after": 100.0}, {"created_until": 99.9},
]  # fmt: skip


@pytest.mark.parametrize("which", FITS)
def test_a_run_that_is_all_that_is_said_fits(which: dict[str, Any]) -> None:
    assert Selection(**which).fits(ROW)
    assert Selection(**{**FITS[1], **FITS[2], **which}).fits(ROW)


@pytest.mark.parametrize("which", DOES_NOT)
def test_a_run_that_is_otherwise_in_one_thing_does_not(which: dict[str, Any]) -> None:
    assert not Selection(**which).fits(ROW)
    assert not Selection(**{**FITS[1], **FITS[2], **which}).fits(ROW)


def test_states_alone_do_not_narrow_whose_runs_are_meant() -> None:
    assert not Selection().narrow and not Selection(states=frozenset({"failed"})).narrow
    assert all(Selection(**which).narrow for which in DOES_NOT if "states" not in which)


def test_a_cursor_is_read_as_it_was_written_and_begins_without_one() -> None:
    begun = cursor_of(None, "question", 5.0)
    assert (begun.until, begun.at, begun.run) == (5.0, -1.0, "")
    assert cursor_of(begun.text(), "question", 9.0) == begun


@pytest.mark.parametrize("text", ["", "x", "bnVsbA==", "WzEsMl0=", "WyJxdWVzdGlvbiIsIHt9LCAxLCAiciJd", "é"])
def test_a_cursor_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(Invalid, match="is not one of ours"):
        cursor_of(text, "question", 5.0)


def test_a_cursor_of_another_question_is_refused() -> None:
    with pytest.raises(Invalid, match="belongs to another question"):
        cursor_of(cursor_of(None, "pause all", 5.0).text(), "terminate all", 5.0)


@pytest.mark.parametrize(
    ("which", "says"),
    [
        ({"tenant": 5}, "tenant has value '5'. Give a text."),
        ({"scope": None}, "scope has value 'None'"),
        ({"states": "waiting"}, "states has value 'waiting'. Give a list or set of them."),
        ({"metadata": "x"}, "metadata has value 'x'. Give names and values."),
        ({"created_after": "yesterday"}, "created_after has value 'yesterday'. Give seconds since the epoch."),
        ({"created_until": float("nan")}, "created_until has value 'nan'"),
    ],
)
def test_what_can_mean_no_run_is_refused(which: dict[str, Any], says: str) -> None:
    """It would select nothing, and nobody would notice."""
    with pytest.raises(Invalid) as caught:
        Selection(**which)
    assert says in str(caught.value)
