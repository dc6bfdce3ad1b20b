"""What people do to a run that exists: who may, what becomes of it, what is recorded, what is shown."""

from collections.abc import Callable
from typing import Any

import pytest
from places import Clone, Place

from stepwell.ci.views import RunView
from stepwell.errors import Conflict, Denied, Invalid, NotFound
from stepwell.tenants import NOBODY, Actor

WAIT = """
from stepwell import *

class Ship(Pipeline):
    on = [push("main")]
    async def run(self, event, step):
        await step.run("build", "make")
        await step.wait_for_event("w", type="go")
"""
SHIP = """
from stepwell import *

def deploy():
    raise FinalError("no room")

class Ship(Pipeline):
    on = [push("main"), tag("v*")]
    async def run(self, event, step):
        await step.run("build", "make")
        await step.approval("Ship it?", environment="production")
        await step.run("check", "one")
        await step.run("check", "two")
        await step.do("deploy", deploy)
        return event.sha
"""
MENDED = SHIP.replace('raise FinalError("no room")', "return 7")


def shipped(clone: Clone, ref: str = "refs/heads/main") -> str:
    """Push a run that fails after its approval."""
    run = clone.pushed(SHIP, ref)
    approve(clone.place, run)
    assert clone.place.finished(run).summary.state == "failed"
    return run


def approve(place: Place, run: str) -> None:
    place.services.runs.decide(place.admin(), run, place.waiting(run).approvals[0].key, approve=True)


def hibernating(place: Place, run: str) -> RunView:
    return place.until(run, lambda view: view.summary.state == "waiting")


def audited(place: Place) -> list[tuple[str, str, dict[str, Any]]]:
    """What the audit log says of runs, the oldest first."""
    found = place.services.tenants.audit.list(place.admin(), "acme")
    return [(one.action, one.subject, one.detail) for one in reversed(found) if one.action.startswith("run.")]


def test_a_paused_run_says_who_paused_it_and_goes_on_when_resumed(clone: Clone) -> None:
    place, run = clone.place, clone.pushed(WAIT)
    hibernating(place, run)
    control, admin = place.services.control, place.admin()
    control.pause(admin, run, "freeze")
    view = place.services.runs.get(admin, run)
    assert (view.summary.state, view.summary.reason) == ("paused", "paused by admin: freeze")
    assert [one.id for one in place.services.runs.list(admin, state="paused").items] == [run]
    place.services.runs.send_event(admin, run, "go", None)
    with pytest.raises(Conflict, match="paused already"):
        control.pause(admin, run)
    control.resume(admin, run)
    assert place.finished(run).summary.state == "passed"
    with pytest.raises(Conflict, match="has ended"):
        control.resume(admin, run)
    assert audited(place) == [
        ("run.pause", "api#1", {"reason": "freeze"}), ("run.resume", "api#1", {}),
    ]  # fmt: skip


def test_cancelling_and_terminating_are_recorded_once_and_nothing_is_recorded_of_ended_runs(clone: Clone) -> None:
    place, control = clone.place, clone.place.services.control
    first = clone.pushed(WAIT)
    hibernating(place, first)
    control.cancel(place.admin(), first, "enough", undo=True)
    assert place.finished(first).summary.state == "cancelled"
    second = clone.pushed(WAIT)
    hibernating(place, second)
    control.terminate(place.admin(), second)
    assert place.finished(second).summary.reason == "terminated by admin"
    for run in (first, second):
        control.cancel(place.admin(), run)
        control.terminate(place.admin(), run)
    assert audited(place) == [
        ("run.cancel", "api#1", {"reason": "enough", "undo": True}), ("run.terminate", "api#2", {}),
    ]  # fmt: skip


def changes(place: Place, actor: Actor, run: str) -> list[Callable[[], Any]]:
    control = place.services.control
    return [
        lambda: control.pause(actor, run),
        lambda: control.resume(actor, run),
        lambda: control.cancel(actor, run),
        lambda: control.terminate(actor, run),
        lambda: control.restart(actor, run, "build"),
        lambda: control.restart(actor, run, "no such step", code="newer"),
    ]


def test_viewers_are_refused_and_strangers_find_nothing(clone: Clone) -> None:
    place, run = clone.place, clone.pushed(WAIT)
    before = hibernating(place, run).summary
    place.services.tenants.create(place.admin(), "other")
    reading = place.services.tenants.tokens.issue(place.admin(), "t", scopes=("read",)).secret
    token = place.services.tenants.tokens.actor(reading)
    assert token is not None
    refused: list[tuple[Actor, type[Exception]]] = [
        (place.person("eve", "viewer"), Denied), (token, Denied),
        (place.person("mallory", "owner", "other"), NotFound), (NOBODY, NotFound),
    ]  # fmt: skip
    for actor, error in refused:
        for change in changes(place, actor, run):
            with pytest.raises(error):
                change()
    assert place.services.runs.get(place.admin(), run).summary == before
    assert (len(clone.runs()), audited(place)) == (1, [])


def test_a_run_restarted_from_a_step_shows_what_it_adopted_with_logs(clone: Clone) -> None:
    place, run = clone.place, shipped(clone)
    admin, attempts = place.admin(), len(place.executor.attempts)
    made = place.services.control.restart(admin, run, "deploy")
    assert (made.number, made.kind, made.actor) == (2, "push", "admin")
    view = place.finished(made.id)
    assert view.restart_of is not None
    assert (view.restart_of.number, view.restart_of.url, view.restarted_at) == (1, "/acme/api/runs/1", "deploy#1")
    assert view.restart_note == "with the same code, so approvals before that hold"
    origins = {step.key: step.origin.number if step.origin else None for step in view.steps}
    assert origins == {"build#1": 1, "Ship it?#1": 1, "check#1": 1, "check#2": 1, "deploy#1": None}
    assert len(place.executor.attempts) == attempts
    log = place.services.runs.log(admin, made.id, "check#2")
    assert b"$ two\n" in log.read() and view.steps[3].log_size == log.size > 0
    again = place.services.control.restart(admin, made.id, "check#2")
    origins = {step.key: step.origin.number if step.origin else None for step in place.finished(again.id).steps}
    assert (origins["check#1"], origins["check#2"], origins["deploy#1"]) == (1, None, None)
    assert audited(place) == [
        ("run.restart", "api#1", {"step": "deploy#1", "code": "same", "new": 2}),
        ("run.restart", "api#2", {"step": "check#2", "code": "same", "new": 3}),
    ]  # fmt: skip


def test_with_the_newest_code_people_are_asked_again_and_the_rest_is_not_run_again(clone: Clone) -> None:
    place, run = clone.place, shipped(clone)
    old = clone.git("rev-parse", "HEAD")
    clone.pipeline(MENDED)
    clone.push()
    newest = clone.git("rev-parse", "HEAD")
    place.services.control.terminate(place.admin(), clone.runs()[0].id)
    made = place.services.control.restart(place.admin(), run, "deploy", code="newer")
    assert (made.sha, made.branch) == (newest, "main")
    view = place.waiting(made.id)
    assert view.restarted_at == "Ship it?#1", "the approval was given for other code"
    assert view.restart_note == "with other code, so people are asked again"
    approve(place, made.id)
    view = place.finished(made.id)
    assert (view.summary.state, view.result) == ("passed", old), "the event is the one that the run was begun with"
    assert [attempt.key for attempt in place.executor.attempts if attempt.run == made.id] == ["check#1", "check#2"]


def test_a_diverged_run_names_the_step_and_what_differs_and_offers_both_ways_on(clone: Clone) -> None:
    place, run = clone.place, shipped(clone)
    restart, admin = place.services.control.restart, place.admin()
    clone.pipeline(MENDED.replace('"build", "make"', '"build", "make all"'))
    clone.push()
    place.services.control.terminate(admin, clone.runs()[0].id)
    made = restart(admin, run, "check#2", code="newer")
    view = place.finished(made.id)
    assert (view.summary.state, view.error and view.error["step"]) == ("diverged", "build#1")
    assert "command was 'make', is 'make all'" in str(view.error)
    assert [(way.run.number, way.from_step, way.words) for way in view.ways_on] == [
        (made.number, "build#1", "Restart from build#1"),
        (1, "Ship it?#1", "Go on with the old code of #1"),
    ]  # fmt: skip
    there, old = (restart(admin, way.run.id, way.from_step) for way in view.ways_on)
    assert place.waiting(there.id).summary.sha == made.sha
    assert place.services.runs.get(admin, there.id).steps[0].command == "make all"
    assert place.waiting(old.id).summary.sha == place.services.runs.get(admin, run).summary.sha


def test_a_restart_is_one_run_for_a_key(clone: Clone) -> None:
    place, run = clone.place, shipped(clone)
    restart = place.services.control.restart
    made = [restart(place.admin(), run, step, key="k").number for step in ("deploy", "deploy#1")]
    assert made == [2, 2]
    assert restart(place.admin(), run, "deploy", key="other").number == 3
    assert restart(place.person("bob", "developer"), run, "deploy", key="k").number == 4
    assert [subject for _, subject, _ in audited(place)] == ["api#1"] * 3


def test_what_cannot_be_restarted_is_refused_with_the_reason(clone: Clone) -> None:
    place, restart, admin = clone.place, clone.place.services.control.restart, clone.place.admin()
    run = shipped(clone)
    with pytest.raises(Invalid, match="several steps 'check': check#1, check#2"):
        restart(admin, run, "check")
    with pytest.raises(NotFound, match=r"no step 'x'\. Its steps: build#1"):
        restart(admin, run, "x")
    with pytest.raises(Invalid, match="Code 'newest'"):
        restart(admin, run, "deploy", code="newest")  # type: ignore[arg-type]
    clone.pipeline(SHIP.replace("class Ship", "class Deliver"))
    clone.push()
    with pytest.raises(Invalid, match="no pipeline 'Ship' at this commit"):
        restart(admin, run, "deploy", code="newer")
    tagged = hibernating(place, clone.pushed(SHIP, "refs/tags/v1")).summary.id
    place.services.control.terminate(admin, tagged)
    with pytest.raises(Conflict, match="is for no branch"):
        restart(admin, tagged, "build", code="newer")
    broken = clone.pushed("syntax error")
    with pytest.raises(Conflict, match=r"Correct \.stepwell/"):
        restart(admin, place.finished(broken).summary.id, "build")
    waiting = hibernating(place, clone.pushed(WAIT)).summary.id
    with pytest.raises(Conflict, match="Cancel or terminate it first"):
        restart(admin, waiting, "build")
    assert audited(place) == [("run.terminate", "api#3", {})]
