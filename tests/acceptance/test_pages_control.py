"""Power over runs in a browser: pause, resume, terminate, restart from a step, and the ways on from a diverged run."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from browsers import complaints_of, sign_in
from live import LiveServer, commit_all, git, write_pipeline
from playwright.sync_api import Browser, Page, expect

pytestmark = pytest.mark.chromium
PIPELINE = """
from stepwell import Pipeline, push

class Ship(Pipeline):
    on = [push()]

    async def run(self, event, step):
        await step.run("build", "echo built")
        await step.wait_for_event("tested", type="go")
        await step.run("deploy", "echo deployed")
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    live = LiveServer(tmp_path_factory.mktemp("control") / "state", {"STEPWELL_TRUST_ALL_CODE": "1"})
    live.start()
    yield live
    live.stop()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    context = browser.new_context()
    yield context.new_page()
    context.close()


def push(server: LiveServer, tree: Path, repository: str, source: str, message: str) -> None:
    write_pipeline(tree, source)
    commit_all(tree, message)
    git("push", server.clone_url(repository), "HEAD:main", cwd=tree)
    server.wait_for_state(server.runs(repository)[0]["id"], {"waiting"})


def press(page: Page, name: str) -> None:
    page.get_by_role("button", name=name).click()


def restart(page: Page, way: str) -> None:
    """Restart from the open step; the ways are in a menu, which leaves the log where it is."""
    button = page.get_by_role("button", name=way)
    expect(button).to_be_hidden()
    page.locator("summary[aria-label='More on this step']").click()
    button.click()


FAILING = """
from stepwell import Pipeline, push

class Ship(Pipeline):
    on = [push()]

    async def run(self, event, step):
        await step.run("build", "echo built")
        await step.wait_for_event("tested", type="go")
        await step.run("deploy", "exit 4")
"""


def test_a_failed_run_says_why_and_is_rerun_from_what_failed(server: LiveServer, page: Page, tmp_path: Path) -> None:
    sign_in(page, server)
    server.create_repository("broken")
    push(server, tmp_path / "tree", "broken", FAILING, "Ship it")
    page.goto(f"{server.url}/acme/broken/runs/1")
    reason = page.locator("#head .reason")
    expect(reason).to_have_text("waits for the event 'go'")
    server.api("POST", f"/runs/{server.runs('broken')[0]['id']}/events", json={"type": "go"})
    expect(reason).to_have_text("deploy: exit code 4")
    expect(page.locator("#head .button.primary")).to_have_text("Re-run failed")
    expect(page.get_by_role("button", name="Re-run", exact=True)).to_be_visible()
    press(page, "Re-run failed")
    page.wait_for_url(f"{server.url}/acme/broken/runs/2")
    expect(reason).to_have_text("deploy: exit code 4")
    expect(page.locator(".steps a", has_text="build")).to_contain_text("from #1")


GATED = """
from stepwell import Pipeline, push

class Ship(Pipeline):
    on = [push()]

    async def run(self, event, step):
        wait = "until test -e {gate}/%s; do sleep 0.05; done"
        await step.run("build", "; ".join([wait % "go", "echo one", wait % "end"]))
        await step.sleep("night", 10_800)
"""


def test_a_log_of_one_line_and_a_sleep_say_so_while_the_run_goes_on(
    server: LiveServer, page: Page, tmp_path: Path
) -> None:
    sign_in(page, server)
    server.create_repository("night")
    write_pipeline(tmp_path / "tree", GATED.format(gate=tmp_path))
    commit_all(tmp_path / "tree", "Sleep")
    git("push", server.clone_url("night"), "HEAD:main", cwd=tmp_path / "tree")
    server.wait_for_state(server.runs("night")[0]["id"], {"running"})
    page.goto(f"{server.url}/acme/night/runs/1")
    expect(page.locator("#log")).to_contain_text("Waiting for output")
    (tmp_path / "go").touch()
    expect(page.locator("[data-size]")).to_have_text("1 line")
    (tmp_path / "end").touch()
    server.wait_for_state(server.runs("night")[0]["id"], {"waiting"})
    page.goto(f"{server.url}/acme/night/runs/1?step=night")
    told = re.compile(r"[Ss]leeps until \d\d:\d\d:\d\d UTC, in (2h 59m|3h 00m)$")
    expect(page.locator(".log-empty")).to_have_text(told)
    expect(page.locator("#head .reason")).to_have_text(told)


def test_a_run_is_paused_ended_and_restarted_from_a_step_in_the_browser(
    server: LiveServer, page: Page, tmp_path: Path
) -> None:
    complaints = complaints_of(page)
    sign_in(page, server)
    server.create_repository("shop")
    tree, state = tmp_path / "tree", page.locator("[data-word]")
    push(server, tree, "shop", PIPELINE, "Ship it")

    page.goto(f"{server.url}/acme/shop/runs/1")
    press(page, "Pause")
    expect(state).to_have_text("Paused")
    expect(page.locator(".meta")).to_contain_text("paused by admin")
    press(page, "Resume")
    expect(state).to_have_text("Waiting")
    page.locator("summary[aria-label=More]").click()
    press(page, "Terminate")
    expect(state).to_have_text("Cancelled")

    page.goto(f"{server.url}/acme/shop/runs/1?step=tested")
    restart(page, "Restart from here")
    page.wait_for_url(f"{server.url}/acme/shop/runs/2")
    expect(page.locator(".steps a", has_text="build")).to_contain_text("from #1")
    page.locator(".steps a", has_text="build").click()
    expect(page.locator("#log")).to_contain_text("built")
    run = server.runs("shop")[0]["id"]
    server.api("POST", f"/runs/{run}/events", json={"type": "go"})
    expect(state).to_have_text("Passed")

    push(server, tree, "shop", PIPELINE.replace("echo built", "echo built anew"), "Build anew")
    page.goto(f"{server.url}/acme/shop/runs/2?step=deploy")
    restart(page, "Restart with newest code")
    page.wait_for_url(f"{server.url}/acme/shop/runs/4")
    expect(state).to_have_text("Diverged")
    expect(page.locator("#failed")).to_contain_text("command was 'echo built', is 'echo built anew'")
    expect(page.get_by_role("button", name="Go on with the old code of #2")).to_be_visible()
    page.goto(f"{server.url}/acme/-/dead")
    page.get_by_label("Choose #4").check()
    press(page, "Go on with the old code")
    page.get_by_role("status").get_by_role("link", name="#5").click()
    page.wait_for_url(f"{server.url}/acme/shop/runs/5")
    expect(state).to_have_text("Passed")
    page.goto(f"{server.url}/acme/shop/runs/4")
    press(page, "Restart from build#1")
    page.wait_for_url(f"{server.url}/acme/shop/runs/6")
    expect(state).to_have_text("Waiting")
    assert complaints == []
