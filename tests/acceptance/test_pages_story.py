"""The main job in a browser: sign in, watch a run while it runs, approve it, see it pass."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from browsers import complaints_of, sign_in
from live import LiveServer, commit_all, git, write_pipeline
from playwright.sync_api import Browser, Page, expect

pytestmark = pytest.mark.chromium
PIPELINE = """
from stepwell import Pipeline, push


def version(number):
    return f"1.{number}"


class Ship(Pipeline):
    on = [push()]

    async def run(self, event, step):
        wait = "until test -e PLACE/%s; do sleep 0.05; done"
        await step.run("count", "; ".join(["echo one", wait % "go", "echo two", wait % "end", "echo three"]))
        name = await step.do("version", version, event.number)
        await step.approval("Ship it?", timeout="7 days")
        await step.run("deploy", f"echo deployed {name}")
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    live = LiveServer(tmp_path_factory.mktemp("story") / "state", {"STEPWELL_TRUST_ALL_CODE": "1"})
    live.start()
    yield live
    live.stop()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    context = browser.new_context()
    yield context.new_page()
    context.close()


def push(server: LiveServer, place: Path, name: str, message: str) -> None:
    """Push the pipeline to a new repository; its step goes on once there are files "go" and "end" at the place."""
    tree = place / "tree"
    write_pipeline(tree, PIPELINE.replace("PLACE", str(place)))
    commit_all(tree, message)
    git("push", server.create_repository(name), "HEAD:main", cwd=tree)


def test_a_deploy_is_watched_and_approved_in_the_browser(server: LiveServer, page: Page, tmp_path: Path) -> None:
    complaints = complaints_of(page)
    sign_in(page, server)
    push(server, tmp_path, "shop", "Ship <b>it</b>")

    page.reload()
    page.get_by_role("link", name="Ship <b>it</b>").click()
    page.evaluate("window.same = true")
    page.wait_for_selector("#log li")
    expect(page.locator("#log li")).to_have_count(1)
    (tmp_path / "go").touch()
    expect(page.locator("#log li")).to_have_count(2)

    (tmp_path / "end").touch()
    page.wait_for_selector(".gate")
    page.get_by_placeholder("Comment (optional)").fill("looks <i>right</i>")
    page.get_by_role("button", name="Approve").click()
    page.wait_for_selector(".pill.is-passed")
    page.locator(".steps a", has_text="deploy").click()
    page.wait_for_selector("#log li:has-text('deployed 1.1')")
    page.get_by_role("link", name="Journal").click()
    assert "approved: “looks <i>right</i>”" in page.locator(".journal").inner_text()
    assert complaints == []


def test_a_page_that_slept_catches_up(server: LiveServer, page: Page, tmp_path: Path) -> None:
    push(server, tmp_path, "nap", "Sleep")
    sign_in(page, server)
    page.goto(f"{server.url}/acme/nap/runs/1?step=count")
    page.wait_for_selector("#log li")
    page.context.set_offline(True)
    for name in ("go", "end"):
        (tmp_path / name).touch()
    run = server.runs("nap")[0]["id"]
    server.wait_for_approval(run)
    page.context.set_offline(False)
    page.wait_for_selector(".gate")
    expect(page.locator("#log li")).to_have_count(3)


def test_the_server_stops_while_pages_follow_it(server: LiveServer, page: Page, tmp_path: Path) -> None:
    """The last of this file: nobody starts its server again."""
    push(server, tmp_path, "stop", "Stop")
    sign_in(page, server)
    page.goto(f"{server.url}/acme/stop/runs/1")
    page.wait_for_selector("#log li")
    assert server.process is not None
    server.stop()
    assert server.process.returncode >= 0, "it had to be killed"
    with pytest.raises(httpx.HTTPError):
        httpx.get(f"{server.url}/healthz", timeout=2)
