"""A repository's files in a real browser: READMEs that strangers wrote."""

from urllib.parse import urlsplit

import pytest
from looked import AXE, COLOURS, RULES, keep, violations, visit
from playwright.sync_api import Browser, expect
from served import Served

pytestmark = pytest.mark.chromium
FILES = "/acme/payments-api/files"


def test_a_readme_stands_below_its_folder_and_its_links_lead_on(browser: Browser, full: Served) -> None:
    page = visit(browser, full)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("dialog", lambda dialog: pytest.fail(f"a script ran: {dialog.message}"))
    page.goto(full.url + FILES)
    expect(page.get_by_role("heading", name="Payments API", level=3)).to_be_visible()
    page.get_by_role("link", name="how to set it up").click()
    expect(page.locator("#readme-set-it-up")).to_be_in_viewport()
    page.wait_for_function("document.querySelector('.readme img').naturalWidth === 1")
    page.get_by_role("link", name="the notes").click()
    expect(page.get_by_role("heading", name="Notes", level=3)).to_be_visible()
    page.get_by_role("link", name="Source", exact=True).click()
    expect(page.locator("ol.code li")).to_have_text(["# Notes"])
    assert {urlsplit(url).netloc for url in asked} == {urlsplit(full.url).netloc}
    assert page.complaints == []  # type: ignore[attr-defined]
    page.context.close()


def test_a_readme_is_read_without_javascript(browser: Browser, full: Served) -> None:
    context = browser.new_context(java_script_enabled=False, viewport={"width": 390, "height": 900})
    context.add_cookies([{"name": "stepwell", "value": "admin-session", "url": full.url}])
    page = context.new_page()
    page.goto(full.url + FILES)
    page.get_by_role("link", name="Link to “Set it up”").click()
    page.wait_for_url("**#readme-set-it-up")
    page.get_by_text("Why not decimals?").click()
    expect(page.get_by_text("someone", exact=True)).to_be_visible()
    context.close()


def test_last_commits_come_later_where_they_are_not_known_in_time(browser: Browser, full: Served) -> None:
    page = visit(browser, full)
    page.goto(full.url + FILES)
    expect(page.locator("#tree li", has_text="README.md").locator(".tree-commit")).to_have_text("Begin")
    page.goto(f"{full.url}{FILES}?path=src")
    expect(page.locator("#tree .tree-commit")).to_have_count(5)
    expect(page.locator("[data-later]")).to_have_count(0)
    page.locator("#tree li", has_text="refunds.py").get_by_role("link", name="Round refunds half to even").click()
    page.wait_for_url("**/commits/7c1e9d4*")
    assert page.complaints == []  # type: ignore[attr-defined]
    page.context.close()


def test_last_commits_are_waited_for_without_javascript(browser: Browser, full: Served) -> None:
    context = browser.new_context(java_script_enabled=False)
    context.add_cookies([{"name": "stepwell", "value": "admin-session", "url": full.url}])
    page = context.new_page()
    page.goto(f"{full.url}{FILES}?path=src")
    expect(page.locator("#tree .tree-commit")).to_have_count(0)
    page.get_by_role("link", name="Wait for them").click()
    expect(page.locator("#tree .tree-commit")).to_have_count(5)
    context.close()


@pytest.mark.parametrize("width", [1440, 390])
def test_a_repository_is_deleted_once_its_name_is_typed(browser: Browser, full: Served, width: int) -> None:
    page = visit(browser, full, width=width)
    page.goto(full.url + "/acme/payments-api/settings")
    page.get_by_role("button", name="Delete…").click()
    page.evaluate(AXE)
    for scheme, rules in (("light", RULES), ("dark", COLOURS)):
        page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
        assert violations(page, rules) == []
        keep(page, f"delete a repository {scheme}")
    name = page.get_by_label("Type acme/payments-api to go on")
    name.fill("payments-api")
    page.get_by_role("button", name="Delete the repository").click()
    expect(page.get_by_role("alert")).to_have_text("This is not acme/payments-api.")
    expect(name).to_be_focused()
    name.fill("acme/payments-api")
    name.press("Enter")
    page.wait_for_url("**/acme")
    assert full.services.stopped[-1] == "no acme/payments-api"
    page.context.close()


def test_runs_that_go_on_are_led_to_instead(browser: Browser, full: Served) -> None:
    full.services.removal.runs = ["#1842"]
    page = visit(browser, full)
    page.goto(full.url + "/acme/payments-api/settings")
    page.get_by_role("button", name="Delete…").click()
    expect(page.get_by_label("Type")).to_have_count(0)
    keep(page, "runs keep a repository")
    page.get_by_role("link", name="Show its runs").click()
    page.wait_for_url("**/acme/payments-api/runs")
    full.services.removal.runs = []
    page.context.close()


def test_a_large_folder_has_pages_and_finds_a_part_of_a_name_without_javascript(browser: Browser, full: Served) -> None:
    context = browser.new_context(java_script_enabled=False)
    context.add_cookies([{"name": "stepwell", "value": "admin-session", "url": full.url}])
    page = context.new_page()
    page.goto(f"{full.url}{FILES}?path=many")
    names = page.locator("#tree .tree-name:not([href$='files?ref=main'])")
    expect(names).to_have_count(500)
    page.get_by_role("link", name="Next").click()
    expect(names.first).to_have_text("record-00500.json")
    expect(page.get_by_text("501–1,000 of 10,000")).to_be_visible()
    page.get_by_label("Part of a name in this folder").fill("RECORD-0999")
    page.get_by_role("button", name="Find").click()
    expect(names).to_have_count(10)
    expect(page.get_by_text("10 of 10,000 entries")).to_be_visible()
    context.close()
