"""The inbox in a real browser: a decision stays in its row, and what goes somewhere is looked at first."""

from collections.abc import Iterator

import pytest
from browsers import sign_in
from live import LiveServer, commit_all, git, write_pipeline
from playwright.sync_api import Browser, Page, Route, expect

ASKS = """
from stepwell import Pipeline, push

class Ship(Pipeline):
    on = [push("*")]

    async def run(self, event, step):
        await step.approval("Ship it?", environment="production" if event.branch == "out" else None)
"""
pytestmark = pytest.mark.chromium


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    live = LiveServer(tmp_path_factory.mktemp("inbox") / "state")
    live.start()
    folder = tmp_path_factory.mktemp("asks")
    write_pipeline(folder, ASKS)
    commit_all(folder, "Ask")
    address = live.create_repository("asks")
    for number, branch in enumerate(("one", "two", "three", "four", "out"), 1):
        git("push", "-q", address, f"HEAD:{branch}", cwd=folder)
        live.wait_for_approval(str(live.query("SELECT id FROM runs WHERE number = ?", number)[0][0]))
    yield live
    live.stop()


@pytest.fixture
def page(browser: Browser, server: LiveServer) -> Iterator[Page]:
    context = browser.new_context(viewport={"width": 390, "height": 900}, reduced_motion="reduce")
    opened = context.new_page()
    sign_in(opened, server)
    expect(opened).to_have_url(f"{server.url}/approvals")
    yield opened
    context.close()


def test_a_decision_stays_in_its_row_and_no_other_button_comes_under_the_pointer(page: Page) -> None:
    buttons = page.get_by_role("button", name="Approve", exact=True)
    expect(buttons).to_have_count(4)
    second = buttons.nth(1).bounding_box()
    buttons.first.click()
    expect(page.locator("#needs").get_by_text("Approved: Ship it? · acme/asks #1")).to_be_visible()
    expect(page.locator("#status")).to_have_text("Approved: Ship it? · acme/asks #1")
    expect(page.get_by_role("link", name="acme/asks #1")).to_be_focused()
    expect(page.locator("#inbox .badge")).to_have_text("4")  # the list has been renewed
    expect(buttons).to_have_count(3)
    assert buttons.first.bounding_box() == second
    page.get_by_role("button", name="Reject").first.click()
    expect(page.locator("#needs").get_by_text("Rejected: Ship it? · acme/asks #2")).to_be_visible()
    expect(page.locator("#inbox .badge")).to_have_text("3")
    assert page.locator("#needs > *").all_inner_texts()[:2] == [
        "Approved: Ship it? · acme/asks #1", "Rejected: Ship it? · acme/asks #2",
    ]  # fmt: skip


def test_news_of_a_decision_that_comes_before_its_answer_takes_no_row_away(page: Page) -> None:
    held: list[Route] = []
    page.route("**/decisions", lambda route: held.append(route))  # noqa: PLW0108 - Playwright marks functions
    row = page.get_by_role("region", name="Ship it? needs approval in acme/asks #3")
    with page.expect_request("**/decisions"):
        row.get_by_role("button", name="Approve").click()
    answer = held[0].fetch()
    expect(page.locator("#inbox .badge")).to_have_text("2")  # the list has been renewed
    expect(row).to_be_visible()
    held[0].fulfill(response=answer)
    expect(page.locator("#needs").get_by_text("Approved: Ship it? · acme/asks #3")).to_be_visible()
    expect(row).to_have_count(0)


def test_what_goes_to_an_environment_is_looked_at_before_it_is_decided(page: Page) -> None:
    row = page.get_by_role("region", name="Ship it? needs approval in acme/asks #5")
    expect(row.get_by_role("button", name="Approve")).to_have_count(0)
    row.get_by_role("link", name="Review").click()
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_label("Comment (optional)")).to_be_focused()
    dialog.get_by_role("button", name="Approve").click()
    expect(dialog).to_have_count(0)
    expect(page.locator("#needs").get_by_text("Approved: Ship it? · acme/asks #5")).to_be_visible()
    assert page.url.endswith("/approvals")


def test_without_a_script_a_decision_leads_back_to_the_list(browser: Browser, server: LiveServer, page: Page) -> None:
    context = browser.new_context(java_script_enabled=False)
    context.add_cookies(page.context.cookies())  # type: ignore[arg-type]
    plain = context.new_page()
    plain.goto(f"{server.url}/approvals")
    before = plain.get_by_role("button", name="Approve", exact=True).count()
    plain.get_by_role("button", name="Approve", exact=True).first.click()
    expect(plain).to_have_url(f"{server.url}/approvals")
    expect(plain.get_by_role("button", name="Approve", exact=True)).to_have_count(before - 1)
    context.close()
