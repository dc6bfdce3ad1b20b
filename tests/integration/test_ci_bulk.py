"""Many runs of a tenant at once: whose, by whom, what the audit log and the journals say of it."""

import pytest
from places import Clone, Place

from stepwell.ci.bulk import Wanted
from stepwell.dynamic import Report
from stepwell.errors import Denied, Invalid, NotFound
from stepwell.tenants import NOBODY, Actor

SHIP = """
import os
from stepwell import *

def build():
    if not os.path.exists({mended!r}): raise FinalError("no room")
    return "built"

class Ship(Pipeline):
    on = [push()]
    async def run(self, event, step):
        await step.run("test", "make")
        if event.branch != "main": return await step.wait_for_event("w", type="go")
        return await step.do("build", build)

class Lint(Pipeline):
    on = [push()]
    async def run(self, event, step):
        await step.wait_for_event("w", type="go")
"""


def ready(place: Place, name: str) -> tuple[Clone, dict[str, str]]:
    """Push a repository's branches main and next; its runs, when each has come to where it stops, by what they are."""
    clone = place.repository(name)
    clone.pipeline(SHIP.format(mended=str(place.path / "mended")))
    for branch in ("main", "next"):
        clone.push(f"refs/heads/{branch}")
    place.until_runs(clone, 4)
    runs = {f"{run.pipeline} {run.branch}": run.id for run in clone.runs()}
    for what, run in runs.items():
        stops = {"failed"} if what == "Ship main" else {"waiting"}
        place.until(run, lambda view, stops=stops: view.summary.state in stops)  # type: ignore[misc]
    return clone, runs


def states(place: Place, runs: dict[str, str]) -> dict[str, str]:
    return {what: place.services.runs.get(place.admin(), run).summary.state for what, run in runs.items()}


def changed(report: Report) -> set[str]:
    return {one.run for one in report.changed}


def test_runs_are_changed_by_repository_pipeline_and_branch(place: Place) -> None:
    bulk, admin = place.services.bulk, place.admin()
    _, api = ready(place, "api")
    _, web = ready(place, "web")
    report = bulk.sweep(admin, "pause", "acme", Wanted("api", pipeline="Lint", reason="freeze"))
    assert changed(report) == {api["Lint main"], api["Lint next"]} and report.next is None
    assert states(place, web)["Lint main"] == "waiting"
    report = bulk.sweep(admin, "terminate", "acme", Wanted(branch="next"))
    assert changed(report) == {runs[name] for runs in (api, web) for name in ("Lint next", "Ship next")}
    assert states(place, api) == {
        "Ship main": "failed", "Lint main": "paused", "Ship next": "cancelled", "Lint next": "cancelled",
    }  # fmt: skip
    said = [entry for entry in place.base.tenants.audit.list(admin, "acme") if entry.action.startswith("runs.")]
    assert [(entry.action, entry.subject, entry.detail["changed"]) for entry in said] == [
        ("runs.terminate", "acme", 4), ("runs.pause", "api", 2),
    ]  # fmt: skip
    assert said[1].detail["reason"] == "freeze"
    assert place.services.runs.get(admin, api["Lint main"]).summary.reason == f"paused by {admin.name}: freeze"


def test_failed_runs_are_restarted_once_and_say_by_whom(place: Place) -> None:
    bulk, admin = place.services.bulk, place.admin()
    clone, runs = ready(place, "api")
    (place.path / "mended").touch()
    reports = [bulk.sweep(admin, "restart", "acme", Wanted("api", key="room is there")) for _ in range(2)]
    (one,) = reports[0].changed
    assert one.run == runs["Ship main"] and reports[1].changed == reports[0].changed
    view = place.finished(str(one.successor))
    assert (view.summary.state, view.result, view.summary.actor) == ("passed", "built", admin.name)
    assert [attempt.key for attempt in place.executor.attempts if attempt.run in (one.run, one.successor)] == ["test#1"]
    assert len(clone.runs()) == 5
    again = bulk.sweep(place.person("rose", "developer"), "restart", "acme", Wanted("api", key="room is there"))
    assert {two.successor for two in again.changed} & {one.successor} == set(), "a key is its person's own"


def test_who_may_not_change_a_run_changes_none(place: Place) -> None:
    bulk = place.services.bulk
    _, runs = ready(place, "api")
    before = states(place, runs)
    refusals: list[tuple[Actor, type[Exception]]] = [
        (NOBODY, NotFound), (place.person("kim"), NotFound), (place.person("vera", "viewer"), Denied),
    ]  # fmt: skip
    for actor, error in refusals:
        for wanted in (Wanted(), Wanted("api")):
            with pytest.raises(error):
                bulk.sweep(actor, "terminate", "acme", wanted)
    for actor in (NOBODY, place.person("lee")):
        with pytest.raises(NotFound):
            bulk.dead(actor, "acme")
    with pytest.raises(NotFound):
        bulk.sweep(place.admin(), "terminate", "other", Wanted())
    with pytest.raises(Invalid, match="longer than 1,000"):
        bulk.sweep(place.admin(), "terminate", "acme", Wanted(reason="x" * 1001))
    with pytest.raises(Invalid, match="A restart of many runs has no key"):
        bulk.sweep(place.admin(), "restart", "acme", Wanted())
    with pytest.raises(Invalid, match="There is no bulk operation 'destroy'"):
        bulk.sweep(place.admin(), "destroy", "acme", Wanted())
    assert states(place, runs) == before


def test_the_dead_of_a_repository_are_listed(place: Place) -> None:
    clone = place.repository("api")
    clone.pipeline("import os\nfrom stepwell import *\nclass Ship(Pipeline):\n    on = [push()]\n"
                   "    async def run(self, event, step): os._exit(7)\n")  # fmt: skip
    clone.push()
    place.until_runs(clone, 1)
    place.finished(clone.runs()[0].id)
    (one,) = place.services.bulk.dead(place.person("vera", "viewer"), "acme", "api").runs
    assert (one.run, one.scope, one.death) == (clone.runs()[0].id, "acme/api", "turns")
    assert "The code was ended 3 times in a row" in one.reason
    place.repository("web")
    assert place.services.bulk.dead(place.admin(), "acme", "web").runs == ()
