"""What opens on a page: the palette, dialogs and menus, by keyboard and by mouse."""

from collections.abc import Iterator

import pytest
from addresses import RUN
from looked import AXE, COLOURS, RULES, keep, violations, visit
from playwright.sync_api import Browser, Page, expect
from served import Served

pytestmark = pytest.mark.chromium


@pytest.mark.parametrize(
    ("path", "runs"),
    [("/", "/acme/-/runs"), ("/acme/-/usage", "/acme/-/runs"), (f"{RUN}/journal", "/acme/payments-api/runs")],
)
def test_g_r_goes_to_the_nearest_runs(browser: Browser, full: Served, path: str, runs: str) -> None:
    page = visit(browser, full)
    page.goto(full.url + path)
    page.evaluate("Date.now = () => 1")
    page.keyboard.press("g")
    page.keyboard.press("r")
    page.wait_for_url(full.url + runs)
    page.context.close()


def test_the_palette_finds_steps_of_the_page_and_says_when_there_is_nothing(browser: Browser, full: Served) -> None:
    page = visit(browser, full)
    page.goto(full.url + RUN)
    page.evaluate("window.same = true")
    found, nothing = page.locator("#jump li"), page.locator("#jump [role=status]")
    page.keyboard.press("/")
    expect(found.filter(has_text="typecheck")).to_have_count(0)  # all of them would hide everything else
    page.keyboard.type("typeche")
    expect(found).to_have_text(["typecheck"])
    expect(nothing).to_be_hidden()
    page.keyboard.press("Enter")
    expect(page.locator("#log-title")).to_have_text("typecheck")
    expect(page.locator("#jump")).to_be_hidden()
    assert page.evaluate("window.same")
    page.route("**/search?*", lambda route: route.fulfill(body="<html></html>"))
    page.keyboard.press("/")
    page.keyboard.type("qqq")
    expect(nothing).to_have_text("Nothing found")
    page.unroute("**/search?*")
    page.route("**/search?*", lambda route: route.abort())
    page.keyboard.type("q")
    expect(nothing).to_have_text("The search gives no answer now")
    page.keyboard.press("Backspace")
    page.keyboard.press("Backspace")
    page.keyboard.press("Backspace")
    page.keyboard.press("Backspace")
    expect(nothing).to_be_hidden()
    page.context.close()


OPEN = "dialog[open], .menu[open]"
OPENED = {
    "palette": lambda page: page.keyboard.press("/"),
    "keyboard": lambda page: page.keyboard.press("?"),
    "approval": lambda page: page.get_by_role("link", name="What goes out").click(),
    "account menu": lambda page: page.locator(".menu summary[aria-label^=Account]").click(),
    "more menu": lambda page: page.locator(".menu summary[aria-label=More]").click(),
}


WIDTHS = (1440, 390)


@pytest.fixture(scope="module")
def windows(browser: Browser, full: Served) -> Iterator[dict[int, Page]]:
    """A window of each width, kept open: to open one takes as long as to load three pages."""
    opened = {width: visit(browser, full, width=width) for width in WIDTHS}
    for page in opened.values():
        page.add_init_script(AXE)
    yield opened
    for page in opened.values():
        page.context.close()


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("what", OPENED)
def test_what_opens_on_a_page_is_free_of_errors(windows: dict[int, Page], full: Served, what: str, width: int) -> None:
    page = windows[width]
    page.complaints.clear()  # type: ignore[attr-defined]
    page.emulate_media(color_scheme="light")
    page.goto(full.url + RUN)
    OPENED[what](page)
    expect(page.locator(OPEN)).to_have_count(1)
    if what == "palette":
        page.keyboard.type("unit")
        expect(page.locator("#jump li").first).to_contain_text("unit")
    wrong: list[str] = list(page.complaints)  # type: ignore[attr-defined]
    for scheme, rules in (("light", RULES), ("dark", COLOURS)):
        page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
        wrong += [f"{scheme}: {found}" for found in violations(page, rules, OPEN)]
        keep(page, f"{what} {scheme}")
    if page.evaluate("document.documentElement.scrollWidth > innerWidth"):
        wrong.append("wider than the window")
    assert wrong == []


@pytest.mark.parametrize("width", WIDTHS)
def test_an_account_of_elsewhere_is_asked_about(windows: dict[int, Page], full: Served, width: int) -> None:
    page = windows[width]
    page.complaints.clear()  # type: ignore[attr-defined]
    page.goto(f"{full.url}/acme/-/people")
    page.get_by_label("Name").fill("known.elsewhere")
    page.get_by_role("button", name="Add", exact=True).click()
    told = page.get_by_role("alert")
    expect(told).to_contain_text("known.elsewhere has an account on this server already.")
    wrong: list[str] = list(page.complaints)  # type: ignore[attr-defined]
    for scheme, rules in (("light", RULES), ("dark", COLOURS)):
        page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
        wrong += [f"{scheme}: {found}" for found in violations(page, rules)]
        keep(page, f"account of elsewhere {scheme}")
    if page.evaluate("document.documentElement.scrollWidth > innerWidth"):
        wrong.append("wider than the window")
    assert wrong == []
    told.get_by_role("button", name="Add them as developer").click()
    expect(page.get_by_role("alert")).to_have_count(0)


@pytest.mark.parametrize(("session", "managed"), [("admin-session", 1), ("viewer-session", 0)])
def test_the_pages_of_a_tenant_are_found_from_everywhere(
    browser: Browser, full: Served, session: str, managed: int
) -> None:
    page = visit(browser, full, signed_in=False)
    page.context.add_cookies([{"name": "stepwell", "value": session, "url": full.url}])
    for path in ("/", "/playground", "/acme/-/people"):
        page.goto(full.url + path)
        page.keyboard.press("Control+k")
        expect(page.locator("#jump-text")).to_be_focused()
        for word, number in (("people", 1), ("usage", 1), ("runners", 1), ("secrets", managed), ("audit", managed)):
            expect(page.locator(f"#jump a[href='/acme/-/{word}']")).to_have_count(number)
        for words in ("Home", "Switch between light and dark", "Sign out"):
            expect(page.locator("#jump li", has_text=words)).to_have_count(1)
        page.keyboard.press("Escape")
    page.goto(full.url)
    expect(page.locator("main a[href='/acme']")).to_be_visible()
    page.get_by_label("Account: ").click()
    expect(page.locator(".menu-list a[href='/acme']")).to_be_visible()
    page.context.close()
