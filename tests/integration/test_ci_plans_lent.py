"""Secrets and environments of plans: only those that the token names with which a plan was sent."""

from collections.abc import Iterator
from typing import Any

import pytest
from places import SHIP, Place

from stepwell.ci.bulk import Wanted
from stepwell.ci.plans import Plan
from stepwell.ci.views import RunView
from stepwell.errors import Denied, Invalid
from stepwell.tenants import NOBODY, Actor
from stepwell.tenants.lendable import Lendable

ASK = """
from stepwell import Pipeline

class Ask(Pipeline):
    async def run(self, event, step):
        await step.run("ask", "env", **event.payload)
"""
WRITTEN = """
from stepwell import Pipeline

class Ask(Pipeline):
    async def run(self, event, step):
        await step.run("ask", "env", secrets={secrets}, environment="{environment}")
"""
KEY = {"secrets": ["KEY"]}
OF_TENANT, OF_REPOSITORY, OF_ENVIRONMENT = "of the tenant", "of the repository", "of the environment"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    place = Place(tmp_path_factory.mktemp("lent")).start()
    clone = place.repository("api")
    clone.pipeline(SHIP)
    clone.push()
    secrets, admin = place.services.tenants.secrets, place.admin()
    place.services.environments.put(admin, "acme", "api", "stage", count=0)
    place.services.environments.put(admin, "acme", "api", "prod", count=1)
    place.services.environments.put(admin, "acme", "api", "guarded", count=0, branches=["main"])
    secrets.put(admin, "acme", "KEY", OF_TENANT)
    secrets.put(admin, "acme", "KEY", OF_REPOSITORY, repository="api")
    for environment in ("stage", "prod", "guarded"):
        secrets.put(admin, "acme", "KEY", OF_ENVIRONMENT, repository="api", environment=environment)
    yield place
    place.stop()


def holder(place: Place, *scopes: str) -> Actor:
    """Who comes with a token that has these scopes beside reading, writing and approving."""
    all_scopes = ("read", "write", "approve", *scopes)
    issued = place.services.tenants.tokens.issue(place.admin(), "plans", scopes=all_scopes, tenant="acme")
    actor = place.services.tenants.tokens.actor(issued.secret)
    assert actor is not None and actor.lends == set(scopes)
    assert issued.token.scopes == ("read", "write", "approve", *sorted(scopes))
    return actor


def sent(place: Place, actor: Actor, asked: dict[str, Any], repository: str = "") -> str:
    plan = Plan({"pipeline.py": ASK}, asked, repository=repository)
    return place.services.plans.start(actor, "acme", plan)[0].id


def given(place: Place, run: str) -> dict[str, str]:
    """Variables of the run's last attempt, which must have passed."""
    view = place.finished(run)
    assert view.summary.state == "passed", view.error
    made = zip(place.executor.attempts, place.executor.prepared, strict=True)
    (prepared,) = [prepared for attempt, prepared in made if attempt.run == run]
    return dict(prepared.env)


def words(view: RunView) -> str:
    assert view.summary.state == "failed" and view.error is not None
    return str(view.error["message"])


@pytest.mark.parametrize("asked", [KEY, {"secrets": {"A": "KEY"}}, {"environment": "stage"}])
@pytest.mark.parametrize("repository", ["", "api"])
def test_a_person_lends_a_plan_nothing(place: Place, repository: str, asked: dict[str, Any]) -> None:
    run = sent(place, place.admin(), asked, repository)
    assert "A plan is given only the secrets and environments that its token names" in words(place.finished(run))
    assert run not in {attempt.run for attempt in place.executor.attempts}, "the step began"


@pytest.mark.parametrize(
    ("scopes", "repository", "asked", "value"),
    [
        (["secret:KEY"], "", KEY, OF_TENANT),
        (["secret:KEY"], "api", KEY, OF_TENANT),
        (["secret:api/KEY"], "api", KEY, OF_REPOSITORY),
        (["secret:api/KEY", "secret:KEY"], "api", KEY, OF_REPOSITORY),
        (["secret:api/KEY", "secret:KEY"], "", KEY, OF_TENANT),
        (["environment:api/stage"], "api", {**KEY, "environment": "stage"}, OF_ENVIRONMENT),
        (["environment:api/stage", "secret:KEY"], "api", KEY, OF_TENANT),
    ],
)
def test_a_token_lends_what_it_names(
    place: Place, scopes: list[str], repository: str, asked: dict[str, Any], value: str
) -> None:
    assert given(place, sent(place, holder(place, *scopes), asked, repository)) == {"KEY": value}


@pytest.mark.parametrize(
    ("scopes", "repository", "asked", "missing"),
    [
        (["secret:OTHER"], "", KEY, "secret:KEY"),
        (["secret:api/KEY"], "", KEY, "secret:KEY"),
        (["environment:api/stage"], "api", KEY, "secret:KEY"),
        (["secret:api/KEY"], "api", {**KEY, "environment": "stage"}, "environment:api/stage"),
        (["environment:api/stage"], "api", {"environment": "prod"}, "environment:api/prod"),
        (["environment:api/stage"], "", {"environment": "stage"}, "environment:REPOSITORY/stage"),
        (["environment:other/stage"], "api", {"environment": "stage"}, "environment:api/stage"),
    ],
)
def test_it_lends_nothing_else(
    place: Place, scopes: list[str], repository: str, asked: dict[str, Any], missing: str
) -> None:
    run = sent(place, holder(place, *scopes), asked, repository)
    assert f"sent without the scope {missing}:" in words(place.finished(run))
    assert run not in {attempt.run for attempt in place.executor.attempts}


def test_what_was_lent_and_is_not_there_is_named(place: Place) -> None:
    run = sent(place, holder(place, "secret:NONE"), {"secrets": ["NONE"]})
    assert "'NONE', which was lent (secret:NONE) but does not exist" in words(place.finished(run))


def test_an_environments_rules_count_for_plans(place: Place) -> None:
    asked = {**KEY, "environment": "prod"}
    run = sent(place, holder(place, "environment:api/prod"), asked, "api")
    view = place.waiting(run)
    assert [approval.environment for approval in view.approvals] == ["prod"]
    place.services.runs.decide(place.admin(), run, view.approvals[0].key, approve=True)
    assert given(place, run) == {"KEY": OF_ENVIRONMENT}
    run = sent(place, holder(place, "environment:api/guarded"), {"environment": "guarded"}, "api")
    assert "takes only main; this run is for a commit without a branch" in words(place.finished(run))


def test_a_look_at_a_plan_tells_what_it_asks_for(place: Place) -> None:
    for secrets, names in ((["KEY"], ("KEY",)), ({"A": "KEY", "B": {"file": "FILE"}}, ("KEY", "FILE")), ([], ())):
        text = WRITTEN.format(secrets=secrets, environment="stage")
        (step,) = place.services.plans.check(place.admin(), "acme", {"pipeline.py": text}).steps
        assert (step.kind, step.environment, step.secrets) == ("run", "stage", names)


def test_who_repeats_a_plan_must_lend_the_same(place: Place) -> None:
    lender = holder(place, "secret:KEY")
    run = sent(place, lender, KEY)
    assert given(place, run) == {"KEY": OF_TENANT}
    sam = place.person("sam", "developer")
    for actor in (place.admin(), sam, holder(place, "secret:OTHER")):
        again = place.services.runs.rerun(actor, run)
        assert "without the scope secret:KEY" in words(place.finished(again.id))
        later = place.services.control.restart(actor, run, "ask#1")
        assert "without the scope secret:KEY" in words(place.finished(later.id))
    assert given(place, place.services.runs.rerun(lender, run).id) == {"KEY": OF_TENANT}
    assert given(place, place.services.control.restart(lender, run, "ask#1").id) == {"KEY": OF_TENANT}


def test_who_restarts_many_plans_must_lend_the_same(place: Place) -> None:
    lender = holder(place, "secret:KEY")
    run = sent(place, lender, KEY)
    assert given(place, run) == {"KEY": OF_TENANT}

    def restarted(actor: Actor, key: str) -> str:
        wanted = Wanted("-", frozenset({"passed"}), step="ask#1", key=key)
        changed = place.services.bulk.sweep(actor, "restart", "acme", wanted).changed
        (successor,) = [one.successor for one in changed if one.run == run]
        assert successor is not None
        return successor

    for number, actor in enumerate((place.admin(), place.person("max", "developer"), holder(place, "secret:OTHER"))):
        assert "without the scope secret:KEY" in words(place.finished(restarted(actor, f"key {number}")))
    assert given(place, restarted(lender, "the lender's")) == {"KEY": OF_TENANT}


def test_only_who_manages_lends(place: Place) -> None:
    tokens = place.services.tenants.tokens
    sam = place.person("dora", "developer")
    with pytest.raises(Denied, match="change settings or secrets of 'acme'"):
        tokens.issue(sam, "mine", scopes=("write", "secret:KEY"), tenant="acme")
    one = place.services.tenants.tokens.issue(
        place.admin(), "all", scopes=("read", "write", "manage", "secret:KEY"), tenant="acme"
    )
    actor = tokens.actor(one.secret)
    assert actor is not None
    assert tokens.issue(actor, "less", scopes=("write", "secret:KEY"), tenant="acme").token.scopes[1:] == (
        "secret:KEY",
    )
    with pytest.raises(Denied, match="may do more than itself"):
        tokens.issue(actor, "more", scopes=("write", "secret:OTHER"), tenant="acme")
    plain = tokens.actor(tokens.issue(place.admin(), "plain", tenant="acme").secret)
    assert plain is not None and not any(one.token.id == view.id for view in tokens.list(plain))


@pytest.mark.parametrize("scope", ["secret:", "secret:a b", "secret:../KEY", "secret:a/b/C", "environment:prod"])
def test_scopes_that_name_nothing_are_refused(place: Place, scope: str) -> None:
    tokens = place.services.tenants.tokens
    with pytest.raises(Invalid, match=r"lends nothing\. Write secret:NAME"):
        tokens.issue(place.admin(), "odd", scopes=("write", scope), tenant="acme")
    with pytest.raises(Invalid, match=r"is for one tenant\. Name it"):
        tokens.issue(place.admin(), "odd", scopes=("write", "secret:KEY"))
    with pytest.raises(Invalid, match="at most 50"):
        tokens.issue(place.admin(), "odd", scopes=("write", *(f"secret:K{n}" for n in range(51))), tenant="acme")


def test_only_what_one_may_lend_is_offered(place: Place) -> None:
    tokens = place.services.tenants.tokens
    assert tokens.lendable(place.admin()) == [
        Lendable("acme", "", ("KEY",), ()), Lendable("acme", "api", ("KEY",), ("guarded", "prod", "stage")),
    ]  # fmt: skip
    assert tokens.lendable(place.person("dan", "developer")) == tokens.lendable(NOBODY) == []
    one = tokens.issue(place.admin(), "some", scopes=("read", "manage", "environment:api/stage"), tenant="acme")
    assert one.token.lends == ("environment:api/stage",)
    actor = tokens.actor(one.secret)
    assert actor is not None
    assert tokens.lendable(actor) == [Lendable("acme", "api", (), ("stage",))]
