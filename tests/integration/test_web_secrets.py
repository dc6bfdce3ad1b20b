"""Secrets on their pages and over the API: for which branches and tags they are."""

import pytest
from fixture_secrets import FixtureSecrets
from fixture_services import FixtureServices
from visitors import client

PLACE = "/acme/payments-api/settings"


def secrets(given: FixtureServices) -> FixtureSecrets:
    found = given.tenants.secrets
    assert isinstance(found, FixtureSecrets)
    return found


async def test_pages_tell_for_which_refs_a_secret_is(given: FixtureServices) -> None:
    async with client(given) as web:
        listed, tenants = (await web.get(PLACE)).text, (await web.get("/acme/-/secrets")).text
        changed = (await web.get(f"{PLACE}?secret=MIRROR_TOKEN&of=")).text
        unknown = (await web.get(f"{PLACE}?secret=DEPLOY_KEY&of=")).text
    assert "For every branch and tag · set by mara.okoye" in listed
    assert "Only for main, release/*, tags/v* · set by" in listed and "For protected branches · set by" in tenants
    assert "<h3>Change MIRROR_TOKEN</h3>" in changed and 'value="these" checked' in changed
    assert 'value="main, release/*, tags/v*"' in changed and 'placeholder="as it is"' in changed
    assert "Add or replace a secret" in unknown and 'value="protected" checked' in unknown


@pytest.mark.parametrize("path", [f"{PLACE}/secrets", "/acme/-/secrets"])
@pytest.mark.parametrize(
    ("form", "done"),
    [
        ({"given": "protected", "value": "v"}, ("put", "KEY", "v", "protected")),
        ({"given": "every", "value": "v"}, ("put", "KEY", "v", ())),
        ({"given": "these", "refs": "main, tags/v*", "value": "v"}, ("put", "KEY", "v", ("main", "tags/v*"))),
        ({"value": "v"}, ("put", "KEY", "v", None)),
        ({"given": "every", "value": "", "known": "yes"}, ("limit", "SENTRY_DSN", "", ())),
        ({"given": "protected", "value": "v", "known": "yes"}, ("put", "SENTRY_DSN", "v", "protected")),
    ],
)
async def test_the_form_sets_value_and_refs(
    given: FixtureServices, path: str, form: dict[str, str], done: tuple[object, ...]
) -> None:
    async with client(given) as web:
        answer = await web.post(path, data={"name": str(done[1]), **form})
    assert (answer.status_code, secrets(given).done) == (303, [done])


async def test_only_these_without_any_is_refused(given: FixtureServices) -> None:
    async with client(given) as web:
        answer = await web.post(f"{PLACE}/secrets", data={"name": "KEY", "value": "v", "given": "these", "refs": " "})
    assert answer.status_code == 422 and "No branch or tag was named" in answer.text
    assert secrets(given).done == []


@pytest.mark.parametrize("place", ["repos/acme/payments-api", "tenants/acme"])
async def test_the_api_sets_lists_and_changes_refs(given: FixtureServices, place: str) -> None:
    path = f"/api/v1/{place}/secrets"
    async with client(given) as web:
        listed = (await web.get(path)).json()["items"]
        for refs in (["main"], [], "protected", None):
            assert (await web.put(f"{path}/KEY", json={"value": "v", "refs": refs})).status_code == 204
        assert (await web.put(f"{path}/KEY", json={"value": "v"})).status_code == 204
        for more in (["tags/*"], "protected"):
            assert (await web.patch(f"{path}/SENTRY_DSN", json={"refs": more})).status_code == 204
        refused = [(await web.patch(f"{path}/SENTRY_DSN", json={"refs": wrong})).status_code for wrong in ("all", None)]
        missing = await web.patch(f"{path}/OTHER", json={"refs": []})
    assert {one["name"]: one["refs"] for one in listed}["MIRROR_TOKEN"] == ["main", "release/*", "tags/v*"]
    assert [one[3] for one in secrets(given).done] == [("main",), (), "protected", None, None, ("tags/*",), "protected"]
    assert (refused, missing.status_code) == ([422, 422], 404)
