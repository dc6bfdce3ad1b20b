"""Artifacts go before their run where the operator says so, and nothing else of it; what is gone says when it went."""

import json
from functools import partial
from types import SimpleNamespace
from typing import Any, cast

import pytest
from places import Clone, Place

from stepwell.ci.artifacts import Artifacts
from stepwell.ci.expiring import PAUSE_SECONDS, Expiring, days_of_server, policy_of
from stepwell.ci.plans import Plan
from stepwell.ci.retention import DAY_SECONDS, Aged
from stepwell.errors import Denied, Invalid, NotFound, Unavailable
from stepwell.settings import Settings
from stepwell.store.blobs import BlobFiles

SEVEN = Settings(keep_artifacts_days=7)
SOURCE = """
from stepwell import *

class Quick(Pipeline):
    on = [manual()]
    async def run(self, event, step):
        await step.run("work", "true")
"""


@pytest.fixture
def clone(place: Place) -> Clone:
    clone = place.repository()
    clone.pipeline(SOURCE)
    clone.push()
    return clone


def collected(blobs: BlobFiles, run: str) -> tuple[Any, dict[str, str]]:
    """Keep an artifact, a report, one that is both, and a result; the step, and the ids."""
    batch = blobs.batch(run)
    ids = {name: batch.add_bytes(name.encode())[0] for name in ("app", "junit", "both", "result", "tests")}
    rows = {"artifacts": [["app", 3, 0], ["both", 4, 2]], "reports": [["junit", 5, 1], ["both", 4, 2]]}
    named = [ids["app"], ids["junit"], ids["both"]]
    ids["list"], size = batch.add_bytes(json.dumps({"blobs": named, **rows}).encode())
    batch.keep()
    facts = {"id": ids["list"], "size": size, "artifacts": 2, "tests": {"id": ids["tests"], "size": 5}}
    step = SimpleNamespace(key="work#1", name="work", blob={"id": ids["result"]}, collected=facts)
    return step, ids


def expiring(place: Place, steps: dict[str, Any], clock: list[float], settings: Settings = SEVEN) -> Expiring:
    base = place.base
    policy = partial(policy_of, settings, base.store)
    return Expiring(base.store, policy, base.tenants.audit, base.blobs, lambda run: [steps[run]], now=lambda: clock[0])


def start(clone: Clone) -> str:
    place = clone.place
    ref = place.services.runs.start(place.admin(), "acme", "api", pipeline="Quick", inputs={})
    place.finished(ref.id)
    return ref.id


def test_artifacts_of_old_runs_go_and_the_rest_of_the_run_stays(clone: Clone) -> None:
    place, blobs = clone.place, clone.place.base.blobs
    runs = [start(clone) for _ in range(3)]
    steps, ids = {}, {}
    for run in runs:
        steps[run], ids[run] = collected(blobs, run)
    ended = place.services.runs.get(place.admin(), runs[-1]).summary.ended_at or 0
    clock = [ended + 6 * DAY_SECONDS]
    sweep = expiring(place, steps, clock)
    assert sweep.remove_some() == 0, "they are not old enough"
    clock[0] += 2 * DAY_SECONDS
    assert sweep.remove_some() == 2, "one of each of the two that are not the newest"
    for run in runs[:2]:
        there = {name for name, id_ in ids[run].items() if blobs.has(run, id_)}
        assert there == {"junit", "both", "result", "tests", "list"}
    assert all(blobs.has(runs[2], id_) for id_ in ids[runs[2]].values())
    clock[0] += PAUSE_SECONDS
    assert sweep.remove_some() == 0
    told = [one for one in place.services.tenants.audit.list(place.admin(), "acme") if one.action == "artifacts.remove"]
    assert [(one.subject, one.detail) for one in told] == [("acme/api", {"numbers": [1, 2], "after_days": 7})]


def test_what_is_removed_says_when_and_what_was_not_removed_is_given(clone: Clone) -> None:
    place, run = clone.place, start(clone)
    blobs = place.base.blobs
    step, ids = collected(blobs, run)
    blobs.expire(run, [ids["app"]], 1_790_000_000.0)
    artifacts = Artifacts(place.services.runs, blobs)
    view = cast(Any, SimpleNamespace(summary=SimpleNamespace(id=run), steps=[step]))
    app, both = artifacts.of(view)
    assert artifacts.removed_at(run, [app, both]) == {app: 1_790_000_000.0}
    with pytest.raises(NotFound, match=r"'app' was removed on 2026-09-21 by retention.*STEPWELL_KEEP_ARTIFACTS_DAYS"):
        artifacts.read(run, app)
    with pytest.raises(NotFound, match="'app' was removed"):
        artifacts.zipped(run, [app, both])
    assert b"".join(artifacts.read(run, both)) == b"both"


def test_a_removal_that_a_crash_cut_short_goes_on(clone: Clone, monkeypatch: pytest.MonkeyPatch) -> None:
    place, runs = clone.place, [start(clone), start(clone)]
    blobs = place.base.blobs
    step, ids = collected(blobs, runs[0])
    clock = [(place.services.runs.get(place.admin(), runs[1]).summary.ended_at or 0) + 8 * DAY_SECONDS]
    sweep = expiring(place, {runs[0]: step}, clock)
    with monkeypatch.context() as patch:
        patch.setattr("pathlib.Path.unlink", lambda *_, **__: (_ for _ in ()).throw(OSError("power cut")))
        with pytest.raises(OSError, match="power cut"):
            sweep.remove_some()
    assert blobs.has(runs[0], ids["app"]) and blobs.expired_at(runs[0], whole=True) is None
    assert sweep.remove_some() == 1 and not blobs.has(runs[0], ids["app"])


def test_a_run_that_adopts_what_is_left_knows_what_is_gone(clone: Clone) -> None:
    blobs = clone.place.base.blobs
    _, ids = collected(blobs, "old")
    with pytest.raises(Unavailable):
        blobs.adopt("new", "old", ["0" * 64], [])
    blobs.expire("old", [ids["app"]], 5.0)
    blobs.adopt("new", "old", [ids["result"]], [ids["list"]])
    assert blobs.expired_at("new") == 5.0
    assert [blobs.has("new", ids[name]) for name in ("app", "both", "junit", "result")] == [False, True, True, True]
    with pytest.raises(Unavailable):
        blobs.adopt("newer", "old", [ids["app"]], [])


def test_a_repository_keeps_its_artifacts_for_fewer_days_than_the_server(clone: Clone) -> None:
    place, blobs = clone.place, clone.place.base.blobs
    runs = [start(clone) for _ in range(2)]
    steps = {run: collected(blobs, run)[0] for run in runs}
    plan = place.services.plans.start(place.admin(), "acme", Plan({"pipeline.py": SOURCE}))[0].id
    steps[plan] = collected(blobs, plan)[0]
    place.finished(plan)
    clock = [(place.services.runs.get(place.admin(), plan).summary.ended_at or 0) + 3 * DAY_SECONDS]
    sweep = expiring(place, steps, clock, Settings())
    assert policy_of(Settings(), place.base.store) is None and sweep.remove_some() == 0
    update = place.services.catalog.update
    update(place.admin(), "acme", "api", keep_artifacts_days=4)
    assert sweep.remove_some() == 0, "they are not old enough"
    clock[0] += PAUSE_SECONDS
    assert update(place.admin(), "acme", "api", keep_artifacts_days=2).keep_artifacts_days == 2
    assert sweep.remove_some() == 1, "of the run that is not the newest; the plan's are kept as the server says"
    (told,) = [one for one in place.services.tenants.audit.list(place.admin(), "acme") if "artifacts" in one.action]
    assert (told.subject, told.detail) == ("acme/api", {"numbers": [1], "after_days": 2})
    assert update(place.admin(), "acme", "api", keep_artifacts_days=0).keep_artifacts_days is None
    assert policy_of(Settings(), place.base.store) is None


def test_the_servers_days_bound_those_of_repositories(clone: Clone) -> None:
    place, store = clone.place, clone.place.base.store
    update = place.services.catalog.update
    assert days_of_server(Settings()) == 90 and days_of_server(Settings(keep_artifacts_days=400)) == 90
    for days in (-1, 91):
        with pytest.raises(Invalid, match=f"have value {days}. Write a whole number from 1 to 90, which is how long"):
            update(place.admin(), "acme", "api", keep_artifacts_days=days)
    with pytest.raises(Denied):
        update(place.person("dev", "developer"), "acme", "api", keep_artifacts_days=1)
    update(place.admin(), "acme", "api", keep_artifacts_days=30)
    later = policy_of(Settings(keep_artifacts_days=7), store)  # the operator may ask for less at any time
    assert later is not None and (later.days_of("acme/api"), later.days_of("acme/-"), later.fewest_days) == (7, 7, 7)
    assert [run.id for run in Aged(store, later).all(0.0)] == []
