"""Every page in a real browser: no console error, no refused code or style, no axe violation, nothing too wide.

A page is loaded once at each width, and all that is asked of every page is asked of that load. axe, which takes as long
as all the rest, looks at each page at both widths with `STEPWELL_SOAK=1`, otherwise at one width, of neighbours in
turns.
"""

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from urllib.parse import urlsplit

import pytest
from addresses import EMPTY_PAGES, OPEN_PAGES, PAGES, RUN
from fixture_runs import NOW, step
from looked import AXE, COLOURS, MOST_SHIFTED, RULES, SHIFTS, keep, shifted, violations, visit
from playwright.sync_api import Browser, Page, expect
from served import Served

pytestmark = pytest.mark.chromium
SOAK = bool(os.environ.get("STEPWELL_SOAK"))
WIDTHS = (1440, 390)
PARTS = 4
TRIES = 6
"""A page that a slow machine has shown in pieces is loaded again: what scripts and styles move, they move each time."""


@dataclass(frozen=True)
class Window:
    """A window of the browser, and the pages that are looked at in it."""

    page: Page
    served: Served
    pages: Mapping[str, str]


def load(page: Page, url: str) -> float:
    """Open a page; how much of it has moved by itself."""
    moved = 1.0
    for _ in range(TRIES):
        if moved > MOST_SHIFTED:
            page.goto(url)
            page.wait_for_load_state("load")
            moved = shifted(page)
    return moved


def check(page: Page, name: str, url: str, with_axe: bool) -> list[str]:
    """Everything that is wrong with a page."""
    moved = load(page, url)
    answered = [c for c in page.complaints if "status of 404" not in c]  # type: ignore[attr-defined]
    wrong = [f"{name}: {c}" for c in answered]
    if urlsplit(page.url).path != urlsplit(url).path:
        wrong.append(f"{name}: the address became {page.url}")
    page.complaints.clear()  # type: ignore[attr-defined]
    if moved > MOST_SHIFTED:
        wrong.append(f"{name}: {moved:.3f} of it moves while it loads")
    for scheme, rules in (("light", RULES), ("dark", RULES if SOAK else COLOURS)):
        page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
        if with_axe:
            wrong += [f"{name}, {scheme}: {found}" for found in violations(page, rules)]
        keep(page, f"{name} {scheme}")
    if page.evaluate("document.documentElement.scrollWidth > innerWidth"):
        wrong.append(f"{name}: wider than the window")
    return wrong


@pytest.fixture(scope="module")
def windows(browser: Browser, full: Served, empty: Served) -> Iterator[dict[int, list[Window]]]:
    """Of each width a window for each kind of visitor, kept open: to open one takes as long as to load three pages."""
    kinds = ((full, PAGES, True), (empty, EMPTY_PAGES, True), (full, OPEN_PAGES, False))
    opened = {
        width: [Window(visit(browser, served, known, width), served, pages) for served, pages, known in kinds]
        for width in WIDTHS
    }
    for window in (window for ones in opened.values() for window in ones):
        window.page.clock.set_fixed_time(NOW)  # in pictures, what goes on has gone on for as long as the server says
        window.page.add_init_script(SHIFTS)
        window.page.add_init_script(AXE)  # the browser is sent it once, not for each page
    yield opened
    for window in (window for ones in opened.values() for window in ones):
        window.page.context.close()


@pytest.mark.parametrize("part", range(PARTS))
@pytest.mark.parametrize("width", WIDTHS)
def test_pages_are_free_of_errors_and_stand_still(windows: dict[int, list[Window]], width: int, part: int) -> None:
    wrong: list[str] = []
    for window in windows[width]:
        for number, (name, path) in enumerate(list(window.pages.items())[part::PARTS]):
            with_axe = SOAK or number % len(WIDTHS) == WIDTHS.index(width)
            wrong += check(window.page, name, window.served.url + path, with_axe)
    assert wrong == []


def test_what_others_wrote_runs_nowhere(browser: Browser, full: Served) -> None:
    page = visit(browser, full)
    page.on("dialog", lambda dialog: pytest.fail(f"a script ran: {dialog.message}"))
    for path in ("/", "/acme/payments-api/runs/1841", f"{RUN}?step=lint", f"{RUN}?step=version", f"{RUN}/journal"):
        page.goto(full.url + path)
    assert page.complaints == []  # type: ignore[attr-defined]
    page.context.close()


def test_steps_open_without_a_new_page_and_go_back(browser: Browser, full: Served) -> None:
    page = visit(browser, full)
    page.goto(full.url + RUN)
    page.evaluate("window.same = true")
    page.locator(".steps a", has_text="typecheck").click()
    page.wait_for_selector("#log-title:has-text('typecheck')")
    expect(page).to_have_url(re.compile("step=typecheck"))
    page.go_back()
    page.wait_for_selector("#log-title:has-text('unit 3.13')")
    assert page.evaluate("window.same")
    page.context.close()


def test_a_link_to_a_line_shows_it_even_deep_in_a_long_log(browser: Browser, full: Served) -> None:
    page = visit(browser, full)
    page.goto(full.url + "/acme/payments-api/runs/1840#hello:12345")
    page.wait_for_selector("li.hit[data-n='12345']")
    assert page.evaluate("document.querySelector('li.hit').getBoundingClientRect().top") < 900
    page.context.close()


def test_a_click_on_a_number_makes_a_link_to_the_line(browser: Browser, full: Served) -> None:
    page = visit(browser, full)
    page.goto(full.url + f"{RUN}?step=unit-3.13")
    page.locator("li[data-n='5']").click(position={"x": 20, "y": 8})
    expect(page).to_have_url(re.compile("#unit-3.13:5$"))
    page.locator("li[data-n='8']").click(position={"x": 20, "y": 8}, modifiers=["Shift"])
    expect(page).to_have_url(re.compile("#unit-3.13:5-8$"))
    page.reload()
    expect(page.locator("li.hit")).to_have_count(4)
    page.context.close()


def test_groups_of_lines_fold_and_show_what_is_found_in_them(browser: Browser, full: Served) -> None:
    page = visit(browser, full)
    page.goto(full.url + f"{RUN}?step=install")
    group, line = page.get_by_role("button", name="Resolve 41 packages"), page.locator("#log li[data-n='3']")
    expect(group).to_have_attribute("aria-expanded", "false")
    expect(line).to_be_hidden()
    assert page.evaluate("[...document.querySelectorAll('#log .group')].map((one) => one.dataset.took)") == [
        "3.0s", "2.0s",
    ]  # fmt: skip
    group.press("Enter")
    expect(line).to_be_visible()
    group.press("Enter")
    page.get_by_label("Find in this log").fill("another of")
    expect(line).to_be_visible()
    expect(page.locator("#log li[data-n='7']")).to_be_hidden()
    page.context.close()


def test_n_and_p_go_from_error_to_error(browser: Browser, full: Served) -> None:
    page = visit(browser, full)
    page.goto(full.url + f"{RUN}?step=unit-3.13")
    for key, line in (("n", 23), ("n", 18), ("p", 23)):
        page.keyboard.press(key)
        expect(page.locator("li.hit")).to_have_attribute("data-n", str(line))
    page.context.close()


def test_find_counts_matches_of_the_whole_log(browser: Browser, full: Served) -> None:
    page = visit(browser, full)
    page.goto(full.url + "/acme/payments-api/runs/1840?step=hello")
    page.keyboard.press("f")
    page.keyboard.type("line 1999")
    expect(page.locator(".log-find output")).to_have_text("1/11")
    page.context.close()


def test_the_keyboard_finds_the_way(browser: Browser, full: Served) -> None:
    page = visit(browser, full)
    page.goto(full.url + RUN)
    page.keyboard.press("a")
    expect(page.get_by_role("dialog").get_by_label("Comment (optional)")).to_be_focused()
    page.keyboard.type("by keyboard")
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    with page.expect_navigation():
        page.keyboard.press("Enter")
    assert full.services.decided[-1][:4] == ("run1842", "load test#1", True, "by keyboard")
    page.keyboard.press("?")
    expect(page.locator("#keys")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator("#keys")).to_be_hidden()
    page.keyboard.press("/")
    page.keyboard.type("payments")
    page.keyboard.press("Enter")
    page.wait_for_url("**/acme/payments-api")
    page.keyboard.press("/")
    page.keyboard.type("round")
    expect(page.locator("#jump li")).to_contain_text(["Round refunds", "Charge in cents", "Playground"])
    expect(page.locator("#jump .enters")).to_contain_text(["Round refunds"])
    page.locator("#jump-text").fill("charge in")
    expect(page.locator("#jump li")).to_contain_text(["Round refunds", "Charge in cents"])  # found by the server
    page.keyboard.press("Escape")
    expect(page.locator("#jump")).to_be_hidden()
    page.evaluate("Date.now = () => 1")  # however long the two keys take here, they are one
    page.keyboard.press("g")
    page.keyboard.press("i")
    page.wait_for_url("**/approvals")
    page.context.close()


def test_the_main_button_of_an_error_page_is_no_link_in_a_text(browser: Browser, full: Served) -> None:
    page = visit(browser, full)
    page.goto(full.url + "/acme/nope")
    expect(page.locator("p a.button.primary")).to_have_css("text-decoration-line", "none")
    page.context.close()


def test_a_key_typed_right_after_a_dialog_closed_is_heard(browser: Browser, full: Served) -> None:
    page = visit(browser, full)
    page.goto(full.url)
    page.evaluate("""() => {
        const [keys, close] = [document.querySelector('#keys'), document.querySelector('#keys form button')];
        keys.showModal();
        close.focus();
        keys.close();  // the focus stays in it until the browser draws the next frame
        close.dispatchEvent(new KeyboardEvent('keydown', { key: '/', bubbles: true }));
    }""")
    expect(page.locator("#jump")).to_be_visible()
    page.context.close()


def test_enter_in_the_comment_decides_nothing(browser: Browser, full: Served) -> None:
    decided = list(full.services.decided)
    page = visit(browser, full)
    page.goto(full.url + RUN)
    page.get_by_placeholder("Comment (optional)").press("Enter")
    page.goto(full.url + RUN)
    assert full.services.decided == decided
    page.context.close()


@pytest.mark.parametrize(("width", "button"), [(1440, "Colour theme"), (390, "Light or dark")])
def test_the_theme_is_chosen_and_kept(browser: Browser, full: Served, width: int, button: str) -> None:
    page = visit(browser, full, width=width)
    page.goto(full.url)
    before = page.evaluate("getComputedStyle(document.body).backgroundColor")
    page.get_by_label("Account").click()
    page.get_by_role("button", name=button).click()
    page.reload()
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") != before
    page.context.close()


def test_an_approval_is_given_without_javascript(browser: Browser, full: Served) -> None:
    context = browser.new_context(java_script_enabled=False)
    context.add_cookies([{"name": "stepwell", "value": "admin-session", "url": full.url}])
    page = context.new_page()
    page.goto(full.url + f"{RUN}?step=unit-3.13")
    assert "assert 503 == 502" in page.locator("#log").inner_text()
    page.get_by_label("Find in this log").fill("ASSERT 503")
    page.get_by_label("Find in this log").press("Enter")
    expect(page.get_by_role("heading", name="2 lines with “ASSERT 503”")).to_be_visible()
    page.locator(".log-found a", has_text="FAILED").click()
    expect(page.locator("li.hit")).to_have_attribute("data-n", "23")
    page.get_by_role("link", name="What goes out").click()
    page.get_by_label("Comment (optional)").fill("no script")
    with page.expect_navigation():
        page.get_by_role("button", name="Approve").click()
    assert full.services.decided[-1][:4] == ("run1842", "load test#1", True, "no script")
    context.close()


NAMES = """[...document.querySelectorAll('.graph .node-text')].map((text) => {
    const [name, time] = text.children;
    const room = (time ? time.getBoundingClientRect().left : text.getBoundingClientRect().right);
    return [name.textContent, name.scrollWidth > name.clientWidth, room - name.getBoundingClientRect().right];
})"""


def test_no_name_in_the_graph_touches_its_time_or_is_cut_where_there_is_room(browser: Browser, full: Served) -> None:
    page = visit(browser, full)
    page.goto(full.url + RUN)
    names = page.evaluate(NAMES)
    assert len(names) > 8
    cut = {name for name, cut, _ in names if cut}
    assert "migrate the oldest database that we support" in cut and not cut & {"checkout", "build image", "typecheck"}
    assert {round(gap) for _, _, gap in names} <= {0, 3, 6}  # to the box's end, to "× 4", or to the time
    page.context.close()


@pytest.mark.parametrize("width", [1440, 390])
def test_the_log_of_a_run_of_two_hundred_steps_is_on_the_first_screen(
    browser: Browser, full: Served, width: int
) -> None:
    page = visit(browser, full, width=width)
    page.goto(full.url + PAGES["wide run"])
    page.wait_for_load_state("networkidle")
    top = page.evaluate("document.querySelector('#log-panel').getBoundingClientRect().top")
    assert top < 900
    if width > 760:
        assert page.locator(".graph .node .node-text span").all_inner_texts() == [
            "checkout", "199 passed", "package-pa", "publish",
        ]  # fmt: skip
    page.context.close()


def test_the_chosen_step_is_in_view_in_a_high_graph(browser: Browser, full: Served) -> None:
    wide = full.services.views["run1834"]
    bad = tuple(replace(one, state="failed") for one in wide.steps[:100])
    full.services.views["run1"] = replace(wide, summary=replace(wide.summary, id="run1", number=1), steps=bad)
    page = visit(browser, full)
    page.goto(f"{full.url}/acme/payments-api/runs/1?step={bad[60].name}")
    in_view = """() => {
        const box = document.querySelector('.graph-scroll').getBoundingClientRect();
        const chosen = document.querySelector('.graph [aria-current] > rect').getBoundingClientRect();
        return chosen.top >= box.top && chosen.bottom <= box.bottom;
    }"""
    page.wait_for_function(in_view)
    page.evaluate("scrollTo(0, 60)")
    page.locator(".steps a", has_text=bad[5].name).click()
    expect(page.locator("#log-title")).to_have_text(bad[5].name)
    page.wait_for_function(in_view)
    assert page.evaluate("scrollY") == 60
    page.context.close()


def test_the_name_of_a_step_with_many_siblings_is_read_in_the_head_of_its_log(browser: Browser, full: Served) -> None:
    view = full.services.views["run1834"]
    many = tuple(step(f"unit tests on python 3.{n}", "passed", 0, 60) for n in range(12))
    told = replace(view.summary, id="run2", number=2)
    full.services.views["run2"] = replace(view, summary=told, steps=many)
    page = visit(browser, full)
    page.goto(f"{full.url}/acme/payments-api/runs/2?step=unit-tests-on-python-3.11")
    page.wait_for_function("""() => {
        const box = document.querySelector('.shards').getBoundingClientRect();
        const chosen = document.querySelector('.shards [aria-current]').getBoundingClientRect();
        return chosen.left >= box.left - 1 && chosen.right <= box.right + 1;
    }""")
    title = page.locator("#log-title span")
    assert title.evaluate("title => title.scrollWidth <= title.clientWidth")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.context.close()


def test_the_journal_breaks_no_name_of_a_step_on_a_phone(browser: Browser, full: Served) -> None:
    page = visit(browser, full, width=390)
    page.goto(full.url + f"{RUN}/journal")
    heights = page.evaluate("[...document.querySelectorAll('.journal td.mono')].map((cell) => cell.offsetHeight)")
    assert len(heights) == 5
    assert max(heights) <= 20  # one line
    page.context.close()


def test_a_matrix_unfolds_by_keyboard_and_stays_so_when_there_is_news(browser: Browser, full: Served) -> None:
    page = visit(browser, full)
    page.goto(full.url + f"{RUN}?step=lint")
    member = page.locator(".steps a", has_text="unit 3.12")
    expect(member).to_be_hidden()
    page.locator("summary", has_text="unit × 4").press("Enter")
    expect(member).to_be_visible()
    page.keyboard.press("j")
    expect(page.locator("#log-title")).to_have_text("unit 3.11")
    page.locator("summary", has_text="unit × 4").click()
    expect(member).to_be_hidden()
    page.locator(".steps a", has_text="lint").click()
    expect(page.locator("#log-title")).to_have_text("lint")
    expect(member).to_be_hidden()
    page.context.close()


def test_a_matrix_unfolds_without_javascript(browser: Browser, full: Served) -> None:
    context = browser.new_context(java_script_enabled=False)
    context.add_cookies([{"name": "stepwell", "value": "admin-session", "url": full.url}])
    page = context.new_page()
    page.goto(full.url + f"{RUN}?step=lint")
    page.locator("summary", has_text="unit × 4").click()
    page.locator(".steps a", has_text="unit 3.12").click()
    expect(page.locator("#log-title")).to_have_text("unit 3.12")
    context.close()


def test_a_renewal_that_failed_is_tried_again_without_more_news(browser: Browser, full: Served) -> None:
    page = visit(browser, full)
    page.goto(full.url + "/acme/payments-api")
    script = page.locator("script[src*='app.js']").get_attribute("src") or ""
    asked = page.evaluate(
        """async (path) => {
        const { debounced } = await import(path);
        let calls = 0;
        await new Promise((done) => debounced(async () => {
            calls += 1;
            if (calls === 1) throw new Error('no network');
            done();
        }, 1)());
        return calls;
    }""",
        script.replace("app.js", "live.js"),
    )
    assert asked == 2
    page.context.close()
