from dataclasses import replace
from typing import Any

from fixture_runs import step

from stepwell.ci.comparison import compare, first_difference
from stepwell.ci.views import StepView


def passed(name: str, seconds: float = 1.0, **changes: Any) -> StepView:
    return step(name, "passed", 0, seconds, **changes)


def told(before: tuple[StepView, ...], after: tuple[StepView, ...]) -> dict[str, list[tuple[str, str, str]]]:
    return {one.name: [(d.what, d.before, d.after) for d in one.differences] for one in compare(before, after)}


def test_steps_that_took_longer_do_not_differ() -> None:
    (change,) = compare((passed("a", 5.0),), (passed("a", 9.0),))
    assert change.differences == ()
    assert change.slower_by == 4


def test_another_image_tool_or_command_is_a_difference() -> None:
    old = {"command": "ruff .", "tools": ["ruff==1", "x==2"], "image": "python:3.12", "timeout": 60, "keep": True}
    new = {"command": ["ruff", "."], "tools": ["ruff==2", "x==2"], "timeout": 60, "keep": False}
    assert told((passed("a", options=old),), (passed("a", options=new),))["a"] == [
        ("command", "ruff .", "ruff, ."), ("image", "python:3.12", ""), ("tools", "ruff==1, x==2", "ruff==2, x==2"),
    ]  # fmt: skip


def test_a_step_that_came_or_went_is_told() -> None:
    assert told((passed("gone"),), (passed("new"),)) == {
        "new": [("step", "", "passed")], "gone": [("step", "passed", "")],
    }  # fmt: skip


def test_an_approval_whose_name_has_a_number_in_it_is_the_same() -> None:
    old, new = passed("Ship 1.1.0?", kind="approval"), passed("Ship 1.9.0?", kind="approval")
    other = passed("Really?", kind="approval")
    (same, came) = compare((old,), (new, other))
    assert (same.before, same.after, same.differences) == (old, new, ())
    assert (came.before, came.after) == (None, other)
    assert told((passed("test 3.11"),), (passed("test 3.14"),)).keys() == {"test 3.11", "test 3.14"}


def test_what_is_not_over_has_no_other_result() -> None:
    assert told((passed("a"),), (step("a", "running", 0, None),)) == {"a": []}
    assert told((passed("a"),), (step("a", "skipped", 0, None),)) == {"a": [("state", "passed", "skipped")]}


def test_another_result_of_a_function_is_a_difference_but_not_of_a_command() -> None:
    for kind, expected in (("do", [("result", '{"a": 1}', '{"a": 2}')]), ("run", [])):
        before, after = (passed("a", kind=kind, value={"a": n}) for n in (1, 2))
        assert told((before,), (after,))["a"] == expected


def test_the_first_difference_is_the_first_in_the_order_asked() -> None:
    before = (passed("a"), passed("b"), passed("c"))
    after = (passed("a"), step("b", "failed", 0, 1), replace(passed("c"), options={"image": "x"}))
    first = first_difference(compare(before, after))
    assert first is not None
    assert (first.name, [d.what for d in first.differences]) == ("b", ["state"])
    assert first_difference(compare(before, before)) is None
    assert first_difference(compare(before, before[:1])) is None  # not come to: that is no cause


def test_a_long_value_is_cut() -> None:
    before, after = passed("a", options={"command": "x" * 5000}), passed("a", options={"command": "y"})
    assert len(told((before,), (after,))["a"][0][1]) == 301
