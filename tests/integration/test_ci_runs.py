"""Runs as people and programs use them: approve, start, cancel, re-run, read logs; and as strangers do not see them."""

import inspect
import json
from typing import Any

import pytest
from live import wait_until
from opened import opened
from places import SHIP, Clone, Place

from stepwell.ci.history import Choices, History
from stepwell.ci.runs import Runs
from stepwell.ci.views import Page
from stepwell.errors import Conflict, Denied, Invalid, NotFound
from stepwell.tenants import NOBODY, Actor


@pytest.fixture
def clone(place: Place) -> Clone:
    clone = place.repository()
    place.services.tenants.secrets.put(place.admin(), "acme", "KEY", "correct horse")
    return clone


def pushed(clone: Clone, source: str = SHIP) -> str:
    clone.pipeline(source)
    clone.push()
    return str(clone.runs()[0].id)


def log_of(place: Place, run: str, key: str) -> bytes:
    return place.services.runs.log(place.admin(), run, key).read()


def test_a_push_runs_to_its_approval_and_passes_after_it(clone: Clone) -> None:
    place, run = clone.place, pushed(clone)
    view = place.waiting(run)
    (asked,) = view.approvals
    assert (asked.name, asked.environment, asked.may_decide, asked.fields) == (
        "Ship it?", "production", True, {"version": "1.0"},
    )  # fmt: skip
    assert view.summary.waiting[0].name == "Ship it?"
    (row,) = place.services.runs.list(place.admin(), tenant="acme", repository="api").items
    assert row.asks_since == view.summary.asks_since is not None
    assert place.services.runs.inbox_count(place.admin()) == 1
    assert [view.key for view in place.services.runs.inbox(place.admin())] == [asked.key]
    verdict = place.services.runs.decide(
        place.admin(), run, asked.key, approve=True, comment="go", fields={"version": "2"}
    )
    assert verdict == "approved"
    view = place.finished(run)
    assert view.summary.state == "passed"
    steps = {step.name: step for step in view.steps}
    (row,) = place.services.runs.list(place.admin(), tenant="acme", repository="api").items
    assert row.waited == pytest.approx(steps["Ship it?"].seconds, abs=0.002)  # one step after the other
    assert row.started_at is not None and row.ended_at is not None and row.asks_since is None
    assert row.worked(0.0) == row.ended_at - row.started_at - row.waited
    assert steps["Ship it?"].value["fields"] == {"version": "2"}
    assert steps["Ship it?"].needs == ("test#1",)
    assert steps["deploy"].needs == ("Ship it?#1",)
    assert steps["deploy"].secrets == ("KEY",)
    assert place.services.runs.inbox(place.admin()) == []


def test_a_secret_reaches_the_step_and_never_its_log(clone: Clone) -> None:
    place, run = clone.place, pushed(clone)
    place.services.runs.decide(place.admin(), run, place.waiting(run).approvals[0].key, approve=True)
    place.finished(run)
    assert log_of(place, run, "deploy#1") == b"\x1eattempt 1\n$ true\nKEY=***\n"
    log = place.services.runs.log(place.admin(), run, "deploy#1")
    assert (log.finished, log.attempt, log.line_count) == (True, 1, 3)


def test_the_secret_of_an_environment_comes_before_the_repositorys_and_the_tenants(clone: Clone) -> None:
    place = clone.place
    admin, secrets, environments = place.admin(), place.services.tenants.secrets, place.services.environments
    environments.put(admin, "acme", "api", "production", count=0)
    secrets.put(admin, "acme", "KEY", "of the repository", repository="api")
    secrets.put(admin, "acme", "KEY", "of the environment", repository="api", environment="production")
    repository = place.services.tenants.scope.repository(admin, "acme", "api").id
    assert opened(secrets, "acme", repository, "production", ["KEY"]) == {"KEY": "of the environment"}
    assert opened(secrets, "acme", repository, "staging", ["KEY"]) == {"KEY": "of the repository"}
    assert opened(secrets, "acme", "another", "production", ["KEY"]) == {"KEY": "correct horse"}
    assert opened(secrets, "other", repository, "production", ["KEY"]) == {}


def test_an_unknown_secret_fails_the_step_and_says_how_to_add_it(clone: Clone) -> None:
    source = SHIP.replace('secrets=["KEY"]', 'secrets={"K": "NO_SUCH"}')
    place, run = clone.place, pushed(clone, source)
    place.services.runs.decide(place.admin(), run, place.waiting(run).approvals[0].key, approve=True)
    view = place.finished(run)
    assert view.summary.state == "failed"
    error = next(step.error for step in view.steps if step.name == "deploy")
    assert error is not None
    assert "'NO_SUCH', which does not exist for acme/api, environment 'production'" in error["message"]
    assert "stepwell secret set NO_SUCH --repo acme/api" in error["message"]


def test_a_step_of_a_protected_environment_waits_by_itself(clone: Clone) -> None:
    place = clone.place
    place.services.environments.put(place.admin(), "acme", "api", "production", reviewers=["admin"])
    run = pushed(clone, SHIP.replace('await step.approval("Ship it?"', 'False and await step.approval("Ship it?"'))
    (asked,) = place.waiting(run).approvals
    assert (asked.kind, asked.name, asked.reviewers) == ("environment", "deploy", ("admin",))
    assert place.services.runs.decide(place.admin(), run, asked.key, approve=True) == "approved"
    assert place.finished(run).summary.state == "passed"


def test_an_approval_satisfies_the_environment_of_the_step_after_it(clone: Clone) -> None:
    place = clone.place
    place.services.environments.put(place.admin(), "acme", "api", "production", reviewers=["admin"])
    run = pushed(clone)
    place.services.runs.decide(place.admin(), run, place.waiting(run).approvals[0].key, approve=True)
    assert place.finished(run).summary.state == "passed"


def test_a_forbidden_branch_is_refused_with_the_rule(clone: Clone) -> None:
    place = clone.place
    place.services.environments.put(place.admin(), "acme", "api", "production", branches=["release/*"])
    run = pushed(clone, SHIP.replace('await step.approval("Ship it?"', 'False and await step.approval("Ship it?"'))
    view = place.finished(run)
    error = next(step.error for step in view.steps if step.name == "deploy")
    assert error is not None
    assert "takes only release/*; this run is for branch 'main'" in error["message"]


def test_removing_the_rules_lets_the_step_that_waits_under_them_go(clone: Clone) -> None:
    place = clone.place
    place.services.environments.put(place.admin(), "acme", "api", "production", reviewers=["admin"])
    run = pushed(clone, SHIP.replace('await step.approval("Ship it?"', 'False and await step.approval("Ship it?"'))
    place.waiting(run)
    place.services.environments.remove(place.admin(), "acme", "api", "production")
    assert place.finished(run).summary.state == "passed"


def test_rules_decide_who_may_approve_and_how_many_must(clone: Clone) -> None:
    place = clone.place
    ann, bob, eve = place.person("ann", "developer"), place.person("bob", "developer"), place.person("eve", "viewer")
    place.services.environments.put(
        place.admin(), "acme", "api", "production", reviewers=["ann", "bob", "admin"], count=2, forbid_author=True
    )
    run, runs = pushed(clone), place.services.runs
    key = place.waiting(run).approvals[0].key
    with pytest.raises(Denied, match="forbids those who started the run"):
        runs.decide(place.admin(), run, key, approve=True)
    with pytest.raises(Denied, match="your role is viewer"):
        runs.decide(eve, run, key, approve=True)
    assert runs.inbox(eve)[0].why_not
    assert runs.decide(ann, run, key, approve=True) is None
    with pytest.raises(Denied, match="decided already"):
        runs.decide(ann, run, key, approve=True)
    view = runs.get(bob, run)
    assert (view.approvals[0].approved, view.approvals[0].count, view.approvals[0].may_decide) == (1, 2, True)
    assert next(step.reason for step in view.steps if step.key == key) == "1 of 2 approved for production"
    assert runs.decide(bob, run, key, approve=True) == "approved"
    with pytest.raises(Conflict, match="waits for no decision"):
        runs.decide(bob, run, key, approve=True)
    assert place.finished(run).summary.state == "passed"


def test_one_rejection_rejects(clone: Clone) -> None:
    place, run = clone.place, pushed(clone)
    key = place.waiting(run).approvals[0].key
    assert place.services.runs.decide(place.admin(), run, key, approve=False, comment="not yet") == "rejected"
    view = place.finished(run)
    assert view.summary.state == "failed"
    assert "not yet" in view.summary.reason


def test_a_manual_start_checks_its_form(clone: Clone) -> None:
    place, _ = clone.place, pushed(clone)
    runs, admin = place.services.runs, place.admin()
    with pytest.raises(Invalid, match="Choose one of: staging, production"):
        runs.start(admin, "acme", "api", "Ship", inputs={"target": "moon"})
    with pytest.raises(Invalid, match="no input 'speed'"):
        runs.start(admin, "acme", "api", "Ship", inputs={"speed": 1})
    with pytest.raises(Invalid, match="no pipeline 'Sail'"):
        runs.start(admin, "acme", "api", "Sail")
    with pytest.raises(NotFound, match="'moon'"):
        runs.start(admin, "acme", "api", "Ship", ref="moon")
    started = runs.start(admin, "acme", "api", "Ship", inputs={"target": "production", "dry": "on"}, key="k1")
    again = runs.start(admin, "acme", "api", "Ship", inputs={"target": "production", "dry": "on"}, key="k1")
    assert again.id == started.id
    with pytest.raises(Invalid, match=f"with another request, which is run #{started.number}. Use a new key"):
        runs.start(admin, "acme", "api", "Ship", inputs={"target": "production"}, key="k1")
    view = place.finished(started.id)
    assert (view.summary.state, view.result, view.event["inputs"]) == (
        "passed", "production", {"target": "production", "dry": True},
    )  # fmt: skip


def test_a_rerun_repeats_commit_and_event_as_a_new_run(clone: Clone) -> None:
    place, run = clone.place, pushed(clone)
    first = place.waiting(run)
    clone.commit_files({"later": "1"})
    clone.push()
    again = place.services.runs.rerun(place.person("ann", "developer"), run)
    assert (again.number, again.rerun_of, again.sha, again.actor) == (3, run, first.summary.sha, "ann")
    second = place.waiting(again.id)
    assert {**second.event, "number": 1} == dict(first.event)


def test_a_cancelled_run_ends(clone: Clone) -> None:
    place, run = clone.place, pushed(clone)
    place.waiting(run)
    place.services.control.cancel(place.admin(), run, "enough")
    assert place.finished(run).summary.state == "cancelled"
    place.services.control.cancel(place.admin(), run)


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
    pushed(clone, CALLS)
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


LARGE = """
from stepwell import Pipeline, push

class Large(Pipeline):
    on = [push("main")]
    async def run(self, event, step):
        await step.do("small", lambda: ["ä"])
        await step.do("large", lambda: "ä" * 700_000)
"""


def test_results_are_read_whole_however_large(clone: Clone) -> None:
    place, run = clone.place, pushed(clone, LARGE)
    view = place.finished(run)
    assert view.steps[1].blob is not None and view.steps[1].blob["size"] == 1_400_002
    read = place.services.results.read
    assert json.loads(b"".join(read(place.admin(), run, "small#1"))) == ["ä"]
    assert json.loads(b"".join(read(place.admin(), run, "large#1"))) == "ä" * 700_000
    with pytest.raises(NotFound, match="has no step 'none#1' that has passed"):
        read(place.admin(), run, "none#1")


def test_a_newer_run_of_a_cancelling_group_ends_the_older_ones_of_its_branch(clone: Clone) -> None:
    place = clone.place
    source = SHIP.replace("    on =", '    concurrency = group("ship-{branch}", "cancel")\n    on =').replace(
        '"main", ', '"*", '
    )
    first = pushed(clone, source)
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
    place, first = clone.place, pushed(clone, grouped("queue"))
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


LOOP = """
from stepwell import *

class Loop(Pipeline):
    on = push()
    async def run(self, event, step):
        n = event.inputs.get("n", 1)
        print("round", n)
        await step.run("look", f"look {n}")
        if n == 1: await step.continue_as(event.replace(inputs={"n": 2}))
        await step.approval("Go on?")
"""


def test_an_earlier_round_can_be_looked_back_at(clone: Clone) -> None:
    place, run = clone.place, pushed(clone, LOOP)
    view = place.waiting(run)
    assert [step.key for step in view.steps] == ["look#2", "Go on?#2"]
    ((number, steps),) = [(one.number, one.steps) for one in view.rounds]
    assert (number, [(step.key, step.state, step.attempt) for step in steps]) == (1, [("look#1", "passed", 1)])
    assert b"look 1" in log_of(place, run, "look#1") and b"look 2" in log_of(place, run, "look#2")
    assert (log_of(place, run, "@1"), log_of(place, run, "")) == (b"round 1\n", b"round 2\n")
    with pytest.raises(NotFound, match="has no step 'look#3'"):
        log_of(place, run, "look#3")
    with pytest.raises(NotFound):
        place.services.runs.log(NOBODY, run, "look#1")


def test_a_pipeline_with_a_rate_limit_begins_no_more_often(clone: Clone) -> None:
    place = clone.place
    first = pushed(clone, SHIP.replace("    on =", '    rate_limit = rate(1, "7 days")\n    priority = 5\n    on ='))
    place.waiting(first)
    (second,) = pushed_again(clone, 1)
    view = place.until(second, lambda view: view.summary.state == "queued")
    assert view.summary.reason == "waits for its turn: at most 1 run of Ship in 1 week"
    state = place.thread.submit(place.thread.engine.get(second)).result()
    assert state is not None and state.order.priority == 5


def test_of_the_runs_that_wait_in_a_newest_group_the_last_one_stays(clone: Clone) -> None:
    place, first = clone.place, pushed(clone, grouped("newest"))
    place.waiting(first)
    second, third = pushed_again(clone, 2)
    view = place.finished(second)
    assert (view.summary.state, view.steps) == ("cancelled", ())
    assert view.summary.reason == "cancelled by stepwell: superseded by run #3"
    assert place.until(third, lambda view: view.summary.state == "queued").summary.reason.startswith("waits for run #1")


def test_a_run_that_waits_for_its_group_is_cancelled_and_repeated_like_any_other(clone: Clone) -> None:
    place, first = clone.place, pushed(clone, grouped("queue"))
    place.waiting(first)
    (second,) = pushed_again(clone, 1)
    place.services.control.cancel(place.admin(), second)
    assert place.finished(second).summary.state == "cancelled"
    again = place.services.runs.rerun(place.admin(), second)
    assert place.until(again.id, lambda view: view.summary.state == "queued").summary.reason.startswith(
        "waits for run #1"
    )


def test_an_event_reaches_the_run(clone: Clone) -> None:
    source = "from stepwell import *\nclass W(Pipeline):\n    on = [push()]\n    async def run(self, event, step):\n"
    source += '        return await step.wait_for_event("w", type="go")\n'
    place, run = clone.place, pushed(clone, source)
    place.until(run, lambda view: view.summary.state == "waiting")
    place.services.runs.send_event(place.admin(), run, "go", {"n": 1}, id="e1")
    assert place.finished(run).result == {"n": 1}


def test_lists_are_narrowed_and_paged(clone: Clone) -> None:
    place = clone.place
    pushed(clone)
    for n in range(4):
        clone.commit_files({"n": str(n)})
        clone.push()
    runs, admin = place.services.runs, place.admin()
    seen, cursor = [], None
    while True:
        page = runs.list(admin, tenant="acme", repository="api", cursor=cursor, limit=2)
        seen += [run.number for run in page.items]
        cursor = page.next
        if cursor is None:
            break
    assert seen == [5, 4, 3, 2, 1]
    assert len(runs.list(admin, tenant="acme", repository="api", branch="main", pipeline="Ship").items) == 5
    assert runs.list(admin, tenant="acme", repository="api", branch="other").items == ()
    with pytest.raises(Invalid, match="State 'odd'"):
        runs.list(admin, state="odd")
    with pytest.raises(Invalid, match="Cursor"):
        runs.list(admin, cursor="x")


def arguments(method: Any, run: str, key: str) -> dict[str, Any]:
    given: dict[str, Any] = {
        "run_id": run, "tenant": "acme", "repository": "api", "number": 1, "pipeline": "Ship", "key": key,
        "approve": True, "type": "go", "payload": None,
    }  # fmt: skip
    wanted = [
        name for name, one in inspect.signature(method).parameters.items() if one.default is inspect.Parameter.empty
    ]
    return {name: given[name] for name in wanted if name not in {"self", "actor"}}


@pytest.mark.parametrize("method", [name for name in vars(Runs) if not name.startswith("_")])
def test_a_stranger_finds_nothing_by_any_method(place: Place, method: str) -> None:
    place.admin()
    tenants = place.services.tenants
    clone = place.repository()
    tenants.create(place.admin(), "other")
    stranger = place.person("mallory", "owner", "other")
    narrowed = tenants.tokens.issue(stranger, "t", tenant="other").secret
    run = pushed(clone)
    key = place.waiting(run).approvals[0].key
    bound = getattr(place.services.runs, method)
    for actor in (NOBODY, stranger, tenants.tokens.actor(narrowed)):
        assert isinstance(actor, Actor)
        if method in {"list", "inbox", "inbox_count", "choices"}:
            found = bound(actor, **arguments(bound, run, key))
            assert found in (Page(()), [], 0, Choices()), found
            continue
        with pytest.raises(NotFound):
            bound(actor, **arguments(bound, run, key))
    assert place.services.runs.get(place.admin(), run).summary.state == "waiting"


def test_a_viewer_may_look_but_not_touch(clone: Clone) -> None:
    place, run = clone.place, pushed(clone)
    eve, runs = place.person("eve", "viewer"), place.services.runs
    assert runs.get(eve, run).may_write is False
    for change in (
        lambda: runs.rerun(eve, run),
        lambda: runs.send_event(eve, run, "go", None),
        lambda: runs.start(eve, "acme", "api", "Ship"),
    ):
        with pytest.raises(Denied):
            change()
    with pytest.raises(Denied):
        clone.permit(clone.context(eve), [])


def test_a_token_for_one_repository_sees_only_that_one(clone: Clone) -> None:
    place, run = clone.place, pushed(clone)
    other = place.repository("web")
    elsewhere = pushed(other)
    tokens = place.services.tenants.tokens
    secret = tokens.issue(place.admin(), "ci", scopes=("read",), tenant="acme", repository="web").secret
    actor = tokens.actor(secret)
    assert actor is not None
    assert place.services.runs.get(actor, elsewhere).summary.repository == "web"
    assert [run.repository for run in place.services.runs.list(actor).items] == ["web"]
    with pytest.raises(NotFound):
        place.services.runs.get(actor, run)
    with pytest.raises(NotFound):
        place.services.tenants.secrets.list(actor, "acme")


def test_a_run_that_hibernates_is_shown_without_asking_the_engine(
    clone: Clone, monkeypatch: pytest.MonkeyPatch
) -> None:
    place, run = clone.place, pushed(clone)
    history = History(place.services.store, place.services.repositories)
    wait_until(lambda: history.resting(run), 30, "hibernation")
    asked = place.services.runs.get(place.admin(), run)
    with monkeypatch.context() as patch:
        patch.setattr(place.services.engine, "get", lambda run: pytest.fail(f"the engine was asked about {run}"))
        again = place.services.runs.get(place.admin(), run)
        assert (again, again.summary.state) == (asked, "waiting")
        place.services.runs.decide(place.admin(), run, again.approvals[0].key, approve=True)
    assert place.finished(run).summary.state == "passed"
    assert history.resting(run) is None
