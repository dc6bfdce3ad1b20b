"""The main story in a real browser: sign in, watch a run, see its lines arrive, approve the deploy, see it pass."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from browsers import complaints_of, sign_in
from live import LiveServer, commit_all, git, write_pipeline
from playwright.sync_api import Browser, Page, expect

SLOW = '''
from stepwell import Pipeline, push

class Ship(Pipeline):
    """Count slowly, ask, deploy."""

    on = [push("main")]

    async def run(self, event, step):
        await step.wait_for_event("word", type="begin")
        await step.run("count", "for n in 1 2 3 4 5 6 7 8; do echo line $n; sleep 0.5; done")
        await step.approval("Ship it?", environment="production")
        await step.run("deploy", "echo deployed to production")
'''

pytestmark = pytest.mark.chromium


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    live = LiveServer(tmp_path_factory.mktemp("story") / "state")
    live.start()
    yield live
    live.stop()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    yield context.new_page()
    context.close()


@pytest.fixture
def complaints(page: Page) -> list[str]:
    """What the browser's console says: errors, and violations of the content security policy."""
    return complaints_of(page)


def begin(server: LiveServer, repository: str) -> str:
    """Tell the repository's run to begin; its id."""
    run = str(server.runs(repository)[0]["id"])
    server.api("POST", f"/runs/{run}/events", json={"type": "begin"})
    return run


def test_push_watch_approve_pass(server: LiveServer, page: Page, complaints: list[str], tmp_path: Path) -> None:
    sign_in(page, server)
    write_pipeline(tmp_path, SLOW)
    commit_all(tmp_path, "Count, then ship")
    shown = git("push", server.create_repository("shop"), "HEAD:main", cwd=tmp_path).stderr
    assert "remote: stepwell: run #1 Ship" in shown and f"{server.url}/acme/shop/runs/1" in shown

    page.goto(f"{server.url}/acme/shop/runs/1")
    expect(page.locator("#head .reason")).to_have_text("waits for the event 'begin'")
    page.evaluate("window.same = true")  # all that follows comes without a new page
    begin(server, "shop")
    page.locator(".steps a", has_text="count").click()
    expect(page.locator("#log li")).to_have_text([re.compile(f"line {n}$") for n in range(1, 9)])
    expect(page.get_by_role("button", name="Approve").first).to_be_visible()
    assert page.evaluate("window.same")

    page.get_by_role("button", name="Approve").first.click()
    expect(page.locator("[data-word]").first).to_have_text("Passed")
    expect(page.get_by_text("deployed to production").first).to_be_visible()
    assert not complaints


def test_inbox_leads_to_what_needs_you(server: LiveServer, page: Page, complaints: list[str], tmp_path: Path) -> None:
    write_pipeline(tmp_path, SLOW.replace("8", "").replace("sleep 0.5", "true"))
    commit_all(tmp_path, "Ask at once")
    git("push", "-q", server.create_repository("asks"), "HEAD:main", cwd=tmp_path)
    server.wait_for_approval(begin(server, "asks"))
    sign_in(page, server)
    page.goto(f"{server.url}/")
    page.get_by_role("link", name="acme/asks #1").first.click()
    page.wait_for_url("**/acme/asks/runs/1*")
    page.get_by_role("button", name="Reject").first.click()
    expect(page.locator("[data-word]").first).to_have_text("Failed")
    assert not complaints


COUNT = SLOW.replace("sleep 0.5", "true")


def test_the_whole_story_goes_without_javascript(server: LiveServer, browser: Browser, tmp_path: Path) -> None:
    write_pipeline(tmp_path, COUNT)
    commit_all(tmp_path, "Count without scripts")
    shown = git("push", server.create_repository("plain"), "HEAD:main", cwd=tmp_path).stderr
    address = f"{server.url}/acme/plain/runs/1"
    assert address in shown
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    sign_in(page, server)
    page.goto(f"{server.url}/")
    page.get_by_role("link", name="Count without scripts").first.click()
    page.wait_for_url(address)
    run = begin(server, "plain")
    server.wait_for_approval(run)

    page.goto(f"{address}?step=count")
    expect(page.locator("#log li")).to_have_count(8)
    expect(page.locator("#head .reason")).to_have_text("0 of 1 approved for production")
    page.get_by_label("Find in this log").fill("LINE 7")
    page.get_by_label("Find in this log").press("Enter")
    expect(page.get_by_role("heading", name="1 line with “LINE 7”")).to_be_visible()
    page.locator(".log-found a", has_text="line 7").click()
    expect(page.locator("#log li.hit")).to_contain_text("line 7")

    page.get_by_role("link", name="What goes out").click()
    page.get_by_label("Comment (optional)").fill("no script")
    page.get_by_role("button", name="Approve").click()
    server.wait_for_state(run, {"passed"})
    page.goto(f"{address}?step=deploy")
    expect(page.locator("[data-word]")).to_have_text("Passed")
    expect(page.locator("#log li")).to_contain_text("deployed to production")
    page.get_by_role("link", name="Journal").click()
    expect(page.locator(".journal")).to_contain_text("no script")
    context.close()
