"""A token that lends to plans, made in a real browser."""

import pytest
from fixture_tokens import FixtureTokens
from looked import AXE, RULES, keep, violations, visit
from playwright.sync_api import Browser, expect
from served import Served

pytestmark = pytest.mark.chromium


@pytest.mark.parametrize(("width", "scheme"), [(1440, "light"), (390, "dark")])
def test_a_token_lends_what_is_marked(browser: Browser, full: Served, width: int, scheme: str) -> None:
    page = visit(browser, full, width=width, scheme=scheme)
    page.goto(full.url + "/tokens")
    page.get_by_label("Name").fill("agent")
    page.get_by_text("Lend secrets and environments to plans").press("Enter")
    page.get_by_label("DEPLOY_KEY secret").check()
    page.get_by_label("QUEEN secret").check()
    page.evaluate(AXE)
    assert violations(page, RULES) == []
    keep(page, f"a token that lends {scheme}")
    page.get_by_role("button", name="Create token").click()
    expect(page.get_by_role("alert")).to_contain_text("would be for acme and umbrella")
    page.complaints.clear()  # type: ignore[attr-defined]  # the status of what was refused
    page.get_by_label("QUEEN secret").uncheck()
    page.get_by_label("staging environment").check()
    page.get_by_role("button", name="Create token").click()
    expect(page.get_by_role("status").first).to_contain_text("agent is ready")
    tokens = full.services.tenants.tokens
    assert isinstance(tokens, FixtureTokens)
    assert (tokens.made[-1].tenant, tokens.made[-1].lends) == (
        "acme", ("secret:payments-api/DEPLOY_KEY", "environment:payments-api/staging"),
    )  # fmt: skip
    assert page.complaints == []  # type: ignore[attr-defined]
    page.context.close()
