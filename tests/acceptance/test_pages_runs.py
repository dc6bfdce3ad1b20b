"""The list of runs in a browser, over a real server: filtered without JavaScript, live with it."""

from collections.abc import Iterator

import pytest
from browsers import sign_in
from live import LiveServer, commit_all, git, write_pipeline
from playwright.sync_api import Browser, Page, expect

pytestmark = pytest.mark.chromium
PIPELINES = """
from stepwell import Pipeline, manual, push


class Check(Pipeline):
    on = [push(), manual()]

    async def run(self, event, step):
        if event.branch == "broken":
            raise ValueError("broken")


class Ship(Pipeline):
    on = [push("main")]

    async def run(self, event, step):
        await step.approval("Ship it?")
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    """A server with runs #1 Check and #2 Ship of main, #3 Check of a branch, which failed."""
    place = tmp_path_factory.mktemp("lists")
    live = LiveServer(place / "state", {"STEPWELL_TRUST_ALL_CODE": "1"})
    live.start()
    tree = place / "tree"
    write_pipeline(tree, PIPELINES)
    commit_all(tree, "Sell apples")
    address = live.create_repository("shop")
    git("push", address, "HEAD:main", cwd=tree)
    commit_all(tree, "Sell pears")
    git("push", address, "HEAD:broken", cwd=tree)
    for run in live.runs("shop"):
        live.wait_for_state(run["id"], {"passed", "waiting", "failed"})
    yield live
    live.stop()


def signed_in(browser: Browser, server: LiveServer, script: bool) -> Page:
    page = browser.new_context(java_script_enabled=script).new_page()
    sign_in(page, server)
    return page


def test_runs_are_filtered_by_the_address_without_javascript(browser: Browser, server: LiveServer) -> None:
    page = signed_in(browser, server, script=False)
    page.goto(f"{server.url}/acme/shop")
    page.get_by_label("Repository").get_by_role("link", name="Runs").click()
    rows = page.locator("#runs .row-link")
    expect(rows).to_have_count(3)
    page.get_by_role("combobox", name="Pipeline").select_option("Check")
    page.get_by_role("combobox", name="State").select_option("failed")
    page.get_by_label("Title, commit or number").fill("PEARS")
    page.get_by_role("button", name="Filter").click()
    expect(rows).to_have_count(1)
    assert "text=PEARS&pipeline=Check&state=failed" in page.url
    page.get_by_role("combobox", name="Branch").fill("main")
    page.get_by_role("button", name="Filter").click()
    expect(page.get_by_role("heading", name="No run matches")).to_be_visible()
    page.get_by_role("link", name="Clear").click()
    expect(rows).to_have_count(3)
    page.goto(f"{server.url}/acme/-/runs")
    expect(rows).to_have_count(3)
    page.context.close()


def test_a_run_that_goes_on_changes_in_the_open_list(browser: Browser, server: LiveServer) -> None:
    page = signed_in(browser, server, script=True)
    page.goto(f"{server.url}/acme/shop/runs?pipeline=Ship")
    row = page.locator("#runs .row-link")
    expect(row.get_by_role("img", name="Waiting")).to_be_visible()
    page.evaluate("window.same = true")
    (waiting,) = [run for run in server.runs("shop") if run["state"] == "waiting"]
    server.approve(waiting["id"])
    expect(row.get_by_role("img", name="Passed")).to_be_visible()
    expect(page.locator("#trends .trend", has_text="Ship")).to_contain_text("1 of 1")
    assert page.evaluate("window.same")
    page.context.close()


def test_programs_read_the_numbers_that_the_page_shows(browser: Browser, server: LiveServer) -> None:
    page = signed_in(browser, server, script=False)
    page.goto(f"{server.url}/acme/shop/runs")
    items = server.api("GET", "/trends", params={"tenant": "acme", "repository": "shop"})["items"]
    check = next(one for one in items if one["pipeline"] == "Check")
    assert (check["passed"], check["judged"], check["pass_rate"]) == (1, 2, 0.5)
    expect(page.locator("#trends .trend", has_text="Check")).to_contain_text("50 %")
    expect(page.locator("#trends .trend", has_text="Check")).to_contain_text("1 of 2")
    listed = server.api("GET", "/runs", params={"tenant": "acme", "actor": "admin", "kind": "push", "text": "pears"})
    assert [run["number"] for run in listed["items"]] == [3]
    page.context.close()
