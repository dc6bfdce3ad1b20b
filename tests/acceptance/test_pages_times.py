"""Times of day in a real browser: the reader's own, with their zone; in UTC, saying so, where no script runs."""

import pytest
from addresses import RUN
from playwright.sync_api import Browser, Page, expect
from served import Served

pytestmark = pytest.mark.chromium
JOURNAL = "/acme/payments-api/runs/1839/journal"


def visit(browser: Browser, served: Served, zone: str, scripts: bool = True) -> Page:
    context = browser.new_context(timezone_id=zone, java_script_enabled=scripts, reduced_motion="reduce")
    context.add_cookies([{"name": "stepwell", "value": "admin-session", "url": served.url}])
    return context.new_page()


@pytest.mark.parametrize(
    ("zone", "scripts", "first", "said"),
    [
        ("Europe/Berlin", True, "09:22:00", "CET"),
        ("Asia/Kolkata", True, "13:52:00", "GMT+5:30"),
        ("America/St_Johns", True, "04:52:00", "GMT-3:30"),
        ("Europe/Berlin", False, "08:22:00", "UTC"),
    ],
)
def test_a_log_tells_the_readers_time_and_its_zone(
    browser: Browser, full: Served, zone: str, scripts: bool, first: str, said: str
) -> None:
    page = visit(browser, full, zone, scripts)
    page.goto(f"{full.url}{RUN}?step=unit-3.13")
    expect(page.locator("#log time").first).to_have_text(first)
    expect(page.locator(".log-zone")).to_have_text(f"Times in {said}")
    page.context.close()


def test_lines_that_come_later_are_in_the_same_zone(browser: Browser, full: Served) -> None:
    page = visit(browser, full, "Europe/Berlin")
    page.goto(f"{full.url}/acme/payments-api/runs/1840#hello:12345")
    expect(page.locator("li[data-n='12345'] time")).to_have_text("12:47:44")
    page.context.close()


@pytest.mark.parametrize(("scripts", "begun", "said"), [(True, "22:06:40", "CET"), (False, "21:06:40", "UTC")])
def test_a_journal_tells_the_day_where_it_changes(
    browser: Browser, full: Served, scripts: bool, begun: str, said: str
) -> None:
    page = visit(browser, full, "Europe/Berlin", scripts)
    page.goto(full.url + JOURNAL)
    expect(page.locator(".journal th").nth(1)).to_have_text(f"When, {said}")
    told = page.locator(".journal time").all_inner_texts()
    assert told[0] == f"18 Nov, {begun}"
    assert [n for n, text in enumerate(told) if "," in text] == [0, 17]  # somebody approved three days later
    page.context.close()


def test_the_exact_time_beside_a_relative_one_is_the_readers(browser: Browser, full: Served) -> None:
    page = visit(browser, full, "Europe/Berlin")
    page.goto(full.url + RUN)
    time = page.locator("#head time").first
    assert time.get_attribute("title") == "22 November 2025, 08:17:40 UTC"
    time.hover()
    assert time.get_attribute("title") == "22 November 2025, 09:17:40 CET"
    page.context.close()
