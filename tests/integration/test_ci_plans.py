"""Plans: programs that are sent instead of committed, checked before they start, and without a repository's rights."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from places import SHIP, Place

from stepwell.ci.plan_texts import KEPT_SECONDS, PlanTexts
from stepwell.ci.plans import MOST_CHARACTERS, MOST_EVENT, Checked, Plan, PlanStep
from stepwell.ci.views import RunView
from stepwell.errors import Conflict, Denied, Invalid, NotFound, StepwellError
from stepwell.tenants import NOBODY, Actor

ASK = """
from stepwell import Pipeline
from helper import twice

async def double(n):
    return twice(n)

class Ask(Pipeline):
    \"\"\"Ask, then double.\"\"\"
    async def run(self, event, step):
        await step.approval("Sure?")
        await step.run(f"say {event.payload['n']}", "echo said")
        return await step.do("double", double, event.payload["n"])
"""
HELPER = "def twice(n):\n    return 2 * n\n"
FILES = {"pipeline.py": ASK, "helper.py": HELPER}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    place = Place(tmp_path_factory.mktemp("plans")).start()
    yield place
    place.stop()


def started(place: Place, plan: Plan, actor: Actor | None = None) -> tuple[str, Checked]:
    run, checked = place.services.plans.start(actor or place.admin(), "acme", plan)
    return run.id, checked


def refused(place: Place, plan: Plan, kind: type[StepwellError] = Invalid) -> str:
    with pytest.raises(kind) as caught:
        started(place, plan)
    return str(caught.value)


def ended(place: Place, plan: Plan) -> RunView:
    return place.finished(started(place, plan)[0])


def test_a_plan_waits_is_approved_and_returns(place: Place) -> None:
    run, checked = started(place, Plan(FILES, {"n": 21}))
    assert checked.steps == (
        PlanStep("approval", "Sure?", "pipeline.py", 11), PlanStep("run", "say …", "pipeline.py", 12),
        PlanStep("do", "double", "pipeline.py", 13),
    )  # fmt: skip
    view = place.waiting(run)
    assert (view.summary.scope, view.summary.kind, view.summary.title) == ("acme/-", "plan", "Ask, then double.")
    assert place.services.runs.list(place.admin(), tenant="acme", kind="plan").items[0].id == run
    place.services.runs.decide(place.admin(), run, view.approvals[0].key, approve=True)
    view = place.finished(run)
    assert (view.summary.state, view.result) == ("passed", 42)
    assert place.executor.attempts[-1].code.tree is None
    assert place.services.sources.of(place.admin(), view.summary).files == FILES
    assert place.services.changes.of(place.admin(), view) is None
    with pytest.raises(Conflict, match="is for no branch"):
        place.services.control.restart(place.admin(), run, "double#1", code="newer")


def test_a_plan_is_repeated_with_its_own_code(place: Place) -> None:
    run = ended(place, Plan({"pipeline.py": SHIP}, pipeline="Ship")).summary
    assert run.state == "passed"
    again = place.services.runs.rerun(place.admin(), run.id)
    assert place.finished(again.id).summary.plan == run.plan != ""


def test_the_same_key_is_one_run(place: Place) -> None:
    first, _ = started(place, Plan({"pipeline.py": SHIP}, key="once"))
    assert started(place, Plan({"pipeline.py": SHIP}, key="once"))[0] == first
    sam = place.person("sam", "developer")
    assert started(place, Plan({"pipeline.py": SHIP}, key="once"), sam)[0] != first
    with pytest.raises(Invalid, match=r"with another request, which is run #\d+\. Use a new key"):
        started(place, Plan({"pipeline.py": SHIP}, {"other": 1}, key="once"))


def test_a_plan_stands_on_the_files_of_a_commit(place: Place) -> None:
    clone = place.repository("files")
    clone.pipeline(SHIP)
    clone.push()
    sha = clone.runs()[0].sha
    run = ended(place, Plan({"pipeline.py": SHIP}, repository="files", ref="main"))
    assert (run.summary.sha, run.event["branch"], run.event["kind"]) == (sha, "main", "plan")
    tree = place.executor.attempts[-1].code.tree
    assert tree is not None and tree.endswith(f":{sha}")
    assert "no branch, tag or commit 'nope'" in refused(
        place, Plan({"pipeline.py": SHIP}, repository="files", ref="nope"), NotFound
    )
    assert "no repository is named" in refused(place, Plan({"pipeline.py": SHIP}, ref="main"))
    viewer = place.person("vera", "viewer")
    for actor, kind in ((viewer, Denied), (NOBODY, NotFound)):
        with pytest.raises(kind):
            started(place, Plan({"pipeline.py": SHIP}, repository="files"), actor)
    mine = place.services.tenants.people.actor(viewer.person)
    with pytest.raises(Denied, match="start runs in 'acme/-'"):
        started(place, Plan({"pipeline.py": SHIP}), mine)


def test_a_token_for_one_repository_starts_no_plan(place: Place) -> None:
    admin = place.admin()
    narrow = Actor(admin.person, admin.name, admin.roles, repository="acme/files", via="token")
    with pytest.raises(NotFound):
        started(place, Plan({"pipeline.py": SHIP}), narrow)


def test_what_cannot_run_is_not_started(place: Place) -> None:
    count = len(place.services.runs.list(place.admin(), tenant="acme", kind="plan", limit=200).items)
    assert ".stepwell/pipeline.py:2" in refused(place, Plan({"pipeline.py": "x = 1\nif:\n"}))
    assert "no module 'numpy'" in refused(place, Plan({"pipeline.py": f"import numpy\n{SHIP}"}))
    assert "begins in pipeline.py" in refused(place, Plan({"main.py": SHIP}))
    assert "more than 1,048,576 characters" in refused(place, Plan({"pipeline.py": "#" * (MOST_CHARACTERS + 1)}))
    assert "at most 100" in refused(place, Plan({"pipeline.py": SHIP, **{f"m{n}.py": "" for n in range(100)}}))
    for path in ("../x.py", "/x.py", "a//b.py", "x\n.py"):
        assert "has a file named" in refused(place, Plan({"pipeline.py": SHIP, path: ""}))
    assert "256 KiB" in refused(place, Plan({"pipeline.py": SHIP}, "x" * MOST_EVENT))
    two = f"{SHIP}\nclass Other(Ship):\n    pass\n"
    assert "Ship, Other" in refused(place, Plan({"pipeline.py": two}))
    assert "'Third'" in refused(place, Plan({"pipeline.py": two}, pipeline="Third"))
    assert len(place.services.runs.list(place.admin(), tenant="acme", kind="plan", limit=200).items) == count


def test_a_program_is_kept_for_as_long_as_a_run_has_it(place: Place, tmp_path: Path) -> None:
    later: list[float] = [0.0]
    texts = PlanTexts(place.base.store, lambda: later[0])
    unused = texts.save("acme", {"pipeline.py": "nobody's"})
    used = ended(place, Plan({"pipeline.py": SHIP})).summary.plan
    later[0] = KEPT_SECONDS
    texts.sweep()
    assert texts.files("acme", unused) == {"pipeline.py": "nobody's"}
    later[0] = 2e10
    texts.sweep()
    assert texts.files("acme", used) == {"pipeline.py": SHIP}
    with pytest.raises(NotFound, match="Send it again"):
        texts.files("acme", unused)
    with pytest.raises(NotFound):
        texts.files("other", used)
