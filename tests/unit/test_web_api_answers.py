"""Views as programs get them: what strangers chose is neither copied level by level nor once for each of its like."""

from dataclasses import asdict, replace
from typing import Any

from fixture_runs import approval, passed_run, step, summary

from stepwell.ci.views import RunSummary, WaitingView
from stepwell_web.api import answers


def test_an_approval_tells_everything_but_its_whole_run() -> None:
    view = approval(summary())
    told = answers.approval(view)
    plain = asdict(view)
    assert told["run"] == {
        "id": view.run.id, "number": view.run.number, "scope": view.run.scope, "url": view.run.url,
    }  # fmt: skip
    assert {**told, "run": None} == {**plain, "run": None, "decisions": list(plain["decisions"])}


def test_an_approval_does_not_read_what_else_its_run_waits_for() -> None:
    class Unread(tuple[WaitingView, ...]):
        def __iter__(self) -> Any:
            raise AssertionError("it was read")

    view = approval(summary())
    run: RunSummary = replace(view.run, waiting=Unread())
    assert answers.approval(replace(view, run=run))["key"] == view.key


def test_a_step_tells_every_field_however_deep_its_result() -> None:
    view = passed_run().steps[0]
    assert answers.step(view) == {**asdict(view), "attempts": [asdict(one) for one in view.attempts],
                                  "seconds": view.seconds}  # fmt: skip
    deep: list[Any] = []
    for _ in range(900):
        deep = [deep]
    assert answers.step(replace(step("deep", "passed", 0, 1), value=deep))["value"] is deep
