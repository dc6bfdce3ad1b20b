"""The log by keyboard: from line to line, each with an address of its own."""

import pytest
from addresses import RUN
from looked import visit
from playwright.sync_api import Browser, Page, expect
from served import Served

pytestmark = pytest.mark.chromium


def hit(page: Page, *numbers: int) -> None:
    expect(page.locator("#log li.hit")).to_have_count(len(numbers))
    assert page.locator("#log li.hit").evaluate_all("all => all.map((one) => Number(one.dataset.n))") == [*numbers]


def test_j_and_k_move_by_line_and_the_address_follows(browser: Browser, full: Served) -> None:
    page = visit(browser, full)
    page.goto(f"{full.url}{RUN}?step=lint")
    page.keyboard.press("j")
    hit(page, 1)
    page.keyboard.press("j")
    hit(page, 2)
    page.wait_for_url("**#lint:2")
    page.keyboard.press("j")  # there is no third line
    hit(page, 2)
    page.keyboard.press("k")
    page.wait_for_url("**#lint:1")
    page.reload()
    hit(page, 1)
    page.keyboard.press("j")
    hit(page, 2)
    assert page.complaints == []  # type: ignore[attr-defined]
    page.context.close()


def test_from_a_range_they_go_on_at_its_ends(browser: Browser, full: Served) -> None:
    page = visit(browser, full)
    for key, line in (("j", 9), ("k", 4)):
        page.goto(full.url)
        page.goto(f"{full.url}{RUN}?step=unit-3.13#unit-3.13:5-8")
        expect(page.locator("#log li.hit")).to_have_count(4)
        page.keyboard.press(key)
        hit(page, line)
    page.context.close()


def test_lines_of_a_long_log_come_as_they_are_wanted_and_stay_in_view(browser: Browser, full: Served) -> None:
    page = visit(browser, full)
    page.goto(f"{full.url}/acme/payments-api/runs/1840#hello:12500")
    expect(page.locator("#log li.hit[data-n='12500']")).to_be_in_viewport()
    for line in range(12501, 12505):
        page.keyboard.press("j")
        expect(page.locator("#log li.hit")).to_have_attribute("data-n", str(line))
        expect(page.locator("#log li.hit")).to_be_in_viewport()
    page.context.close()


def test_folded_lines_are_passed_over(browser: Browser, full: Served) -> None:
    page = visit(browser, full)
    page.goto(f"{full.url}{RUN}?step=install")
    expect(page.locator("#log li[data-n='3']")).to_be_hidden()
    page.keyboard.press("j")
    page.keyboard.press("j")
    hit(page, 2)
    page.keyboard.press("j")
    expect(page.locator("#log li[data-n='3']")).to_be_hidden()
    page.wait_for_function("Number(document.querySelector('#log li.hit').dataset.n) > 4")
    page.context.close()


def test_steps_have_their_own_keys_and_keep_j_and_k_while_they_have_the_focus(browser: Browser, full: Served) -> None:
    page = visit(browser, full)
    page.goto(f"{full.url}{RUN}?step=lint")
    page.keyboard.press("J")
    expect(page.locator("#log-title")).to_have_text("typecheck")
    page.keyboard.press("k")  # the focus is on the step
    expect(page.locator("#log-title")).to_have_text("lint")
    page.context.close()


@pytest.mark.parametrize("key", ["y", "Enter"])
def test_a_key_copies_the_link_to_the_line(browser: Browser, full: Served, key: str) -> None:
    page = visit(browser, full)
    page.context.grant_permissions(["clipboard-read", "clipboard-write"], origin=full.url)
    page.goto(f"{full.url}{RUN}?step=lint")
    page.keyboard.press("j")
    hit(page, 1)
    page.keyboard.press(key)
    expect(page.locator("#status")).to_have_text("Link copied")
    page.wait_for_url("**#lint:1")  # what is said of the line itself came before
    expect(page.locator("#status")).to_have_text("Link copied")
    copied = page.evaluate("navigator.clipboard.readText()")
    assert copied.endswith("?step=lint&from=1#lint:1")
    page.keyboard.press("?")
    expect(page.locator("#keys")).to_contain_text("Next, previous line of the log")
    page.context.close()
