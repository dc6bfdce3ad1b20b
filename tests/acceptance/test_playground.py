"""The playground in a real browser and with the real wall: its examples pass, errors are shown at their line."""

import json
from collections.abc import Iterator

import httpx
import pytest
from browsers import FLAGS
from live import LiveServer
from playwright.sync_api import Page, expect, sync_playwright

from stepwell_web.plan_examples import EXAMPLES, Example

PONDER = """
import asyncio

from stepwell import Pipeline


async def ponder():
    await asyncio.sleep(600)


class Think(Pipeline):
    async def run(self, event, step):
        await step.do("ponder", ponder)
"""
RESULTS = {"first": 50, "people": "approved by admin", "together": {"linux": 0, "macos": 0, "windows": 0},
           "retries": "booked", "events": {"tea": 2}}  # fmt: skip


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    live = LiveServer(tmp_path_factory.mktemp("playground") / "state")
    live.start()
    yield live
    live.stop()


@pytest.fixture
def page(chromium_path: str, server: LiveServer) -> Iterator[Page]:
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=chromium_path, args=FLAGS)
        page = browser.new_page()
        page.goto(server.signin_link())
        page.get_by_role("button", name="Sign in").click()
        page.wait_for_url(f"{server.url}/")
        yield page
        browser.close()


def send(server: LiveServer, example: Example) -> str:
    event = json.loads(example.event)
    started = server.api("POST", "/plans", json={"tenant": "acme", "code": example.code, "event": event})
    return str(started["id"])


def test_every_example_passes(server: LiveServer) -> None:
    runs = {example.slug: send(server, example) for example in EXAMPLES}
    server.api("POST", f"/runs/{runs['events']}/events", json={"type": "order", "payload": {"tea": 2}})
    server.wait_for_approval(runs["people"])
    server.approve(runs["people"])
    for slug, run in runs.items():
        server.wait_for_state(run, {"passed"})
        assert server.run(run)["result"] == RESULTS[slug], slug
    steps = {step["name"]: step for step in server.run(runs["retries"])["steps"]}
    assert steps["pay"]["attempt"] == 3


@pytest.mark.chromium
def test_a_program_goes_on_after_its_process_was_killed(server: LiveServer, page: Page) -> None:
    page.goto(f"{server.url}/playground")
    page.get_by_label("pipeline.py").fill(PONDER)
    page.get_by_role("button", name="Run", exact=True).click()
    page.wait_for_url("**/acme/-/runs/*")
    run = page.url
    expect(page.locator(".steps a", has_text="ponder")).to_be_visible()  # then its code is in a process
    page.locator("summary[aria-label=More]").click()
    with page.expect_navigation():
        page.get_by_role("button", name="Kill its process").click()
    lines = page.locator(".journal tbody tr")
    page.goto(f"{run}/journal")
    expect(lines.filter(has_text="ponder").first).to_contain_text("lost", timeout=60_000)
    grown = lines.count()
    expect(page.locator("[data-word]")).to_have_text("Running")
    page.locator("summary[aria-label=More]").click()
    with page.expect_navigation():
        page.get_by_role("button", name="Terminate").click()
    page.goto(f"{run}/journal")
    expect(page.locator("[data-word]")).to_have_text("Cancelled")
    assert lines.count() > grown


@pytest.mark.chromium
def test_a_program_is_written_corrected_run_and_shared(server: LiveServer, page: Page) -> None:
    complaints: list[str] = []
    page.on("console", lambda m: complaints.append(f"{m.type}: {m.text}"))
    page.on("pageerror", lambda e: complaints.append(f"error: {e}"))
    page.goto(f"{server.url}/playground?example=events")
    expect(page.locator("#outline li")).to_have_text(["an orderwait_for_event8", "packrun9"])
    code = page.get_by_label("pipeline.py")
    right = code.input_value()
    code.fill(right.replace("class Listen(Pipeline):", "class Listen(Pipeline)"))
    expect(page.locator("#outline [role=alert]")).to_contain_text("expected ':'")
    expect(page.locator(".editor-numbers .wrong")).to_have_text("4")
    page.locator("#outline").get_by_role("button", name="Line 4").click()
    assert page.evaluate("document.activeElement.id") == "code"
    code.fill(right)
    expect(page.locator("#outline li")).to_have_count(2)
    code.press("Control+Enter")
    page.wait_for_url("**/acme/-/runs/*")
    page.get_by_label("Payload of the event order").fill('{"tea": 1}')
    page.get_by_role("button", name="Send event").click()
    page.wait_for_selector(".pill.is-passed")
    page.get_by_role("link", name="Source").click()
    page.get_by_role("link", name="Open in the playground").click()
    assert page.get_by_label("pipeline.py").input_value() == right
    assert complaints == []


def test_without_a_script_the_form_says_what_is_wrong(server: LiveServer) -> None:
    with httpx.Client(base_url=server.url, follow_redirects=True) as browser:
        link = httpx.URL(server.signin_link())
        browser.post("/signin", data={"code": link.params["code"]}, headers={"Origin": server.url})
        form = {"tenant": "acme", "code": "x = (", "event": "null", "do": "run"}
        wrong = browser.post("/playground", data=form, headers={"Origin": server.url})
        assert (wrong.status_code, "was never closed" in wrong.text, "x = (</textarea>" in wrong.text) == (
            422,
            True,
            True,
        )
        form |= {"code": EXAMPLES[0].code, "event": "{"}
        assert "The event is no JSON" in browser.post("/playground", data=form, headers={"Origin": server.url}).text
        form["do"] = "check"
        assert "look around" in browser.post("/playground", data=form, headers={"Origin": server.url}).text
