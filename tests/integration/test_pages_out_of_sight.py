"""What is out of sight on the page of a long run is laid out when it comes near, and takes its room before."""

from collections.abc import Iterator

import pytest
from browsers import FLAGS
from playwright.sync_api import Browser, Page, sync_playwright

from stepwell_web import graph, steplist
from stepwell_web.graph import Node
from stepwell_web.runview import Row
from stepwell_web.steplist import Item
from stepwell_web.templating import JOINED, STATIC

pytestmark = pytest.mark.chromium
STEPS = 200
SHOWN = "(kind) => [...document.querySelectorAll(kind)].map((e) => e.checkVisibility({ contentVisibilityAuto: true }))"
LAST_SHOWN = f"(kind) => ({SHOWN})(kind).at(-1)"


@pytest.fixture(scope="module")
def browser(chromium_path: str) -> Iterator[Browser]:
    with sync_playwright() as play, play.chromium.launch(executable_path=chromium_path, args=FLAGS) as browser:
        yield browser


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    styles = "".join((STATIC / name).read_text() for name in JOINED["run-steps.css"])
    names = [f"step-{'x' * number}" for number in range(STEPS)]
    rows = [Row(name, "#", "passed", "Passed", "1s", None, 0, 9, 1, not n, False) for n, name in enumerate(names)]
    nodes = [Node(name, name, "passed", "#", tuple(names[max(0, n - 1) : n]), "1s") for n, name in enumerate(names)]
    nodes += [Node(f"side{'y' * n}", f"side{'y' * n}", "failed", "#", (names[20],), "1s") for n in range(12)]
    page = browser.new_page(viewport={"width": 1440, "height": 900})
    page.set_content(
        f"<!doctype html><style>{styles}</style><main><div class='graph-scroll'>{graph.draw(nodes, 'Steps')}</div>"
        f"<nav class='panel steps'><ol>{steplist.html([Item(row) for row in rows])}</ol></nav></main>"
    )
    yield page
    page.close()


@pytest.mark.parametrize(("kind", "box"), [(".step-name", ".steps"), ("svg.graph", ".graph-scroll")])
def test_what_is_out_of_sight_is_laid_out_when_it_comes_near(page: Page, kind: str, box: str) -> None:
    shown = page.evaluate(SHOWN, kind)
    assert shown[0] and not shown[-1]
    room = "(box) => document.querySelector(box).scrollHeight"
    before = page.evaluate(room, box)
    page.evaluate("(box) => document.querySelector(box).scrollTo(1e6, 1e6)", box)
    page.wait_for_function(LAST_SHOWN, arg=kind)
    assert page.evaluate(room, box) == before


def test_the_keyboard_gets_to_what_is_out_of_sight(page: Page) -> None:
    for link, kind in (("a.step", ".step-name"), ("a.node", "svg.graph")):
        page.locator(link).last.focus()
        assert page.evaluate("(link) => document.activeElement.matches(link)", link)
        page.wait_for_function(LAST_SHOWN, arg=kind)


def test_a_wide_graph_that_is_tall_is_not_cut_off(page: Page) -> None:
    parts = page.evaluate("[...document.querySelectorAll('.graph-part')].map((part) => part.offsetHeight)")
    assert len(parts) == STEPS // graph.PART
    assert len(set(parts)) == 1 and parts[0] > 500


def test_all_of_it_is_printed(page: Page) -> None:
    page.emulate_media(media="print")
    assert all(page.evaluate(SHOWN, ".step-name")) and all(page.evaluate(SHOWN, "svg.graph"))
    wide = page.evaluate("[...document.querySelectorAll('svg.graph')].map((one) => one.getBoundingClientRect().right)")
    assert max(wide) <= 1440
