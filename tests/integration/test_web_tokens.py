"""The page of access tokens: what it offers to lend, what it sends, what it says of what was refused."""

import re

import pytest
from fixture_services import FixtureServices
from fixture_tokens import FixtureTokens
from visitors import STRANGER, client

KEY, STAGE = "acme secret:payments-api/DEPLOY_KEY", "acme environment:payments-api/staging"


def made(given: FixtureServices) -> list[tuple[tuple[str, ...], str]]:
    tokens = given.tenants.tokens
    assert isinstance(tokens, FixtureTokens)
    return [(one.scopes, one.tenant) for one in tokens.made]


async def test_it_offers_what_may_be_lent_and_lists_what_is(given: FixtureServices) -> None:
    async with client(given) as web:
        page = (await web.get("/tokens")).text
    assert re.findall(r'name="lends" value="([^"]+)"', page)[:6] == [
        "acme secret:MIRROR_KEY", "acme secret:NPM_TOKEN", KEY, "acme secret:payments-api/SENTRY_DSN",
        "acme environment:payments-api/production", STAGE,
    ]  # fmt: skip
    assert '<span class="mono">payments-api/staging</span>' in page and "read, write · acme" in page
    async with client(given, STRANGER) as web:
        assert 'name="lends"' not in (await web.get("/tokens")).text


async def test_a_token_that_lends_is_for_the_tenant_of_what_it_lends(given: FixtureServices) -> None:
    async with client(given) as web:
        form = {"name": "agent", "scopes": ["read", "write"], "lends": [KEY, STAGE], "tenant": ""}
        answer = await web.post("/tokens", data=form)
        plain = await web.post("/tokens", data={"name": "ci", "scopes": ["read"], "tenant": "acme"})
        assert (answer.status_code, plain.status_code) == (200, 200)
    assert "agent is ready" in answer.text and answer.headers["Cache-Control"] == "no-store"
    assert made(given) == [
        (("read", "write", "secret:payments-api/DEPLOY_KEY", "environment:payments-api/staging"), "acme"),
        (("read",), "acme"),
    ]


@pytest.mark.parametrize(
    ("form", "words"),
    [
        ({"scopes": ["write"], "lends": [KEY, "umbrella secret:hive/QUEEN"]}, "would be for acme and umbrella"),
        ({"scopes": ["write"], "lends": [KEY], "tenant": "umbrella"}, "would be for acme and umbrella"),
        ({"scopes": ["read"], "lends": [KEY]}, "is for sending plans"),
        ({"scopes": ["write"], "lends": ["acme secret:a b"]}, "lends nothing"),
        ({"scopes": ["write"], "days": "soon"}, "Give a number of days"),
    ],
)
async def test_what_is_refused_is_said_above_what_was_typed(
    given: FixtureServices, form: dict[str, str | list[str]], words: str
) -> None:
    async with client(given) as web:
        answer = await web.post("/tokens", data={"name": "agent", **form})
    assert (answer.status_code, made(given)) == (422, [])
    assert words in answer.text and 'value="agent"' in answer.text
    marked = re.findall(r'value="([^"]+)" checked', answer.text)
    assert marked == [one for one in [*form["scopes"], *form.get("lends", [])] if " b" not in one]
    assert ('<details class="lends" open>' in answer.text) == ("lends" in form)


async def test_a_password_is_set_by_who_just_signed_in_or_knows_the_present_one(given: FixtureServices) -> None:
    form = {"password": "correct horse"}
    async with client(given) as web:
        page = (await web.get("/tokens")).text
        answer = await web.post("/tokens/password", data=form)
    assert 'name="present"' not in page and "Your password is set" in answer.text
    assert given.stopped[-2:] == ["password of ida.berg", "other sessions"]
    given.stopped.clear()
    async with client(given, STRANGER) as web:
        page = (await web.get("/tokens")).text
        answer = await web.post("/tokens/password", data={**form, "present": "a guess"})
    assert 'name="present"' in page and answer.status_code == 403
    assert "That is not your present password." in answer.text and "a guess" not in answer.text
    assert given.stopped == []
