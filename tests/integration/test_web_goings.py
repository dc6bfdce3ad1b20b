"""What goes for good is named and asked about first, by a page that works without a script."""

import re
from dataclasses import replace

import pytest
from fixture_people import ADMIN as OWNER
from fixture_services import FixtureServices
from visitors import STRANGER, client

from stepwell.ci.views import EnvironmentView

PLACE = "/acme/payments-api"


def fields(page: str) -> dict[str, str]:
    """What the form of the page that asks sends."""
    form = page[page.index('<form class="panel card wide"') :]
    return dict(re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)">', form[: form.index("</form>")]))


GOINGS = [
    (f"{PLACE}/settings/secrets/delete", {"name": "KEY", "environment": "staging"}, "the secret KEY of staging"),
    (f"{PLACE}/settings/environments/delete", {"name": "production"}, "the environment production"),
    (f"{PLACE}/caches/delete", {"key": "npm-1", "branch": "main"}, "the cache npm-1 of main"),
    (f"{PLACE}/caches/delete", {"all": "yes"}, "every cache of acme/payments-api"),
    ("/acme/-/secrets/delete", {"name": "KEY"}, "the secret KEY"),
    ("/acme/-/people/remove", {"name": "mara.okoye"}, "mara.okoye from acme"),
]


@pytest.mark.parametrize(("path", "form", "what"), GOINGS)
async def test_what_goes_is_named_first(
    given: FixtureServices, monkeypatch: pytest.MonkeyPatch, path: str, form: dict[str, str], what: str
) -> None:
    gone: list[object] = []
    for place, name in (
        (given.tenants.secrets, "remove"), (given.environments, "remove"), (given.caches, "remove"),
        (given.caches, "remove_key"), (given.tenants.members, "remove"),
    ):  # fmt: skip
        monkeypatch.setattr(place, name, lambda *given, **named: gone.append((given, named)))
    async with client(given) as web:
        asked = await web.post(path, data=form)
        assert (asked.status_code, gone) == (200, [])
        assert f"{what}?</h1>" in asked.text
        sent = fields(asked.text)
        assert sent == {**form, "sure": "yes"}
        done = await web.post(path, data=sent)
    assert (done.status_code, len(gone)) == (303, 1)


@pytest.mark.parametrize(("path", "form", "what"), GOINGS)
async def test_a_stranger_is_not_asked(given: FixtureServices, path: str, form: dict[str, str], what: str) -> None:
    async with client(given) as web:
        answer = await web.post(path, data=form, headers=STRANGER)
    assert (answer.status_code, what in answer.text) == (404, False)


async def test_a_token_is_named_before_it_is_revoked(given: FixtureServices, monkeypatch: pytest.MonkeyPatch) -> None:
    tokens, revoked = given.tenants.tokens, list[str]()
    issued = tokens.issue(OWNER, "laptop")
    monkeypatch.setattr(tokens, "list", lambda actor: [issued.token])
    monkeypatch.setattr(tokens, "revoke", lambda actor, id: revoked.append(id))
    async with client(given) as web:
        asked = await web.post("/tokens/revoke", data={"id": "t1"})
        assert ("Revoke the token laptop?</h1>" in asked.text, revoked) == (True, [])
        await web.post("/tokens/revoke", data=fields(asked.text))
    assert revoked == ["t1"]


async def test_an_environment_is_changed_in_a_form_that_has_its_rules(
    given: FixtureServices, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = EnvironmentView("production", ("ida.berg", "jun.sato"), 2, ("main",), True, 1800.0)
    monkeypatch.setattr(given.environments, "list", lambda *_: [held])
    async with client(given) as web:
        shown = await web.get(f"{PLACE}/environments")
        assert f'href="{PLACE}/settings?environment=production#environment"' in shown.text
        change = (await web.get(f"{PLACE}/settings?environment=production")).text
        fresh = (await web.get(f"{PLACE}/settings?environment=staging")).text
        add = (await web.get(f"{PLACE}/settings")).text
    rules = (
        'value="production" readonly',
        'value="2"',
        'value="ida.berg, jun.sato"',
        'value="main"',
        "checked",
        'value="30 minutes"',
    )
    form = change[change.index('id="environment"') :]
    assert [words for words in rules if words not in form] == []
    assert 'value="staging" readonly' in fresh
    assert "Add an environment" in add


async def test_a_repository_goes_once_its_name_is_typed(given: FixtureServices) -> None:
    async with client(given) as web:
        asked = await web.post(f"{PLACE}/settings/delete")
        assert "Delete acme/payments-api?</h1>" in asked.text and "Type <b>acme/payments-api</b>" in asked.text
        sent = fields(asked.text)
        for typed in ("", "payments-api"):
            wrong = await web.post(f"{PLACE}/settings/delete", data={**sent, "typed": typed})
            assert (wrong.status_code, given.stopped) == (422, []) and "This is not acme/payments-api." in wrong.text
        done = await web.post(f"{PLACE}/settings/delete", data={**sent, "typed": " acme/payments-api "})
        assert (done.status_code, done.headers["location"]) == (303, "/acme")
    assert given.stopped == ["no acme/payments-api"]


async def test_runs_that_go_on_keep_a_repository_and_are_led_to(given: FixtureServices) -> None:
    given.removal.runs = ["#12", "acme/- #3"]
    async with client(given) as web:
        told = await web.post(f"{PLACE}/settings/delete", data={"sure": "yes", "typed": "acme/payments-api"})
    assert told.status_code == 200 and given.stopped == []
    assert "keep it: #12, acme/- #3." in told.text and f'href="{PLACE}/runs">Show its runs</a>' in told.text
    assert 'name="sure"' not in told.text[told.text.index("Delete acme") :]


async def test_only_owners_are_asked(given: FixtureServices) -> None:
    given.tenants.open_sessions["admin-session"] = replace(OWNER, roles={"acme": "maintainer"})
    async with client(given) as web:
        assert (await web.post(f"{PLACE}/settings/delete")).status_code == 403
        assert "Delete this repository" not in (await web.get(f"{PLACE}/settings")).text
