"""Quotas: who may set them, what they are worth at once, and that nobody else hears of them."""

from pathlib import Path

import pytest
from places import Clone, Place

from stepwell.ci.caps import RunCaps
from stepwell.engine.room import Caps
from stepwell.errors import Denied, Invalid, NotFound
from stepwell.store.store import Store
from stepwell.tenants import NOBODY, Tenants
from stepwell.tenants.quotas import Quotas, QuotaView

HOLDS = """
from stepwell import *

class Hold(Pipeline):
    on = [push()]
    async def run(self, event, step):
        await step.do("hold", hold, event.payload)

def hold(_):
    import pathlib, time
    while not pathlib.Path("GATE").exists():
        time.sleep(0.01)
"""


@pytest.fixture
def quotas(place: Place, clone: Clone) -> Quotas:
    return place.services.tenants.quotas


def test_a_quota_is_set_listed_and_taken_away(place: Place, quotas: Quotas) -> None:
    quotas.put(place.admin(), "acme", 5)
    quotas.put(place.admin(), "acme", 1, "api")
    quotas.put(place.admin(), "acme", 2, "api")
    assert quotas.list(place.admin(), "acme") == [QuotaView("", 5), QuotaView("api", 2)]
    quotas.put(place.admin(), "acme", None, "api")
    quotas.put(place.admin(), "acme", None, "api")
    assert quotas.list(place.admin(), "acme") == [QuotaView("", 5)]
    entry = place.services.tenants.audit.list(place.admin(), "acme")[0]
    assert (entry.action, entry.subject, entry.detail) == ("quota.put", "api", {"runs": None})


def test_quotas_are_there_after_a_restart(place: Place, quotas: Quotas) -> None:
    quotas.put(place.admin(), "acme", 3, "api")
    store = Store(place.settings.database)
    assert Tenants(store, place.settings.state / "key").quotas.runs_of("acme", "api") == 3
    store.close()


def test_a_quota_of_its_own_counts_before_the_setting(place: Place, quotas: Quotas) -> None:
    caps = RunCaps(quotas, per_tenant=9, per_repository=4)
    assert caps("acme", "acme/api") == Caps(9, 4)
    quotas.put(place.admin(), "acme", 20)
    quotas.put(place.admin(), "acme", 1, "api")
    assert caps("acme", "acme/api") == Caps(20, 1)
    assert caps("acme", "acme/web") == Caps(20, 4)


def test_a_tenants_quota_is_for_admins_and_a_repositorys_for_its_maintainers(place: Place, quotas: Quotas) -> None:
    owner, maintainer = place.person("olga", "owner"), place.person("mike", "maintainer")
    developer, stranger = place.person("dora", "developer"), place.person("sam")
    for actor in (owner, maintainer):
        quotas.put(actor, "acme", 2, "api")
        with pytest.raises(Denied, match=r"You may not set the quota of 'acme'\. Ask an admin of this server\."):
            quotas.put(actor, "acme", 100)
    with pytest.raises(Denied):
        quotas.put(developer, "acme", 2, "api")
    for actor in (stranger, NOBODY):
        for repository in ("", "api"):
            with pytest.raises(NotFound):
                quotas.put(actor, "acme", 2, repository)
        with pytest.raises(NotFound):
            quotas.list(actor, "acme")
    assert quotas.list(developer, "acme") == [QuotaView("api", 2)]


def test_a_token_for_one_repository_sees_and_sets_only_its_quota(place: Place, quotas: Quotas) -> None:
    place.repository("web")
    tenants = place.services.tenants
    quotas.put(place.admin(), "acme", 9)
    quotas.put(place.admin(), "acme", 2, "web")
    secret = tenants.tokens.issue(
        place.admin(), "ci", scopes=("read", "write", "manage", "own"), tenant="acme", repository="api"
    ).secret
    actor = tenants.tokens.actor(secret)
    assert actor is not None
    quotas.put(actor, "acme", 1, "api")
    assert quotas.list(actor, "acme") == [QuotaView("api", 1)]
    for repository in ("", "web"):
        with pytest.raises(NotFound):
            quotas.put(actor, "acme", 1, repository)


@pytest.mark.parametrize("runs", [0, -1, 10_001, True, 1.5, "3"])
def test_what_is_no_number_of_runs_is_refused(place: Place, quotas: Quotas, runs: object) -> None:
    with pytest.raises(Invalid, match="Use a whole number from 1 to 10,000, or none for no quota"):
        quotas.put(place.admin(), "acme", runs)  # type: ignore[arg-type]


def test_a_tenant_or_repository_that_is_not_there_has_no_quota(place: Place, quotas: Quotas) -> None:
    with pytest.raises(NotFound):
        quotas.put(place.admin(), "nowhere", 1)
    with pytest.raises(NotFound):
        quotas.put(place.admin(), "acme", 1, "nothing")


def test_a_quota_holds_pushes_back_until_it_is_raised(clone: Clone, quotas: Quotas, tmp_path: Path) -> None:
    place, gate = clone.place, tmp_path / "gate"
    quotas.put(place.admin(), "acme", 1, "api")
    clone.pipeline(HOLDS.replace("GATE", str(gate)))
    clone.push()
    first = clone.runs()[0].id
    place.until(first, lambda view: view.summary.state == "running")
    clone.commit_files({"a": "1"})
    clone.push()
    second = clone.runs()[0].id
    view = place.until(second, lambda view: view.summary.reason)
    assert (view.summary.state, view.summary.reason) == (
        "queued", "waits for room: at most 1 run of acme/api may go on at a time",
    )  # fmt: skip
    quotas.put(place.admin(), "acme", 2, "api")
    place.until(second, lambda view: view.summary.state == "running")
    gate.touch()
    assert [place.finished(run).summary.state for run in (first, second)] == ["passed", "passed"]
