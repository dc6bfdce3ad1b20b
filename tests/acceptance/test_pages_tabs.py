"""Push, read the log, approve, then timeline, changes and source of a real run, with JavaScript off."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from browsers import sign_in
from live import LiveServer, commit_all, git, write_pipeline
from playwright.sync_api import Browser, Page, expect

pytestmark = pytest.mark.chromium
PIPELINE = """from stepwell import Pipeline, push


class Ship(Pipeline):
    on = [push()]

    async def run(self, event, step):
        await step.run("build", "echo built")
        await step.approval("Ship it?")
        await step.run("deploy", "echo deployed; exit 0")
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    live = LiveServer(tmp_path_factory.mktemp("tabs") / "state", {"STEPWELL_TRUST_ALL_CODE": "1"})
    live.start()
    yield live
    live.stop()


@pytest.fixture
def page(browser: Browser, server: LiveServer) -> Iterator[Page]:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    sign_in(page, server)
    yield page
    context.close()


def test_the_commands_of_an_empty_repository_work_as_pasted(server: LiveServer, page: Page, tmp_path: Path) -> None:
    server.create_repository("first")
    page.goto(f"{server.url}/acme/first")
    project, asked = tmp_path / "project", tmp_path / "password"
    project.mkdir()
    asked.write_text(f"#!/bin/sh\necho {server.token}\n")
    asked.chmod(0o700)
    who = {f"GIT_{name}_{what}": "me@example.org" for name in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    surroundings = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "GIT_ASKPASS": str(asked), **who}
    pasted = "\n".join(page.locator(".guide .command pre").all_inner_texts())
    bash = subprocess.run(
        ["bash", "-e"], input=pasted, cwd=project, env=surroundings, check=False, capture_output=True, text=True
    )
    assert bash.returncode == 0, bash.stderr
    assert "/acme/first/runs/1" in bash.stderr
    server.wait_for_state(server.runs("first")[0]["id"], {"passed"})
    page.reload()
    expect(page.get_by_role("link", name="Add a pipeline")).to_be_visible()


def test_a_red_run_says_where_its_time_went_and_what_changed(server: LiveServer, page: Page, tmp_path: Path) -> None:
    tree, address = tmp_path / "tree", server.create_repository("shop")
    broken = PIPELINE.replace("exit 0", "exit 3")
    for source, message, state in ((PIPELINE, "Sell", "passed"), (broken, "Break", "failed")):
        write_pipeline(tree, source)
        commit_all(tree, message)
        git("push", address, "HEAD:main", cwd=tree)
        run = server.runs("shop")[0]["id"]
        server.wait_for_approval(run)
        page.goto(f"{server.url}/acme/shop/runs/{server.run(run)['number']}?step=build")
        expect(page.locator("#log")).to_contain_text("built")
        page.get_by_role("button", name="Approve").click()
        server.wait_for_state(run, {state})
    page.goto(f"{server.url}/acme/shop/runs/2")
    page.get_by_label("Run", exact=True).get_by_role("link", name="Timeline").click()
    expect(page.locator(".time-sentence")).to_contain_text("were work")
    expect(page.locator(".lane")).to_have_count(4)  # the run's own, and three steps
    shares = server.api("GET", f"/runs/{run}/timeline")["seconds"]
    assert {"work", "person", "code"} <= set(shares)

    page.get_by_label("Run", exact=True).get_by_role("link", name="Changes").click()
    expect(page.get_by_role("heading", name="Since #1, the last green run")).to_be_visible()
    expect(page.locator(".time-sentence")).to_have_text("1 commit, 1 file changed.")
    expect(page.get_by_role("heading", name="The first step that differs is deploy")).to_be_visible()
    expect(page.locator(".told-first")).to_contain_text("exit 3")
    assert server.api("GET", f"/runs/{run}/changes")["since"]["first"] == "deploy#1"

    page.get_by_label("Run", exact=True).get_by_role("link", name="Steps").click()
    page.locator(".log-where").click()
    page.wait_for_url("**/source?file=pipeline.py#L10")
    line = page.locator("li:target")
    expect(line).to_contain_text('step.run("deploy", "echo deployed; exit 3")')
    line.get_by_role("link", name="deploy").click()
    expect(page.locator("#log-title")).to_have_text("deploy")
