"""Runs as people and programs use them: approve, start, cancel, re-run, read logs; and as strangers do not see them."""

import inspect
import json
from typing import Any

import pytest
from live import wait_until
from places import SHIP, Clone, Place

from stepwell.ci.history import Choices, History
from stepwell.ci.runs import Runs
from stepwell.ci.views import Page
from stepwell.errors import Denied, Invalid, NotFound
from stepwell.tenants import NOBODY, Actor


def test_a_push_runs_to_its_approval_and_passes_after_it(clone: Clone) -> None:
    place, run = clone.place, clone.pushed()
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


def test_a_commit_is_started_though_a_branch_is_called_like_it(place: Place) -> None:
    clone = place.repository()
    commit = clone.pipeline(SHIP)
    clone.push()
    clone.commit_files({"other": "1"})
    clone.push(f"refs/heads/{commit}")
    started = place.services.runs.start(place.admin(), "acme", "api", "Ship", ref=commit)
    assert (started.sha, started.branch) == (commit, "")


def test_a_manual_start_checks_its_form(clone: Clone) -> None:
    place, _ = clone.place, clone.pushed()
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
    place, run = clone.place, clone.pushed()
    first = place.waiting(run)
    clone.commit_files({"later": "1"})
    clone.push()
    again = place.services.runs.rerun(place.person("ann", "developer"), run)
    assert (again.number, again.rerun_of, again.sha, again.actor) == (3, run, first.summary.sha, "ann")
    second = place.waiting(again.id)
    assert {**second.event, "number": 1} == dict(first.event)


def test_a_cancelled_run_ends(clone: Clone) -> None:
    place, run = clone.place, clone.pushed()
    place.waiting(run)
    place.services.control.cancel(place.admin(), run, "enough")
    assert place.finished(run).summary.state == "cancelled"
    place.services.control.cancel(place.admin(), run)


LARGE = """
from stepwell import Pipeline, push

class Large(Pipeline):
    on = [push("main")]
    async def run(self, event, step):
        await step.do("small", lambda: ["ä"])
        await step.do("large", lambda: "ä" * 700_000)
"""


def test_results_are_read_whole_however_large(clone: Clone) -> None:
    place, run = clone.place, clone.pushed(LARGE)
    view = place.finished(run)
    assert view.steps[1].blob is not None and view.steps[1].blob["size"] == 1_400_002
    read = place.services.results.read
    assert json.loads(b"".join(read(place.admin(), run, "small#1"))) == ["ä"]
    assert json.loads(b"".join(read(place.admin(), run, "large#1"))) == "ä" * 700_000
    with pytest.raises(NotFound, match="has no step 'none#1' that has passed"):
        read(place.admin(), run, "none#1")


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
    place, run = clone.place, clone.pushed(LOOP)
    view = place.waiting(run)
    assert [step.key for step in view.steps] == ["look#2", "Go on?#2"]
    ((number, steps),) = [(one.number, one.steps) for one in view.rounds]
    assert (number, [(step.key, step.state, step.attempt) for step in steps]) == (1, [("look#1", "passed", 1)])
    assert b"look 1" in place.log(run, "look#1") and b"look 2" in place.log(run, "look#2")
    assert (place.log(run, "@1"), place.log(run, "")) == (b"round 1\n", b"round 2\n")
    with pytest.raises(NotFound, match="has no step 'look#3'"):
        place.log(run, "look#3")
    with pytest.raises(NotFound):
        place.services.runs.log(NOBODY, run, "look#1")


def test_an_event_reaches_the_run(clone: Clone) -> None:
    source = "from stepwell import *\nclass W(Pipeline):\n    on = [push()]\n    async def run(self, event, step):\n"
    source += '        return await step.wait_for_event("w", type="go")\n'
    place, run = clone.place, clone.pushed(source)
    place.until(run, lambda view: view.summary.state == "waiting")
    place.services.runs.send_event(place.admin(), run, "go", {"n": 1}, id="e1")
    assert place.finished(run).result == {"n": 1}


def test_lists_are_narrowed_and_paged(clone: Clone) -> None:
    place = clone.place
    clone.pushed()
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
    run = clone.pushed()
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
    place, run = clone.place, clone.pushed()
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
    place, run = clone.place, clone.pushed()
    other = place.repository("web")
    elsewhere = other.pushed()
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
    place, run = clone.place, clone.pushed()
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
