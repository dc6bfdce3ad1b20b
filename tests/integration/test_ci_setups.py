"""Whose setups the runs of a branch, a tag, a commit or a plan may take, and for whom they make new ones."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from places import Clone, Place

from stepwell.ci.plans import Plan

PREPARES = """
from stepwell import *

class Prepares(Pipeline):
    on = [push(), tag(), manual()]
    async def run(self, event, step):
        await step.run("test", "true", setup="true")
"""


@pytest.fixture
def clone(tmp_path: Path) -> Iterator[Clone]:
    place = Place(tmp_path).start()
    yield place.repository()
    place.stop()


def setups(clone: Clone, run: str) -> tuple[str, ...]:
    """Wait for a run; whose setups its step was given."""
    assert clone.place.finished(run).summary.state == "passed"
    return clone.place.executor.prepared[-1].setups


def test_a_branch_takes_those_of_the_default_branch_and_makes_its_own(clone: Clone) -> None:
    given = {}
    for ref in ("refs/heads/main", "refs/heads/topic", "refs/heads/other", "refs/tags/v1"):
        clone.pipeline(PREPARES, message=ref)
        clone.push(ref)
        given[ref.partition("/")[2]] = setups(clone, clone.runs()[0].id)
    head = clone.git("rev-parse", "HEAD").strip()
    assert given == {
        "heads/main": ("main",), "heads/topic": ("main", "topic"), "heads/other": ("main", "other"),
        "tags/v1": ("main", f"commit:{head}"),
    }  # fmt: skip
    by_hand = clone.place.services.runs.start(clone.place.admin(), "acme", "api", "Prepares", ref=head)
    assert setups(clone, by_hand.id) == ("main", f"commit:{head}")


def test_plans_make_their_own_for_each_person_and_what_is_lent(clone: Clone) -> None:
    place = clone.place
    clone.pipeline(PREPARES)
    clone.push()
    plan = Plan({"pipeline.py": PREPARES}, repository="api")
    given = []
    developer = place.person("dev", "developer")
    for actor in (place.admin(), developer, developer):
        ref, _ = place.services.plans.start(actor, "acme", plan)
        given.append(setups(clone, ref.id))
    first, second, third = given
    assert all(len(one) == 1 and one[0].startswith("plans:") for one in given)
    assert first != second == third
