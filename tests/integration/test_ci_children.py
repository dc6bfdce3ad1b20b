"""Runs that a repository's pipeline creates: at its commit, under its rules, and no passed run of their own."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from places import Clone, Place

REGIONS = """
from stepwell import *

class Ship(Pipeline):
    on = [push()]
    concurrency = group("ship-{branch}", "cancel")
    async def run(self, event, step):
        return await self.env.workflows.create("europe", {"region": "eu"}, pipeline="Region")

class Region(Pipeline):
    async def run(self, event, step):
        await step.run("deploy", f"deploy {event.payload['region']}", environment="production", secrets=["KEY"])
        return [event.kind, event.branch, event.sha]
"""
HALF = """
from stepwell import *

class Ship(Pipeline):
    on = [push(), manual()]
    async def run(self, event, step):
        if event.kind == "workflow":
            return "a part of it"
        child = await self.env.workflows.create("half")
        while (await self.env.workflows.status(child["id"]))["state"] != "passed":
            await step.sleep("a moment", 0.01)
        if event.message.strip() == "Fail":
            raise ValueError("the other half")
"""


@pytest.fixture
def clone(tmp_path: Path) -> Iterator[Clone]:
    place = Place(tmp_path).start()
    yield place.repository()
    place.stop()


def test_a_child_is_a_run_of_the_repository_under_the_same_rules(clone: Clone) -> None:
    place, admin = clone.place, clone.place.admin()
    place.services.tenants.secrets.put(admin, "acme", "KEY", "correct horse")
    place.services.environments.put(admin, "acme", "api", "production", count=1)
    commit = clone.pipeline(REGIONS)
    clone.push()
    place.until_runs(clone, 2)
    child, parent = clone.runs()
    assert place.finished(parent.id).result == {"id": child.id, "number": 2}
    assert (child.title, child.pipeline, child.kind, child.sha, child.branch, child.actor) == (
        "europe", "Region", "workflow", commit, "main", parent.actor,
    )  # fmt: skip
    asked = place.waiting(child.id).approvals[0]
    assert (asked.environment, place.executor.attempts) == ("production", [])
    clone.push("refs/heads/other")
    clone.commit_files({"later": "1"})
    clone.push()  # a newer run of the parent's group, in which the child is not
    place.services.runs.decide(admin, child.id, asked.key, approve=True)
    view = place.finished(child.id)
    assert (view.summary.state, view.result) == ("passed", ["workflow", "main", commit])
    assert place.executor.attempts[0].options["command"] == "deploy eu"
    again = place.services.runs.rerun(admin, child.id)
    assert place.waiting(again.id).summary.pipeline == "Region"


def test_a_passed_child_is_no_passed_run_to_compare_with(clone: Clone) -> None:
    place = clone.place
    first = clone.pipeline(HALF)
    clone.push()
    assert place.finished(clone.runs()[-1].id).summary.state == "passed"
    clone.commit_files({"later": "1"}, "Fail")
    clone.push()
    states = {run.title: place.finished(run.id).summary.state for run in clone.runs()}
    assert (states["half"], states["Fail"]) == ("passed", "failed")
    started = place.services.runs.start(place.admin(), "acme", "api", "Ship")
    event = place.finished(started.id).event
    assert (event["before"], event["changed"]) == (first, ["later"])
