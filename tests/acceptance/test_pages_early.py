"""News that comes while a page is on its way to its reader, before it listens, is not lost."""

from dataclasses import replace

import pytest
from addresses import RUN
from fixture_runs import NOW, step
from live import wait_until
from playwright.sync_api import Page, Route, expect
from served import Served

from stepwell.engine.entries import Entry
from stepwell.engine.specs import Note
from stepwell.engine.state import RunState

pytestmark = pytest.mark.chromium
STATE = RunState("run1842", "acme", "acme/payments-api", 1842, "Ship")


def hold_stream(page: Page) -> list[Route]:
    """Have the page's request for its news wait for the test."""
    held: list[Route] = []
    page.route("**/stream?*", lambda route: route.continue_() if held else held.append(route))
    return held


def let_listen(page: Page, held: list[Route]) -> None:
    wait_until(lambda: page.evaluate("true") and held, 30, "request for the news")
    held[0].continue_()


def test_a_run_that_ends_before_its_list_listens_is_shown_as_ended(page: Page, full: Served) -> None:
    held = hold_stream(page)
    page.goto(full.url + "/acme/payments-api/runs")
    row = page.locator("#runs .row-link", has_text="#1842")
    expect(row.get_by_role("img", name="Failing")).to_be_visible()
    view = full.services.views["run1842"]
    summary = replace(view.summary, state="passed", ended_at=NOW, seq=view.summary.seq + 1)
    full.services.views["run1842"] = replace(view, summary=summary)
    for tell in full.services.entry_callbacks:
        tell(Entry("run1842", summary.seq, NOW, "ended", "", 0, 1, {}), STATE)
    let_listen(page, held)
    expect(row.get_by_role("img", name="Passed")).to_be_visible()


def test_what_no_journal_tells_before_the_page_of_a_run_listens_is_shown(page: Page, full: Served) -> None:
    held = hold_stream(page)
    page.goto(full.url + RUN)
    view = full.services.views["run1842"]
    full.services.views["run1842"] = replace(view, steps=(*view.steps, step("counting", "running", 2, None)))
    for tell in full.services.entry_callbacks:
        tell(Note("run1842", NOW, "running", "counting#1"), STATE)
    expect(page.locator("#steps")).not_to_contain_text("counting")
    let_listen(page, held)
    expect(page.locator("#steps")).to_contain_text("counting")
