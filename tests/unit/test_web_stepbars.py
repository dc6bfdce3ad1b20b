from dataclasses import replace

import pytest
from fixture_runs import NOW, busy_run, summary, waited_run

from stepwell.ci.views import AttemptView, RunLink, RunView, StepView
from stepwell_web import runview, stepbars

BEGUN = 1000.0


def step(
    name: str, asked: float, *tries: tuple[float, float | None], state: str = "passed", **more: object
) -> StepView:
    """A step with attempts that began and ended so many seconds after the run."""
    attempts = tuple(
        AttemptView(n, "passed" if end else "running", BEGUN + start, end and BEGUN + end, None, None, 0)
        for n, (start, end) in enumerate(tries, 1)
    )
    first, last = (tries[0][0], tries[-1][1]) if tries else (None, None)
    changes = {
        "key": name, "name": name, "state": state, "asked_at": BEGUN + asked, "attempts": attempts, "environment": "",
        "started_at": None if first is None else BEGUN + first, "ended_at": None if last is None else BEGUN + last,
        **more,
    }  # fmt: skip
    return replace(busy_run().steps[0], **changes)  # type: ignore[arg-type]


def bars(view: RunView, now: float = NOW) -> dict[str, tuple[int, int]]:
    view = stepbars.joined(view)
    axis = stepbars.axis_of(view, now)
    return {one.name: stepbars.bar(one, axis, now) for one in view.steps}


def run(*steps: StepView, end: float | None = None, created: float = BEGUN) -> RunView:
    told = summary(created_at=created, started_at=created, ended_at=None if end is None else BEGUN + end)
    return replace(busy_run(), summary=told, steps=steps)


def test_a_wait_of_days_leaves_the_bars_of_minutes_their_lengths() -> None:
    rows = {row.name: row for row in runview.rows(waited_run(), None, NOW)}
    assert rows["install"].width > 50 and rows["deploy"].width > 400
    assert 80 <= rows["Ship it?"].width <= 100
    assert rows["Ship it?"].start + rows["Ship it?"].width == pytest.approx(rows["deploy"].start, abs=8)


def test_work_without_a_wait_is_drawn_to_scale() -> None:
    view = run(step("a", 0, (0, 25)), step("b", 25, (50, 100)), end=100)
    assert bars(view) == {"a": (0, 250), "b": (500, 500)}


@pytest.mark.parametrize(
    "waits",
    [
        step("wait", 10, (10, None), state="waiting", kind="approval", attempts=(), started_at=None),
        step("wait", 10, state="waiting", kind="event"),
        step("wait", 10, state="waiting", environment="production"),
        step("wait", 8, (8, 10), state="retrying", ended_at=None),
    ],
    ids=["person", "event", "environment", "next try"],
)
def test_a_wait_that_goes_on_is_folded(waits: StepView) -> None:
    found = bars(run(step("a", 0, (0, 10)), waits), now=BEGUN + 5000)
    assert found["a"] == (0, 910)
    assert sum(found["wait"]) == 1000


def test_an_environment_that_held_a_step_back_is_folded() -> None:
    view = run(step("a", 0, (0, 10)), step("deploy", 10, (5000, 5010), environment="production"), end=5010)
    assert bars(view) == {"a": (0, 455), "deploy": (545, 455)}


def test_steps_that_a_restarted_run_adopted_from_long_ago_are_not_far_away() -> None:
    adopted, own = step("a", -90_000, (-90_000, -89_990)), step("b", 0, (0, 10))
    assert bars(run(adopted, own, end=10)) == {"a": (0, 500), "b": (500, 500)}


def test_what_an_ended_run_asked_for_and_its_restart_ran_is_drawn_from_the_restart_on() -> None:
    adopted = step("a", -90_000, (-90_000, -89_990))
    lint, unit = step("lint", -89_990, (0, 5)), step("unit", 0, (0, 10))
    found = bars(run(adopted, lint, unit, end=10))
    assert found == {"a": (0, 500), "lint": (500, 250), "unit": (500, 500)}


def test_steps_of_two_runs_before_stand_side_by_side() -> None:
    first = step("a", -90_000, (-90_000, -89_990), origin=RunLink("1", 1, "/1"))
    second = step("b", -89_990, (-5000, -4990), origin=RunLink("2", 2, "/2"))
    found = bars(run(first, second, step("c", -4990, (0, 20)), end=20))
    assert found == {"a": (0, 250), "b": (250, 250), "c": (500, 500)}


def test_time_in_which_something_worked_was_no_wait() -> None:
    asks = step("ask", 0, (0, 100), kind="approval", attempts=())
    assert stepbars.waited([asks, step("a", 20, (20, 50))], BEGUN, BEGUN + 120) == 70
