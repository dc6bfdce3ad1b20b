"""A browser of a size and a colour scheme, what it complains about, what axe finds on its page, what moves there."""

import os
from pathlib import Path

from axe_playwright_python.sync_playwright import Axe
from browsers import complaints_of
from playwright.sync_api import Browser, Page
from served import Served

AXE = Axe().axe_script
RULES: dict[str, object] = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]}
COLOURS: dict[str, object] = {"runOnly": {"type": "rule", "values": ["color-contrast", "link-in-text-block"]}}
"""What a colour scheme can break."""
LOOKED_AT = {"exclude": [["#log li:nth-child(n + 30)"], [".tree li:nth-child(n + 60)"]]}
"""One line of a log is like another, and one file of a large folder."""
SHIFTS = """window.shifts = 0;
new PerformanceObserver((seen) => seen.getEntries().forEach((one) => { if (!one.hadRecentInput) shifts += one.value; }))
    .observe({ type: 'layout-shift', buffered: true });"""
MOST_SHIFTED = 0.01
"""Of a page: what counts as a good one ends at 0.1."""


def visit(browser: Browser, served: Served, signed_in: bool = True, width: int = 1440, scheme: str = "light") -> Page:
    """Open a browser of its own at a size, in a colour scheme; what it complains about is kept in `page.complaints`."""
    context = browser.new_context(
        viewport={"width": width, "height": 900},
        color_scheme=scheme,  # type: ignore[arg-type]
        reduced_motion="reduce",
    )
    if signed_in:
        context.add_cookies([{"name": "stepwell", "value": "admin-session", "url": served.url}])
    page = context.new_page()
    page.complaints = complaints_of(page)  # type: ignore[attr-defined]
    return page


def violations(page: Page, rules: dict[str, object], where: object = LOOKED_AT) -> list[str]:
    """What axe finds. Only that comes back from the browser: all else it tells of a page is many times larger."""
    found: list[str] = page.evaluate(
        """async ([where, options]) => (await axe.run(where, { ...options, resultTypes: ['violations'] })).violations
            .map((one) => `${one.id}: ${one.nodes[0].html.slice(0, 200)}`)""",
        [where, rules],
    )
    return found


def shifted(page: Page) -> float:
    """How much of the page has moved by itself so far; the page was opened with the script SHIFTS."""
    page.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(done))))")
    return float(page.evaluate("shifts"))


def keep(page: Page, name: str) -> None:
    """Keep a picture where STEPWELL_SCREENSHOTS says; of a page of thousands of lines, its beginning."""
    if folder := os.environ.get("STEPWELL_SCREENSHOTS"):
        whole = page.evaluate("document.documentElement.scrollHeight < 8000")
        width = page.evaluate("innerWidth")
        path = Path(folder) / f"{name.replace(' ', '-')}-{width}.png"
        page.screenshot(path=path, full_page=whole, caret="initial")  # to hide one restyles the page twice
