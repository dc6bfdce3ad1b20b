"""Which runs go on together: groups that cancel, queue or keep the newest, and rates."""

from places import SHIP, Clone

CALLS = """
from stepwell import Pipeline, group, push

class Part(Pipeline):
    async def run(self, event, step):
        return [event.branch, event.payload]

class Whole(Pipeline):
    on = [push("main")]
    concurrency = group("whole", "cancel")
    async def run(self, event, step):
        return await step.call("part", Part, 3)
"""


def test_a_called_pipeline_is_a_run_of_its_own_outside_of_its_callers_group(clone: Clone) -> None:
    clone.pushed(CALLS)
    place, run = clone.place, str(clone.runs()[-1].id)
    view = place.finished(run)
    assert (view.summary.state, view.result) == ("passed", ["main", 3])
    (step,) = view.steps
    assert step.child is not None and step.child["number"] == 2
    called = place.services.runs.get(place.admin(), step.child["run"])
    assert (called.summary.pipeline, called.summary.number, called.summary.sha) == ("Part", 2, view.summary.sha)
    assert called.parent is not None and (called.parent["run"], called.parent["key"]) == (run, "part#1")
    again = place.services.runs.rerun(place.admin(), step.child["run"])
    repeated = place.finished(again.id)
    assert (repeated.summary.pipeline, repeated.result, repeated.parent) == ("Part", ["main", 3], None)


def test_a_newer_run_of_a_cancelling_group_ends_the_older_ones_of_its_branch(clone: Clone) -> None:
    place = clone.place
    source = SHIP.replace("    on =", '    concurrency = group("ship-{branch}", "cancel")\n    on =').replace(
        '"main", ', '"*", '
    )
    first = clone.pushed(source)
    clone.push("refs/heads/other")
    other = clone.runs()[0].id
    place.waiting(first)
    clone.commit_files({"a": "1"})
    clone.push()
    view = place.finished(first)
    assert view.summary.state == "cancelled"
    assert place.waiting(other).summary.state == "waiting"
    assert place.waiting(clone.runs()[0].id).summary.number == 3


def grouped(policy: str) -> str:
    return SHIP.replace("    on =", f'    concurrency = group("ship-{{branch}}", "{policy}")\n    on =')


def pushed_again(clone: Clone, times: int) -> list[str]:
    """Push so many further commits; give the ids of their runs."""
    found = []
    for n in range(times):
        clone.commit_files({"again": f"{n}"})
        clone.push()
        found.append(str(clone.runs()[0].id))
    return found


def test_a_run_of_a_queueing_group_waits_for_the_one_before_it(clone: Clone) -> None:
    place, first = clone.place, clone.pushed(grouped("queue"))
    (ask,) = place.waiting(first).approvals
    (second,) = pushed_again(clone, 1)
    view = place.until(second, lambda view: view.summary.state == "queued")
    assert view.summary.reason == "waits for run #1 in group ship-main"
    assert view.steps == ()
    listed = place.services.runs.list(place.admin(), tenant="acme", repository="api")
    assert listed.items[0].reason == view.summary.reason, "a list says it, too"
    place.services.runs.decide(place.admin(), first, ask.key, approve=False)
    assert place.finished(first).summary.state == "failed"
    assert place.waiting(second).summary.state == "waiting"


def test_a_pipeline_with_a_rate_limit_begins_no_more_often(clone: Clone) -> None:
    place = clone.place
    first = clone.pushed(SHIP.replace("    on =", '    rate_limit = rate(1, "7 days")\n    priority = 5\n    on ='))
    place.waiting(first)
    (second,) = pushed_again(clone, 1)
    view = place.until(second, lambda view: view.summary.state == "queued")
    assert view.summary.reason == "waits for its turn: at most 1 run of Ship in 1 week"
    state = place.thread.submit(place.thread.engine.get(second)).result()
    assert state is not None and state.order.priority == 5


def test_of_the_runs_that_wait_in_a_newest_group_the_last_one_stays(clone: Clone) -> None:
    place, first = clone.place, clone.pushed(grouped("newest"))
    place.waiting(first)
    second, third = pushed_again(clone, 2)
    view = place.finished(second)
    assert (view.summary.state, view.steps) == ("cancelled", ())
    assert view.summary.reason == "cancelled by stepwell: superseded by run #3"
    assert place.until(third, lambda view: view.summary.state == "queued").summary.reason.startswith("waits for run #1")


def test_a_run_that_waits_for_its_group_is_cancelled_and_repeated_like_any_other(clone: Clone) -> None:
    place, first = clone.place, clone.pushed(grouped("queue"))
    place.waiting(first)
    (second,) = pushed_again(clone, 1)
    place.services.control.cancel(place.admin(), second)
    assert place.finished(second).summary.state == "cancelled"
    again = place.services.runs.rerun(place.admin(), second)
    assert place.until(again.id, lambda view: view.summary.state == "queued").summary.reason.startswith(
        "waits for run #1"
    )
