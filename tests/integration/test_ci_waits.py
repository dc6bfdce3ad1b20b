"""Environments that make steps wait: from the first question of a run for them, whatever people decide meanwhile."""

import pytest
from places import SHIP, Place

from stepwell.ci.views import StepView
from stepwell.errors import Invalid

ALONE = SHIP.replace('await step.approval("Ship it?"', 'False and await step.approval("Ship it?"')
DAY = 86_400.0


def pushed(place: Place, source: str, **rules: object) -> str:
    """Push to a repository whose environment has these rules; give the run."""
    clone = place.repository()
    put(place, **rules)
    place.services.tenants.secrets.put(place.admin(), "acme", "KEY", "correct horse")
    clone.pipeline(source)
    clone.push()
    return str(clone.runs()[0].id)


def put(place: Place, **rules: object) -> None:
    place.services.environments.put(place.admin(), "acme", "api", "production", **rules)  # type: ignore[arg-type]


def deploy(place: Place, run: str) -> StepView:
    """Wait until the step waits for its time."""
    view = place.until(run, lambda view: any(step.name == "deploy" and step.due for step in view.steps))
    return next(step for step in view.steps if step.name == "deploy")


def test_a_step_waits_and_says_for_what_until_the_rule_is_gone(place: Place) -> None:
    run = pushed(place, ALONE, count=0, wait="2 days")
    assert place.services.environments.get(place.admin(), "acme", "api", "production").wait == 2 * DAY
    step = deploy(place, run)
    assert (step.state, step.reason) == ("waiting", "waits as production wants")
    assert step.due is not None and 0 <= step.asked_at + 2 * DAY - step.due < 60
    assert place.services.runs.inbox(place.admin()) == []
    put(place, count=0)
    assert place.finished(run).summary.state == "passed"


def test_the_time_counts_from_the_first_question(place: Place) -> None:
    run = pushed(place, SHIP, count=1, wait=DAY)
    asked = place.waiting(run).approvals[0]
    place.services.runs.decide(place.admin(), run, asked.key, approve=True)
    step = deploy(place, run)
    assert step.due == asked.asked_at + DAY < step.asked_at + DAY
    assert place.services.runs.get(place.admin(), run).approvals == ()


def test_the_time_outlives_the_server(place: Place) -> None:
    run = pushed(place, ALONE, count=0, wait=DAY)
    due = deploy(place, run).due
    place.stop()
    place.start()
    assert deploy(place, run).due == due
    put(place, count=0)
    assert place.finished(run).summary.state == "passed"


@pytest.mark.parametrize("wait", ["soon", "-1 day", "31 days", -5, float("nan")])
def test_times_that_are_none_are_refused(place: Place, wait: object) -> None:
    place.repository()
    with pytest.raises(Invalid, match=r"wait has value|at most; wait"):
        put(place, wait=wait)
