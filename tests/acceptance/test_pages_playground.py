"""A plan of several files in a real browser: each has its own field, and what is wrong leads to its line."""

from collections.abc import Iterator
from dataclasses import replace

import pytest
from looked import AXE, RULES, keep, violations, visit
from playwright.sync_api import Browser, expect
from served import Served

pytestmark = pytest.mark.chromium


@pytest.fixture
def plan(full: Served) -> Iterator[str]:
    view = full.services.views["run1842"]
    full.services.views["run1842"] = replace(view, summary=replace(view.summary, plan="digest"))
    yield f"{full.url}/playground?run=run1842"
    full.services.views["run1842"] = view


@pytest.mark.parametrize(("width", "scheme"), [(1440, "light"), (1440, "dark"), (390, "light"), (390, "dark")])
def test_its_files_are_open_and_an_error_leads_to_its_line(
    browser: Browser, full: Served, plan: str, width: int, scheme: str
) -> None:
    page = visit(browser, full, width=width, scheme=scheme)
    page.on("dialog", lambda dialog: pytest.fail(f"a script ran: {dialog.message}"))
    page.goto(plan)
    helper = page.get_by_label("helper.py")
    expect(helper).to_be_visible()
    expect(page.get_by_label("lib/dates.py")).to_have_value("DAY = 1\n")
    helper.fill("DAY = 1\nwrong = here\n")
    error = page.get_by_role("button", name="helper.py, line 2")
    expect(error).to_be_visible()
    expect(page.locator(".editor-numbers .wrong")).to_have_text("2")
    page.evaluate(AXE)
    assert violations(page, RULES) == []
    assert not page.evaluate("document.documentElement.scrollWidth > innerWidth")
    keep(page, f"a plan of several files {scheme}")
    page.get_by_text("helper.py", exact=True).click()
    expect(helper).to_be_hidden()
    error.click()
    expect(helper).to_be_focused()
    assert helper.evaluate("field => field.value.slice(field.selectionStart, field.selectionEnd)") == "wrong = here"
    assert page.complaints == []  # type: ignore[attr-defined]
    page.context.close()
