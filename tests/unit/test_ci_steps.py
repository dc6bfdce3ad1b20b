"""Which step follows which, read off the times."""

import pytest

from stepwell.ci.steps import MOST_NEEDS, needs_of, promoted
from stepwell.engine.state import AttemptState, StepState


def step(name: str, start: float, end: float | None, *, inline: bool = False) -> StepState:
    made = StepState(name, name, "do" if inline else "run", "running" if end is None else "passed", start)
    made.attempts = [AttemptState(1, "running", start)]
    if inline and end is not None:
        made.asked_at = end  # journaled when it ends
    made.ended_at = end
    return made


def test_steps_in_a_row_follow_each_other() -> None:
    assert needs_of([step("a", 0, 1), step("b", 1.1, 2), step("c", 2.1, None)]) == {"a": (), "b": ("a",), "c": ("b",)}


def test_parallel_steps_join() -> None:
    steps = [step("a", 0, 1), step("b", 1.1, 2), step("c", 1.1, 3), step("d", 3.1, None)]
    assert needs_of(steps) == {"a": (), "b": ("a",), "c": ("a",), "d": ("b", "c")}


def test_a_step_that_still_runs_is_followed_by_none() -> None:
    assert needs_of([step("a", 0, None), step("b", 0.5, None)]) == {"a": (), "b": ()}


def test_a_long_parallel_branch_does_not_hide_a_short_chain() -> None:
    steps = [step("long", 0, 10), step("a", 0, 1), step("b", 1.1, 2), step("end", 10.1, None)]
    assert needs_of(steps)["end"] == ("b", "long")


def test_inline_steps_begin_when_they_began_not_when_they_were_journaled() -> None:
    steps = [step("a", 0, 1, inline=True), step("b", 1.1, 2, inline=True), step("c", 1.1, 2.2, inline=True)]
    assert needs_of(steps) == {"a": (), "b": ("a",), "c": ("a",)}


def test_steps_without_duration_are_kept_in_line() -> None:
    assert needs_of([step("a", 0, 1), step("s", 2, 2), step("c", 3, None)]) == {"a": (), "s": ("a",), "c": ("s",)}


def test_thousands_after_thousands_share_what_they_follow() -> None:
    first = [step(f"a{n}", 0, 1 + n / 10_000) for n in range(3000)]
    needs = needs_of([*first, *(step(f"b{n}", 2 + n / 10_000, 3) for n in range(3000))])
    assert needs["b0"] == tuple(f"a{n}" for n in range(3000 - MOST_NEEDS, 3000))
    assert all(needs[f"b{n}"] is needs["b0"] for n in range(3000))


@pytest.mark.parametrize(
    ("before", "words"),
    [
        ("abc1234567", "moved refs/heads/stable from abc1234 to def5678"),
        ("", "made refs/heads/stable at def5678"),
        ("def5678901", "left refs/heads/stable at def5678, where it was"),
        (None, "promoted refs/heads/stable to def5678"),
    ],
)
def test_a_promotion_is_told_in_words(before: str | None, words: str) -> None:
    value = {"ref": "refs/heads/stable", "sha": "def5678901"} | ({} if before is None else {"before": before})
    assert promoted(value) == words


def test_a_promotion_says_which_steps_have_made_what_it_published() -> None:
    value = {"ref": "refs/tags/v2", "sha": "def5678901", "before": "", "made_by": ["bump", "notes"]}
    assert promoted(value) == "made refs/tags/v2 at def5678, as made by bump and notes"
