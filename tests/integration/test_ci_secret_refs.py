"""Secrets that are given only to runs of some branches and tags, whatever way a run of another ref is made."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from opened import opened
from places import Clone, Place

from stepwell.ci.plans import Plan
from stepwell.ci.views import RunView
from stepwell.errors import Denied, Invalid, NotFound
from stepwell.tenants.secrets import Refs

USE = """
from stepwell import *

class Use(Pipeline):
    on = [push(), tag(), manual()]
    async def run(self, event, step):
        await step.run("build", "make")
        await step.run("use", "env", secrets=["KEY"])
"""
CALLS = """
from stepwell import *

class Outer(Pipeline):
    on = [push()]
    async def run(self, event, step):
        await step.call("inner", Inner, {"branch": "main", "tag": "v1"})

class Inner(Pipeline):
    async def run(self, event, step):
        await step.run("use", "env", secrets=["KEY"])
"""
CREATES = CALLS.replace(
    'step.call("inner", Inner, {"branch": "main", "tag": "v1"})',
    'self.env.workflows.create("main", {"branch": "main"}, pipeline="Inner")',
)
VALUE = "correct horse"


@pytest.fixture
def clone(tmp_path: Path) -> Iterator[Clone]:
    place = Place(tmp_path).start()
    yield place.repository()
    place.stop()


def put(clone: Clone, refs: Refs | None = None, **where: Any) -> None:
    place = clone.place
    place.services.tenants.secrets.put(place.admin(), "acme", "KEY", VALUE, refs=refs, **where)


def pushed(clone: Clone, ref: str, source: str = USE) -> RunView:
    clone.pipeline(source)
    clone.push(ref)
    return clone.place.finished(clone.runs()[0].id)


def given(clone: Clone, view: RunView) -> bool:
    """Say whether the run's step was given the secret; if not, it must not have begun and the run have failed."""
    begun = [attempt.run for attempt in clone.place.executor.attempts if attempt.name == "use"]
    values = [prepared.env for prepared in clone.place.executor.prepared if prepared.env]
    if view.summary.state == "passed":
        assert view.summary.id in begun and values[-1] == {"KEY": VALUE}
        return True
    assert view.summary.state == "failed" and view.summary.id not in begun
    return False


def why(view: RunView) -> str:
    error = next(step.error for step in view.steps if step.name == "use")
    assert view.summary.state == "failed" and view.error is not None and error is not None
    assert error["message"] in view.error["message"]
    return str(error["message"])


def test_a_new_secret_is_for_protected_branches(clone: Clone) -> None:
    put(clone)
    assert given(clone, pushed(clone, "refs/heads/main"))
    view = pushed(clone, "refs/heads/mine")
    assert not given(clone, view)
    assert why(view) == (
        "Step 'use' is refused. Secret 'KEY' is given only to protected branches (main); this run is for branch "
        "'mine'. A maintainer can change that on the settings page, or by: stepwell secret limit KEY --tenant acme "
        "--refs 'main, mine'"
    )
    clone.place.services.catalog.update(clone.place.admin(), "acme", "api", protected=["mine"])
    assert given(clone, pushed(clone, "refs/heads/mine"))
    assert "given only to protected branches (mine)" in why(pushed(clone, "refs/heads/main"))
    clone.place.services.catalog.update(clone.place.admin(), "acme", "api", protected=[])
    assert "(there are none); this run is for branch 'mine'" in why(pushed(clone, "refs/heads/mine"))


@pytest.mark.parametrize(
    ("refs", "yes", "no"),
    [
        (("release/*",), "heads/release/1", "heads/release/2/x"),
        (("main", "tags/v*"), "tags/v1", "tags/w1"),
        (("tags/v*",), "tags/v1", "heads/tags/v1"),
        (("v*",), "heads/v1", "tags/v1"),
        ("protected", "heads/main", "tags/main"),
    ],
)
def test_refs_are_globs_as_of_environments(clone: Clone, refs: Refs, yes: str, no: str) -> None:
    put(clone, refs)
    assert given(clone, pushed(clone, f"refs/{yes}"))
    assert not given(clone, pushed(clone, f"refs/{no}"))
    put(clone, ())
    assert given(clone, pushed(clone, f"refs/{no}"))


def test_the_nearest_secret_decides(clone: Clone) -> None:
    put(clone, ())
    put(clone, ("main",), repository="api")
    view = pushed(clone, "refs/heads/mine")
    assert not given(clone, view)
    assert "by: stepwell secret limit KEY --repo acme/api --refs 'main, mine'" in why(view)


def test_a_secret_of_an_environment_is_for_the_refs_of_the_environment(clone: Clone) -> None:
    admin, source = clone.place.admin(), USE.replace("secrets=", 'environment="stage", secrets=')
    clone.place.services.environments.put(admin, "acme", "api", "stage", count=0)
    put(clone, repository="api", environment="stage")
    assert given(clone, pushed(clone, "refs/heads/mine", source))
    put(clone, ("main",), repository="api", environment="stage")
    view = pushed(clone, "refs/heads/mine", source)
    assert not given(clone, view) and why(view).endswith(
        "limit KEY --repo acme/api --environment stage --refs 'main, mine'"
    )


@pytest.mark.parametrize("source", [CALLS, CREATES])
def test_a_run_that_another_makes_has_its_ref(clone: Clone, source: str) -> None:
    put(clone, ("main", "tags/v1"))
    place = clone.place
    for ref, state in (("mine", "failed"), ("main", "passed")):
        clone.pipeline(source)
        before = len(clone.runs())
        clone.push(f"refs/heads/{ref}")
        place.until_runs(clone, before + 2)
        inner = place.finished(next(run.id for run in clone.runs() if run.pipeline == "Inner"))
        assert (inner.summary.state, inner.summary.branch) == (state, ref)
        assert given(clone, inner) == (ref == "main")


def test_repeating_and_restarting_give_no_other_ref(clone: Clone) -> None:
    put(clone, ("main",))
    place, control = clone.place, clone.place.services.control
    view = pushed(clone, "refs/heads/mine")
    clone.commit_files({".stepwell/pipeline.py": USE + "\n# newer\n"})
    clone.push("refs/heads/mine")
    clone.place.finished(clone.runs()[0].id)
    clone.push("refs/heads/main")
    assert given(clone, place.finished(clone.runs()[0].id))
    made = [
        place.services.runs.rerun(place.admin(), view.summary.id),
        control.restart(place.admin(), view.summary.id, "use"),
        control.restart(place.admin(), view.summary.id, "use", code="newer"),
        place.services.runs.start(place.admin(), "acme", "api", "Use", ref="mine"),
    ]
    for run in made:
        again = place.finished(run.id)
        assert not given(clone, again) and "this run is for branch 'mine'" in why(again)


def test_a_commit_without_a_branch_gets_none_that_is_limited(clone: Clone) -> None:
    put(clone)
    view = pushed(clone, "refs/heads/main")
    run = clone.place.services.runs.start(clone.place.admin(), "acme", "api", "Use", ref=view.summary.sha)
    assert "this run is for a commit without a branch" in why(clone.place.finished(run.id))


def test_a_plan_is_of_no_ref(clone: Clone) -> None:
    clone.pipeline(USE)
    clone.push()
    put(clone, repository="api")
    place, tokens = clone.place, clone.place.services.tenants.tokens
    issued = tokens.issue(place.admin(), "plans", scopes=("read", "write", "secret:api/KEY"), tenant="acme")
    lender = tokens.actor(issued.secret)
    assert lender is not None
    plan = Plan({"pipeline.py": USE}, repository="api", ref="main")
    assert given(clone, place.finished(place.services.plans.start(lender, "acme", plan)[0].id))
    put(clone, ("main",), repository="api")
    view = place.finished(place.services.plans.start(lender, "acme", plan)[0].id)
    assert not given(clone, view)
    assert "given only to main; this run is a plan, which is for no ref" in why(view)
    assert why(view).endswith("limit KEY --repo acme/api --refs every")


def test_refs_change_without_the_value(clone: Clone) -> None:
    admin, secrets = clone.place.admin(), clone.place.services.tenants.secrets
    put(clone)
    secrets.limit(admin, "acme", "KEY", ("main", "tags/v*"))
    assert opened(secrets, "acme", "", "", ["KEY"]) == {"KEY": VALUE}
    secrets.put(admin, "acme", "KEY", "another")
    assert [one.refs for one in secrets.list(admin, "acme")] == [("main", "tags/v*")]
    secrets.limit(admin, "acme", "KEY", "protected")
    assert [one.refs for one in secrets.list(admin, "acme")] == ["protected"]
    noted = [one for one in clone.place.services.tenants.audit.list(admin, "acme") if one.action == "secret.limit"]
    assert [one.detail["refs"] for one in noted] == ["protected", ["main", "tags/v*"]]
    with pytest.raises(Denied):
        secrets.limit(clone.place.person("dev", "developer"), "acme", "KEY", ())
    with pytest.raises(NotFound, match="There is no secret 'OTHER'"):
        secrets.limit(admin, "acme", "OTHER", ())
    for wrong in ((" ",), ("a\nb",), ("a" * 201,), tuple(f"b{n}" for n in range(51))):
        with pytest.raises(Invalid, match=r"Write one like 'main'|at most 50"):
            secrets.limit(admin, "acme", "KEY", wrong)
