"""Pages stand still when there is news. That none moves while it loads is asked in `test_pages_look.py`."""

import re
from dataclasses import replace

import pytest
from addresses import RUN
from fixture_runs import NOW, step
from live import wait_until
from looked import MOST_SHIFTED, SHIFTS, shifted, visit
from playwright.sync_api import Browser, Locator, Response, Route, expect
from served import Served

from stepwell.engine.entries import Entry

pytestmark = pytest.mark.chromium


def test_nothing_moves_on_an_open_page_when_a_step_ends(browser: Browser, full: Served) -> None:
    view = full.services.views["run1842"]
    going = next(one for one in view.steps if one.state == "running")
    page = visit(browser, full)
    page.add_init_script(SHIFTS)
    page.goto(full.url + f"{RUN}?step=lint")
    row = page.locator(".steps .step", has_text=going.name)
    expect(row.get_by_role("img", name="Running")).to_be_visible()
    moved = shifted(page)
    ended = replace(going, state="passed", ended_at=NOW)
    summary = replace(view.summary, seq=view.summary.seq + 1)
    steps = tuple(ended if one.key == going.key else one for one in view.steps)
    full.services.views["run1842"] = replace(view, summary=summary, steps=steps)
    entry = Entry("run1842", summary.seq, NOW, "done", going.key, 1, 1, {})

    def seen() -> bool:
        for tell in full.services.entry_callbacks:  # again until the page listens
            tell(entry, None)
        return row.get_by_role("img", name="Passed").is_visible()

    wait_until(seen, 30, "tick at the step that has ended")
    assert shifted(page) - moved <= MOST_SHIFTED
    page.context.close()


def test_an_answer_from_before_another_step_was_opened_does_not_take_its_reader_back(
    browser: Browser, full: Served
) -> None:
    page, held = visit(browser, full), list[Route]()
    page.goto(full.url + f"{RUN}?step=lint")
    page.route(re.compile("[?&]have="), lambda route: route.continue_() if held else held.append(route))
    entry = Entry("run1842", full.services.views["run1842"].summary.seq + 1, NOW, "done", "lint#1", 1, 1, {})

    def asked() -> bool:
        for tell in full.services.entry_callbacks:  # again until the page listens
            tell(entry, None)
        return page.evaluate("true") and bool(held)

    wait_until(asked, 30, "request for what is new")
    page.locator(".steps a", has_text="typecheck").click()
    expect(page.locator("#log-title")).to_have_text("typecheck")
    with page.expect_response(re.compile("step=typecheck&have=")):
        held[0].continue_()
    page.evaluate("new Promise(requestAnimationFrame)")
    expect(page.locator("#log-title")).to_have_text("typecheck")
    page.context.close()


def test_a_button_is_clicked_though_there_is_news_while_it_is_pressed(browser: Browser, full: Served) -> None:
    view = full.services.views["run1842"]
    page, answers = visit(browser, full), list[Response]()
    page.goto(full.url + RUN)
    page.on("response", lambda answer: answers.append(answer) if "have=" in answer.url else None)
    page.get_by_role("button", name="Pause").hover()
    page.mouse.down()
    summary = replace(view.summary, branch="another", seq=view.summary.seq + 1)
    full.services.views["run1842"] = replace(view, summary=summary)
    entry = Entry("run1842", summary.seq, NOW, "done", "lint#1", 1, 1, {})

    def answered() -> bool:
        for tell in full.services.entry_callbacks:  # again until the page listens
            tell(entry, None)
        return page.evaluate("true") and bool(answers)

    wait_until(answered, 30, "answer with what is new")
    answers[0].finished()
    page.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    with page.expect_request("**/pause"):
        page.mouse.up()
    expect(page.locator("#head .meta")).to_contain_text("another")
    full.services.views["run1842"] = view
    page.context.close()


def test_news_waits_for_no_press_that_goes_on_for_ever(browser: Browser, full: Served) -> None:
    page = visit(browser, full)
    page.goto(full.url + RUN)
    script = page.locator("script[src*='run-page.js']").get_attribute("src") or ""
    press = script.replace("run-page.js", "press.js")
    page.evaluate("(path) => import(path)", press)
    page.mouse.down()
    assert page.evaluate("async (path) => { await (await import(path)).released(); return true; }", press)
    page.context.close()


@pytest.mark.parametrize("count", [7, 12])
def test_the_graph_keeps_its_height_while_its_steps_end_one_after_the_other(
    browser: Browser, full: Served, count: int
) -> None:
    names = [f"part-{chr(97 + n)}" for n in range(count)]
    view = full.services.views["run1842"]
    steps = (step("checkout", "passed", 0, 2), *(step(name, "running", 2, None, "checkout") for name in names))
    id, seq = f"run{count}", view.summary.seq
    summary = replace(view.summary, id=id, number=count)
    full.services.views[id] = replace(view, summary=summary, steps=steps, approvals=())
    page = visit(browser, full)
    page.goto(f"{full.url}/acme/payments-api/runs/{count}?step=checkout")
    expect(page.locator(".graph .node")).to_have_count(count + 1)
    height = page.evaluate("document.querySelector('.graph-scroll').offsetHeight")
    assert height == min(count * 44 - 10 + 28 + 2, 332)
    for n, name in enumerate(names, 1):
        steps = tuple(replace(one, state="passed", ended_at=NOW) if one.name == name else one for one in steps)
        summary = replace(summary, seq=seq + n)
        full.services.views[id] = replace(view, summary=summary, steps=steps, approvals=())
        entry = Entry(id, summary.seq, NOW, "done", name, 1, 1, {})
        ticked = page.locator(".steps .step", has_text=name).get_by_role("img", name="Passed")

        def seen(entry: Entry = entry, ticked: Locator = ticked) -> bool:
            for tell in full.services.entry_callbacks:
                tell(entry, None)
            return ticked.is_visible()

        wait_until(seen, 30, f"tick at {name}")
        assert page.evaluate("document.querySelector('.graph-scroll').offsetHeight") == height
    assert page.locator(".graph .node").count() == (count + 1 if count < 11 else 2)
    page.context.close()


def test_a_place_far_down_a_long_log_has_its_lines_and_the_room_stays(browser: Browser, full: Served) -> None:
    page, room = visit(browser, full), "document.documentElement.scrollHeight"
    page.goto(f"{full.url}/acme/payments-api/runs/1840?step=hello")
    expect(page.locator("#log ol.of-200")).to_have_attribute("data-from", "10001")
    before = page.evaluate(room)
    page.evaluate("scrollTo(0, document.querySelector('#log').offsetTop + 12_000 * 20)")
    expect(page.locator("#log li[data-n='12020']")).to_be_in_viewport()
    expect(page.get_by_role("link", name="Lines 14001 to 14500")).to_have_attribute("href", re.compile("from=14001$"))
    assert page.evaluate(room) == before
    page.context.close()
