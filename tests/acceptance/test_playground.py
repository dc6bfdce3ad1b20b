"""The playground in a real browser and with the real wall: its examples pass, errors are shown at their line."""

import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from browsers import complaints_of, sign_in
from live import LiveServer, commit_all, git, wait_until, write_pipeline
from playwright.sync_api import Browser, Page, expect

from stepwell_web.plan_examples import EXAMPLES, Example

PONDER = """
import asyncio

from stepwell import Pipeline


async def ponder():
    await asyncio.sleep(600)


class Think(Pipeline):
    async def run(self, event, step):
        pondering = asyncio.ensure_future(step.do("ponder", ponder))
        enough = asyncio.ensure_future(step.wait_for_event("enough", type="enough"))
        await asyncio.wait({pondering, enough}, return_when=asyncio.FIRST_COMPLETED)
        pondering.cancel()
        return enough.result()
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
def page(browser: Browser, server: LiveServer) -> Iterator[Page]:
    context = browser.new_context()
    page = context.new_page()
    sign_in(page, server)
    yield page
    context.close()


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
    id = server.runs("-")[0]["id"]
    wait_until(lambda: "ponder" in [step["name"] for step in server.run(id)["steps"]], 60, "function under way")
    page.reload()
    page.get_by_role("button", name="Kill its process").click()
    expect(page.locator(".notice[role=status]")).to_contain_text("“ponder” ran in it and begins again.")
    expect(page).to_have_url(run)
    lines = page.locator(".journal tbody tr")
    page.goto(f"{run}/journal")
    expect(lines.filter(has_text="ponder").first).to_contain_text("lost", timeout=60_000)
    grown = lines.count()
    page.goto(f"{run}?step=ponder")
    expect(page.locator("#steps .step", has_text="ponder")).to_contain_text("run again")
    expect(page.locator(".log-way")).to_contain_text("It was lost once: its process was killed on demand.")
    expect(page.locator("[data-word]")).to_have_text("Running")
    page.goto(f"{run}?step=enough")
    page.get_by_label("Payload of the event enough").fill('"thought through"')
    page.get_by_role("button", name="Send event").click()
    expect(page.locator("[data-word]")).to_have_text("Passed")
    expect(page.get_by_role("button", name="Kill its process")).to_have_count(0)
    page.goto(f"{run}/journal")
    assert lines.count() > grown
    assert server.run(id)["result"] == "thought through"


@pytest.mark.chromium
def test_a_run_that_waits_in_no_process_offers_none_to_kill(server: LiveServer, page: Page) -> None:
    example = next(one for one in EXAMPLES if one.slug == "events")
    run = send(server, example)
    server.wait_for_state(run, {"waiting"})
    page.goto(f"{server.url}{server.run(run)['url']}")
    kill = page.get_by_role("button", name="Kill its process")
    expect(kill).to_have_count(0)  # its code has left its process, and the page heard of that
    expect(page.get_by_role("button", name="Cancel")).to_be_visible()


@pytest.mark.chromium
def test_a_program_is_written_corrected_run_and_shared(server: LiveServer, page: Page) -> None:
    complaints = complaints_of(page)
    page.goto(f"{server.url}/playground?example=events")
    expect(page.locator("#outline li")).to_have_text(["an orderwait_for_event8", "packrun9"])
    code = page.get_by_label("pipeline.py")
    right = code.input_value()
    code.fill(right.replace("class Listen(Pipeline):", "class Listen(Pipeline)"))
    expect(page.locator("#outline [role=alert]")).to_contain_text("expected ':'")
    expect(page.locator(".editor-numbers .wrong")).to_have_text("4")
    page.locator("#outline").get_by_role("button", name="Line 4").click()
    assert page.evaluate("document.activeElement.id") == "code"
    code.fill(right.replace("step.run(", "step.rum("))
    expect(page.locator("#outline [role=alert]")).to_contain_text("step has no call 'rum'. Did you mean 'run'?")
    expect(page.locator(".editor-numbers .wrong")).to_have_text("9")
    code.fill(right)
    expect(page.locator("#outline li")).to_have_count(2)
    code.press("Control+Enter")
    page.wait_for_url("**/acme/-/runs/*")
    page.get_by_label("Payload of the event order").fill('{"tea": 1}')
    page.get_by_role("button", name="Send event").click()
    page.wait_for_selector(".pill.is-passed")
    page.get_by_role("link", name="Source").click()
    copy = page.get_by_role("button", name="Copy link")
    expect(copy).to_be_visible()
    page.get_by_role("link", name="Open in the playground").click()
    page.wait_for_url("**/playground?run=*")
    assert page.url == copy_of(page, server)
    assert page.get_by_label("pipeline.py").input_value() == right
    assert complaints == []


@pytest.mark.chromium
def test_the_way_back_from_a_run_finds_the_program_as_it_was_sent(server: LiveServer, page: Page) -> None:
    page.goto(f"{server.url}/playground?example=events")
    code = page.get_by_label("pipeline.py")
    wrong = EXAMPLES[0].code.replace("class First(Pipeline):", "class First(Pipeline)")
    code.fill(wrong)
    page.get_by_label("Event, as JSON").fill('"mine"')
    page.get_by_role("button", name="Run", exact=True).click()
    expect(page.locator("#outline [role=alert]")).to_contain_text("expected ':'")
    expect(page).to_have_url(f"{server.url}/playground?example=events")
    code.fill(TWO)
    page.get_by_text("Files and class").click()
    page.get_by_label("Class", exact=True).fill("Never")
    page.get_by_role("button", name="Run", exact=True).click()
    page.wait_for_url("**/acme/-/runs/*")
    run = page.url
    page.go_back()
    expect(code).to_have_value(TWO)
    expect(page.get_by_label("Event, as JSON")).to_have_value('"mine"')
    expect(page.get_by_label("Class", exact=True)).to_have_value("Never")
    expect(page.locator("#outline li")).to_have_text(["countrun7"])
    page.get_by_role("link", name="First steps").click()
    expect(code).to_have_value(EXAMPLES[0].code)
    page.goto(run)
    expect(page.locator("[data-word]")).to_have_text("Passed")
    link = page.get_by_role("button", name="Copy playground link").get_attribute("data-copy")
    page.get_by_role("link", name="Edit in the playground").click()
    expect(code).to_have_value(TWO)
    assert page.url == link


def copy_of(page: Page, server: LiveServer) -> str:
    """The address that the run's page gives to share."""
    page.go_back()
    link = page.get_by_role("button", name="Copy link").get_attribute("data-copy")
    page.go_forward()
    assert link is not None and link.startswith(f"{server.url}/playground?run=")
    return link


TWO = """
from stepwell import Pipeline


class Count(Pipeline):
    async def run(self, event, step):
        return await step.run("count", f"ls | wc -l; echo {event.payload['of']}")


class Never(Pipeline):
    async def run(self, event, step):
        return None
"""


@pytest.mark.chromium
def test_what_is_shared_has_event_repository_ref_and_class(server: LiveServer, page: Page, tmp_path: Path) -> None:
    write_pipeline(tmp_path, PONDER)
    commit_all(tmp_path, "Ponder")
    git("push", server.create_repository("shared"), "HEAD:refs/heads/ideas", cwd=tmp_path)
    page.goto(f"{server.url}/playground")
    page.get_by_text("Files and class").click()
    fields = {
        "pipeline.py": TWO, "Event, as JSON": '{"of": "a \\u00fc"}', "Repository whose files": "acme/shared",
        "Branch, tag or commit": "ideas", "Class": "Count",
    }  # fmt: skip
    for label, value in fields.items():
        page.get_by_label(label, exact=label == "Class").fill(value)
    page.get_by_role("button", name="Run", exact=True).click()
    page.wait_for_url("**/acme/-/runs/*")
    expect(page.locator("[data-word]")).to_have_text("Passed")
    page.get_by_role("link", name="Source").click()
    page.get_by_role("link", name="Open in the playground").click()
    expect(page.get_by_label("Class", exact=True)).to_be_visible()
    fields["Event, as JSON"] = '{"of": "a ü"}'
    assert {label: page.get_by_label(label, exact=label == "Class").input_value() for label in fields} == fields


def test_without_a_script_the_form_says_what_is_wrong(server: LiveServer) -> None:
    with httpx.Client(base_url=server.url, follow_redirects=True, timeout=60) as browser:
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
        form |= {"event": '"mine"', "repository": "acme/nope"}
        missing = browser.post("/playground", data=form, headers={"Origin": server.url})
        kept = ["There is no &#39;acme/nope&#39;", "&#34;mine&#34;</textarea>", 'value="acme/nope"', "look around"]
        assert (missing.status_code, [words for words in kept if words not in missing.text]) == (404, [])
        form["do"] = "check"
        assert "look around" in browser.post("/playground", data=form, headers={"Origin": server.url}).text
