"""What is seen of pages in the browser's tab and on paper."""

from dataclasses import replace

import pytest
from addresses import PAGES, RUN
from fixture_runs import NOW
from live import wait_until
from looked import visit
from playwright.sync_api import Browser, Page, expect
from served import Served

from stepwell.engine.entries import Entry

pytestmark = pytest.mark.chromium
ICON = """async () => {
    const [link, image] = [document.querySelector('link[rel="icon"]'), new Image()];
    image.src = link.href;
    await image.decode();
    const canvas = document.createElement('canvas');
    canvas.width = canvas.height = 16;
    const drawing = canvas.getContext('2d');
    drawing.drawImage(image, 0, 0, 16, 16);
    return Array.from(drawing.getImageData(0, 0, 16, 16).data).join();
}"""
PAPER_PIXELS = 720  # A4 within usual margins
PRINTED = (
    "run", "found", "groups", "journal", "timeline", "changes", "source", "review", "approvals", "usage", "runners",
    "dead runs", "people", "commit", "environments", "caches",
)  # fmt: skip
CUT_OFF = """() => [...document.querySelectorAll('main *')].filter((part) => {
    const style = getComputedStyle(part);
    const wide = style.overflowX !== 'visible' && part.scrollWidth > part.clientWidth + 2;
    const high = style.overflowY !== 'visible' && part.scrollHeight > part.clientHeight + 2;
    const shown = part.checkVisibility() && part.clientWidth > 1 && !part.closest('.unseen, .endgroup');
    return shown && (high || (wide && style.textOverflow !== 'ellipsis'));
}).map((part) => part.outerHTML.slice(0, 120))"""
TO_PRESS = """() => [...document.querySelectorAll('.top, .tabs, button:not(.fold), input, select')]
    .filter((part) => part.checkVisibility()).map((part) => part.outerHTML.slice(0, 120))"""


def icon(page: Page) -> str:
    """The name of the icon in the tab."""
    href = page.locator('link[rel="icon"]').get_attribute("href") or ""
    return href.rpartition("/")[2]


def test_the_tab_shows_the_state_of_a_run_by_shape(browser: Browser, full: Served) -> None:
    page = visit(browser, full)
    before = full.services.views["run1840"]
    drawn: dict[str, str] = {}
    states = {"passed": "passed", "failed": "failed", "diverged": "failed", "running": "running", "queued": "running",
              "waiting": "waiting", "paused": "waiting", "cancelled": "idle"}  # fmt: skip
    for state, name in states.items():
        ended = before.summary.ended_at if state in ("passed", "failed", "diverged", "cancelled") else None
        summary = replace(before.summary, state=state, ended_at=ended)  # type: ignore[arg-type]
        full.services.views["run1840"] = replace(before, summary=summary)
        page.goto(f"{full.url}/acme/payments-api/runs/1840")
        assert icon(page) == f"favicon-{name}.svg", state
        drawn[name] = page.evaluate(ICON)
    full.services.views["run1840"] = before
    page.goto(full.url)
    assert icon(page) == "favicon.svg"
    assert len({page.evaluate(ICON), *drawn.values()}) == 6  # no two look the same
    page.context.close()


def test_the_tab_of_an_open_page_changes_with_the_run(browser: Browser, full: Served) -> None:
    before = full.services.views["run1842"]
    page = visit(browser, full)
    page.goto(full.url + RUN)
    assert icon(page) == "favicon-failed.svg"  # it goes on after a failed step
    summary = replace(before.summary, state="waiting", counts={"passed": 8, "waiting": 1}, seq=before.summary.seq + 1)
    full.services.views["run1842"] = replace(before, summary=summary)
    entry = Entry("run1842", summary.seq, NOW, "asked", "load test#1", 0, 1, {})

    def seen() -> bool:
        for tell in full.services.entry_callbacks:  # again until the page listens
            tell(entry, None)
        return icon(page) == "favicon-waiting.svg"

    wait_until(seen, 30, "icon of a run that waits")
    expect(page.locator("#status")).to_have_text("Run: Waiting")
    full.services.views["run1842"] = before
    page.context.close()


def test_paper_shows_everything_that_is_to_read_and_nothing_to_press(browser: Browser, full: Served) -> None:
    context = browser.new_context(viewport={"width": PAPER_PIXELS, "height": 1000}, color_scheme="dark")
    context.add_cookies([{"name": "stepwell", "value": "admin-session", "url": full.url}])
    page = context.new_page()
    page.emulate_media(media="print", color_scheme="dark")
    wrong: list[str] = []
    for name in PRINTED:
        page.goto(full.url + PAGES[name])
        page.wait_for_load_state("load")
        wrong += [f"{name}, cut off: {part}" for part in page.evaluate(CUT_OFF)]
        wrong += [f"{name}, to press: {part}" for part in page.evaluate(TO_PRESS)]
        ink = page.evaluate("getComputedStyle(document.body).color")
        if not ink.startswith("oklch(0.2"):
            wrong.append(f"{name}: the ink is {ink}")
    assert wrong == []
    context.close()


def test_paper_shows_folded_lines_and_every_step(browser: Browser, full: Served) -> None:
    page = visit(browser, full, width=PAPER_PIXELS)
    page.goto(f"{full.url}{RUN}?step=install")
    line = page.locator("#log li[data-n='3']")
    expect(line).to_be_hidden()
    page.emulate_media(media="print")
    expect(line).to_be_visible()
    assert page.locator(".steps .step", has_text="checkout").is_visible()
    assert page.pdf().startswith(b"%PDF")
    page.context.close()
