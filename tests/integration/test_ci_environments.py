"""Secrets and rules of environments: what a step is given, and who is asked before it."""

import pytest
from opened import opened
from places import SHIP, Clone

from stepwell.errors import Conflict, Denied


def test_a_secret_reaches_the_step_and_never_its_log(clone: Clone) -> None:
    place, run = clone.place, clone.pushed()
    place.services.runs.decide(place.admin(), run, place.waiting(run).approvals[0].key, approve=True)
    place.finished(run)
    assert place.log(run, "deploy#1") == b"\x1eattempt 1\n$ true\nKEY=***\n"
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
    place, run = clone.place, clone.pushed(source)
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
    run = clone.pushed(SHIP.replace('await step.approval("Ship it?"', 'False and await step.approval("Ship it?"'))
    (asked,) = place.waiting(run).approvals
    assert (asked.kind, asked.name, asked.reviewers) == ("environment", "deploy", ("admin",))
    assert place.services.runs.decide(place.admin(), run, asked.key, approve=True) == "approved"
    assert place.finished(run).summary.state == "passed"


def test_an_approval_satisfies_the_environment_of_the_step_after_it(clone: Clone) -> None:
    place = clone.place
    place.services.environments.put(place.admin(), "acme", "api", "production", reviewers=["admin"])
    run = clone.pushed()
    place.services.runs.decide(place.admin(), run, place.waiting(run).approvals[0].key, approve=True)
    assert place.finished(run).summary.state == "passed"


@pytest.mark.parametrize("kind", ["image", "read"])
def test_no_other_kind_of_step_is_given_secrets_past_the_people_who_are_asked(clone: Clone, kind: str) -> None:
    place = clone.place
    place.services.environments.put(place.admin(), "acme", "api", "production", reviewers=["admin"])
    options = {"path": "a", "environment": "production", "secrets": ["KEY"]}
    ask = ["ask", "x#1", kind, "x", "f", options, None, "", 0]
    hostile = f"import json; step._turn.wire.put(json.dumps({ask!r}))"
    run = clone.pushed(SHIP.replace('await step.run("test", "true")', hostile))
    place.until(run, lambda view: view.summary.finished or "broke the protocol" in view.summary.reason)
    assert not place.executor.attempts


def test_a_forbidden_branch_is_refused_with_the_rule(clone: Clone) -> None:
    place = clone.place
    place.services.environments.put(place.admin(), "acme", "api", "production", branches=["release/*"])
    run = clone.pushed(SHIP.replace('await step.approval("Ship it?"', 'False and await step.approval("Ship it?"'))
    view = place.finished(run)
    error = next(step.error for step in view.steps if step.name == "deploy")
    assert error is not None
    assert "takes only release/*; this run is for branch 'main'" in error["message"]


def test_removing_the_rules_lets_the_step_that_waits_under_them_go(clone: Clone) -> None:
    place = clone.place
    place.services.environments.put(place.admin(), "acme", "api", "production", reviewers=["admin"])
    run = clone.pushed(SHIP.replace('await step.approval("Ship it?"', 'False and await step.approval("Ship it?"'))
    place.waiting(run)
    place.services.environments.remove(place.admin(), "acme", "api", "production")
    assert place.finished(run).summary.state == "passed"


def test_rules_decide_who_may_approve_and_how_many_must(clone: Clone) -> None:
    place = clone.place
    ann, bob, eve = place.person("ann", "developer"), place.person("bob", "developer"), place.person("eve", "viewer")
    place.services.environments.put(
        place.admin(), "acme", "api", "production", reviewers=["ann", "bob", "admin"], count=2, forbid_author=True
    )
    run, runs = clone.pushed(), place.services.runs
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
    place, run = clone.place, clone.pushed()
    key = place.waiting(run).approvals[0].key
    assert place.services.runs.decide(place.admin(), run, key, approve=False, comment="not yet") == "rejected"
    view = place.finished(run)
    assert view.summary.state == "failed"
    assert "not yet" in view.summary.reason
