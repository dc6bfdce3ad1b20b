"""Rules of environments, without anything around them."""

from typing import Any

import pytest

from stepwell.ci.rules import Rules, question, satisfied, verdict
from stepwell.engine.state import RunState, Steps, StepState


def approval(*decisions: tuple[str, bool], **options: Any) -> StepState:
    step = StepState("ship#1", "ship", "approval", "waiting", 0.0, options=options)
    step.decisions = [{"by": name, "approve": yes, "at": 0.0} for name, yes in decisions]
    return step


def run(*steps: StepState, **metadata: Any) -> RunState:
    return RunState("r", metadata=metadata, steps=Steps({step.key: step for step in steps}))


PRODUCTION = Rules("production", reviewers=("ann", "bob", "cy"), count=2)


def test_as_many_different_people_as_required_must_approve() -> None:
    assert verdict(PRODUCTION, run(), approval(("ann", True))) is None
    assert verdict(PRODUCTION, run(), approval(("ann", True), ("ann", True))) is None
    assert verdict(PRODUCTION, run(), approval(("ann", True), ("bob", True))) == "approved"


def test_one_rejection_of_a_reviewer_rejects() -> None:
    assert verdict(PRODUCTION, run(), approval(("ann", True), ("bob", False))) == "rejected"


def test_decisions_of_those_who_are_no_reviewers_do_not_count() -> None:
    assert verdict(PRODUCTION, run(), approval(("eve", False), ("mal", True), ("ann", True))) is None


def test_the_author_does_not_count_where_forbidden() -> None:
    rules = Rules("production", count=1, forbid_author=True)
    assert verdict(rules, run(actor="ann"), approval(("ann", True))) is None
    assert verdict(rules, run(actor="bob", author="ann"), approval(("ann", True))) is None
    assert verdict(rules, run(actor="bob"), approval(("ann", True))) == "approved"


def test_code_can_only_add_to_the_rules() -> None:
    assert question(PRODUCTION, approval(count=1)).count == 2
    assert question(PRODUCTION, approval(count=3)).count == 3
    assert question(PRODUCTION, approval(reviewers=["bob", "eve"])).reviewers == ("bob",)
    assert question(PRODUCTION, approval(reviewers=["eve"])).reviewers == ()
    assert question(Rules(), approval(reviewers=["eve"])).reviewers == ("eve",)
    assert question(Rules(), approval()).reviewers is None


def test_nobody_may_decide_when_rules_and_code_name_different_people() -> None:
    asked = question(PRODUCTION, approval(reviewers=["eve"]))
    assert asked.why_not("eve", {}, {})
    assert asked.why_not("ann", {}, {})


@pytest.mark.parametrize(
    ("branches", "metadata", "refused"),
    [
        ((), {"branch": "x"}, False),
        (("main",), {"branch": "main"}, False),
        (("main",), {"branch": "x"}, True),
        (("release/*",), {"branch": "release/1"}, False),
        (("main",), {"tag": "main"}, True),
        (("*/stable", "**", "?ags/*"), {"tag": "stable"}, True),
        (("tags/v*",), {"tag": "v1"}, False),
        (("tags/v*",), {"branch": "v1"}, True),
        (("main",), {}, True),
    ],
)
def test_branches_and_tags_are_told_apart(branches: tuple[str, ...], metadata: dict[str, str], refused: bool) -> None:
    assert bool(Rules("production", branches=branches).refuses(metadata)) is refused


def test_a_passed_approval_of_the_same_environment_satisfies_it() -> None:
    passed = approval(environment="production")
    passed.state = "passed"
    assert satisfied(run(passed), "production")
    assert not satisfied(run(passed), "staging")
    assert not satisfied(run(approval(environment="production")), "production")


def test_a_step_released_by_a_person_satisfies_later_ones_but_not_one_released_by_rules() -> None:
    step = StepState("deploy#1", "deploy", "run", "passed", 0.0, options={"environment": "production"})
    step.released_by = "ann"
    assert satisfied(run(step), "production")
    step.released_by = "rules"
    assert not satisfied(run(step), "production")


def test_a_branch_called_like_a_tag_is_none() -> None:
    rules = Rules("production", branches=("tags/v*",))
    assert not rules.refuses({"tag": "v1"})
    assert "takes only tags/v*" in rules.refuses({"branch": "tags/v1"})
