"""Pages stand still: nothing moves by itself after it was painted, not while they load and not when there is news."""

from dataclasses import replace

import pytest
from addresses import EMPTY_PAGES, OPEN_PAGES, PAGES, RUN
from fixture_services import NOW
from live import wait_until
from playwright.sync_api import Browser, Page, expect
from served import Served, open_page

from stepwell.engine.entries import Entry

pytestmark = pytest.mark.chromium
SHIFTS = """window.shifts = 0;
new PerformanceObserver((seen) => seen.getEntries().forEach((one) => { if (!one.hadRecentInput) shifts += one.value; }))
    .observe({ type: 'layout-shift', buffered: true });"""
MOST_SHIFTED = 0.01
"""Of a page: what counts as a good one ends at 0.1."""
TRIES = 3
"""A page that a slow machine has shown in pieces is loaded again: what scripts and styles move, they move each time."""
expect.set_options(timeout=30_000)


def shifted(page: Page) -> float:
    """How much of the page has moved by itself so far."""
    page.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(done))))")
    return float(page.evaluate("shifts"))


@pytest.mark.parametrize("width", [1440, 390])
def test_nothing_moves_while_a_page_loads(browser: Browser, full: Served, empty: Served, width: int) -> None:
    wrong: dict[str, float] = {}
    for served, pages, known in ((full, PAGES, True), (empty, EMPTY_PAGES, True), (full, OPEN_PAGES, False)):
        page = open_page(browser, served, width, known)
        page.add_init_script(SHIFTS)
        for name, path in pages.items():
            moved = 1.0
            for _ in range(TRIES):
                if moved > MOST_SHIFTED:
                    page.goto(served.url + path)
                    moved = shifted(page)
            if moved > MOST_SHIFTED:
                wrong[name] = moved
        page.context.close()
    assert wrong == {}


def test_nothing_moves_on_an_open_page_when_a_step_ends(browser: Browser, full: Served) -> None:
    view = full.services.views["run1842"]
    going = next(one for one in view.steps if one.state == "running")
    page = open_page(browser, full, 1440)
    page.add_init_script(SHIFTS)
    page.goto(full.url + f"{RUN}?step=lint")
    row = page.locator(".steps .step", has_text=going.name)
    expect(row.get_by_role("img", name="Running")).to_be_visible()
    moved = shifted(page)
    ended = replace(going, state="passed", ended_at=NOW)
    summary = replace(view.summary, seq=view.summary.seq + 1)
    steps = tuple(ended if one.key == going.key else one for one in view.steps)
    full.services.views["run1842"] = replace(view, summary=summary, steps=steps)
    entry = Entry("run1842", summary.seq, NOW, "done", going.key, 1, 1, {})

    def seen() -> bool:
        for tell in full.services.entry_callbacks:  # again until the page listens
            tell(entry, None)
        return row.get_by_role("img", name="Passed").is_visible()

    wait_until(seen, 30, "tick at the step that has ended")
    assert shifted(page) - moved <= MOST_SHIFTED
    page.context.close()
