"""Repositories are deleted with all that is kept of them; a crash in the middle is made good."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from typing import Any

import pytest
from places import Clone, Place

from stepwell.errors import Conflict, Denied, NotFound
from stepwell.store.caches import CacheFiles
from stepwell.store.tables import Declaration

SOURCE = """
from stepwell import *

class Ship(Pipeline):
    on = [manual(ask=False), cron("0 3 * * *")]
    async def run(self, event, step):
        await step.run("work", "true")
        if event.inputs.get("ask"):
            await step.approval("Go on?")
"""


@pytest.fixture
def clone(place: Place) -> Clone:
    clone = place.repository()
    clone.pipeline(SOURCE)
    clone.push()
    place.services.pushes.finish()
    return clone


def start(place: Place, **inputs: Any) -> str:
    ref = place.services.runs.start(place.admin(), "acme", "api", pipeline="Ship", inputs=inputs)
    place.until(ref.id, lambda view: view.summary.finished or view.approvals)
    return ref.id


def rows(place: Place, query: str) -> list[Any]:
    with closing(sqlite3.connect(place.settings.database)) as db:
        return db.execute(query).fetchall()


def nothing_is_left(place: Place, clone: Clone, *runs: str) -> bool:
    """Whether rows and files are gone."""
    of_one = ("schedules", "environments", "push_intents", "declarations")
    for table in ("runs", "journal", "timers", *of_one, "removed_repositories"):
        if rows(place, f"SELECT * FROM {table}"):
            return False
    logs = [path for run in runs for path in (place.settings.state / "logs").rglob(f"*{run}*")]
    return not logs and not place.base.repositories.path(clone.id).exists()


def test_a_repository_goes_with_its_runs_and_all_that_gave_power_in_its_name(place: Place, clone: Clone) -> None:
    owner, tenants = place.admin(), place.services.tenants
    run = start(place)
    for secret, repository in (("KEY", "api"), ("SHARED", "")):
        tenants.secrets.put(owner, "acme", secret, "value", repository=repository)
    place.services.environments.put(owner, "acme", "api", "production")
    tenants.quotas.put(owner, "acme", 3, "api")
    alone = tenants.tokens.issue(owner, "alone", scopes=["read"], tenant="acme", repository="api")
    lent = ["read", "secret:api/KEY", "environment:api/production", "secret:SHARED", "secret:apis/KEY"]
    lender = tenants.tokens.issue(owner, "lender", scopes=lent, tenant="acme")
    assert rows(place, "SELECT * FROM schedules")

    place.services.removal.remove(owner, "acme", "api")

    assert nothing_is_left(place, clone, run)
    assert [one.name for one in tenants.secrets.list(owner, "acme")] == ["SHARED"]
    assert rows(place, "SELECT name FROM secrets") == [("SHARED",)]
    assert tenants.quotas.runs_of("acme", "api") is None
    assert tenants.tokens.actor(alone.secret) is None
    left = tenants.tokens.actor(lender.secret)
    assert left is not None and left.lends == {"secret:SHARED", "secret:apis/KEY"}
    (entry,) = [one for one in tenants.audit.list(owner, "acme") if one.action == "repository.remove"]
    assert (entry.subject, entry.detail) == ("api", {"tokens_revoked": ["alone"]})
    with pytest.raises(NotFound):
        place.services.catalog.get(owner, "acme", "api")


def test_a_run_that_has_not_ended_keeps_it(place: Place, clone: Clone) -> None:
    owner = place.admin()
    run = start(place, ask=True)
    assert place.services.removal.going_on(owner, "acme", "api") == ["#1"]
    with pytest.raises(Conflict, match=r"Runs of acme/api have not ended: #1\. Cancel them"):
        place.services.removal.remove(owner, "acme", "api")
    assert place.services.catalog.get(owner, "acme", "api").name == "api"
    place.services.control.terminate(owner, run)
    place.until(run, lambda view: view.summary.finished)
    place.services.removal.remove(owner, "acme", "api")
    place.services.removal.clear()
    assert nothing_is_left(place, clone, run)


def test_only_owners_delete(place: Place, clone: Clone) -> None:
    maintainer, stranger = place.person("max", "maintainer"), place.person("sam")
    for actor, error in ((maintainer, Denied), (stranger, NotFound)):
        for act in (place.services.removal.remove, place.services.removal.going_on):
            with pytest.raises(error):
                act(actor, "acme", "api")
    assert place.base.repositories.exists(clone.id)


class Crash(BaseException):
    """The process ends here."""


def crash(*_: Any, **__: Any) -> Any:
    raise Crash


BREAKS: list[Callable[[Place, pytest.MonkeyPatch], None]] = [
    lambda place, patch: patch.setattr(place.services.tenants.audit, "add", crash),
    lambda place, patch: patch.setattr(place.services.tenants.quotas, "reload", crash),
    lambda place, patch: patch.setattr(place.base.logs, "remove", crash),
    lambda place, patch: patch.setattr(place.thread.engine, "remove", crash),
    lambda place, patch: patch.setattr(place.base.repositories, "delete", crash),
    lambda place, patch: patch.setattr("stepwell.repos.repositories.shutil.rmtree", crash),
    lambda place, patch: patch.setattr(CacheFiles, "remove", crash),
]


@pytest.mark.parametrize("broken", range(len(BREAKS)))
def test_a_crash_leaves_the_repository_or_in_the_end_nothing(place: Place, clone: Clone, broken: int) -> None:
    run = start(place)
    with pytest.MonkeyPatch.context() as patch:
        BREAKS[broken](place, patch)
        with pytest.raises(Crash):
            place.services.removal.remove(place.admin(), "acme", "api")
    if broken == 0:
        assert place.services.catalog.get(place.admin(), "acme", "api").last_run is not None
        return
    with pytest.raises(NotFound):
        place.services.catalog.get(place.admin(), "acme", "api")
    with pytest.raises(Conflict, match="still being deleted"):
        place.services.catalog.create(place.admin(), "acme", "API")
    place.stop()
    place.start()
    place.services.removal.clear()
    assert nothing_is_left(place, clone, run)
    assert not list(place.base.repositories.root.iterdir())
    assert place.services.catalog.create(place.admin(), "acme", "api").last_run is None


def test_a_run_that_slips_in_beside_the_deletion_is_ended_and_goes(place: Place, clone: Clone) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(place.services.removal, "going_on", lambda *_: [])
        patch.setattr(place.services.removal, "clear", lambda: None)
        place.services.removal.remove(place.admin(), "acme", "api")
    other = place.repository("other")
    other.pipeline(SOURCE)
    other.push()
    with closing(sqlite3.connect(place.settings.database)) as db, db:
        db.execute("UPDATE removed_repositories SET name = 'other'")
    ref = place.services.runs.start(place.admin(), "acme", "other", pipeline="Ship", inputs={"ask": True})
    place.until(ref.id, lambda view: view.approvals)
    place.services.removal.clear()
    assert place.until(ref.id, lambda view: view.summary.finished).summary.state != "passed"
    place.services.removal.clear()
    assert rows(place, "SELECT * FROM runs") == rows(place, "SELECT * FROM removed_repositories") == []


def test_what_it_declared_is_forgotten_and_its_siblings_tell_theirs_again(place: Place, clone: Clone) -> None:
    sibling = place.repository("web")
    sibling.pipeline(SOURCE.replace("manual(ask=False), cron", "push(), cron"))
    sibling.push()
    start(place)
    with place.base.store.write() as session:
        session.add(Declaration(tenant="globex", tree="t", version="v", answer={}, created_at=0))
    assert rows(place, "SELECT tenant FROM declarations") == [("acme",), ("acme",), ("globex",)]
    place.finished(sibling.runs()[0].id)
    place.services.removal.remove(place.admin(), "acme", "api")
    assert rows(place, "SELECT tenant FROM declarations") == [("globex",)]
    sibling.commit_files({"a": "1"})
    assert "run #2 Ship" in sibling.push()[0]
    assert rows(place, "SELECT tenant FROM declarations") == [("acme",), ("globex",)]
    place.finished(sibling.runs()[0].id)
