"""The page of admins in a real browser: what is well is folded away and opens by the keyboard."""

import pytest
from addresses import PAGES
from fixture_people import ADMIN
from looked import keep, visit
from playwright.sync_api import Browser, expect
from served import Served

pytestmark = pytest.mark.chromium


def test_what_needs_a_look_is_seen_and_the_rest_unfolds(browser: Browser, full: Served) -> None:
    page = visit(browser, full)
    page.goto(full.url + "/admin")
    health = page.get_by_role("region", name="Health")
    expect(health.get_by_text("steps wait for the checkout of large ones")).to_be_visible()
    expect(health.get_by_text("engine 28.0.1")).to_be_hidden()
    health.get_by_text("6 other checks found nothing wrong").press("Enter")
    expect(health.get_by_text("engine 28.0.1")).to_be_visible()
    expect(page.get_by_text("tcp://…@builder.example:2376")).to_be_visible()
    assert "s3cret" not in page.content()
    assert page.complaints == []  # type: ignore[attr-defined]
    page.get_by_role("link", name="Look at them those of acme").first.click()
    page.wait_for_url("**/acme/-/dead")
    page.context.close()


def test_only_admins_find_the_way_there(browser: Browser, full: Served) -> None:
    assert not ADMIN.administers
    page = visit(browser, full)
    page.goto(full.url + "/")
    page.get_by_label("Account: ida.berg").click()
    expect(page.get_by_role("link", name="Access tokens").first).to_be_visible()
    expect(page.get_by_role("link", name="Administration")).to_have_count(0)
    page.context.close()


def test_nothing_is_cut_without_a_sign_on_a_phone(browser: Browser, full: Served) -> None:
    page = visit(browser, full, width=390)
    page.goto(full.url + PAGES["review"])
    commits = page.locator(".review-commits")
    expect(commits).to_be_visible()
    assert commits.evaluate("box => getComputedStyle(box).maxHeight") == "none"
    for path in ("/acme/-/usage", "/admin"):
        page.goto(full.url + path)
        wide = page.locator(".scroll:has(> .figures)")
        assert wide.evaluate_all("boxes => boxes.some((box) => box.scrollWidth > box.clientWidth)")
        shades = "boxes => boxes.every((box) => getComputedStyle(box).backgroundAttachment.startsWith('local, local'))"
        assert wide.evaluate_all(shades)
        keep(page, f"a wide table of {path.rpartition('/')[2]}")
    page.context.close()
