"""News takes nothing from whoever is at work on a page: the focus, what they selected, opened or looked for stays."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from addresses import RUN
from fixture_runs import NOW, step
from live import wait_until
from playwright.sync_api import Page, expect
from served import Served

from stepwell.ci.views import RunView
from stepwell.engine.entries import Entry

pytestmark = pytest.mark.chromium


def tell(page: Page, full: Served, view: RunView, seen: Callable[[], bool]) -> None:
    """Change a run, and wait until its page shows it."""
    summary = replace(view.summary, seq=view.summary.seq + 1)
    full.services.views["run1842"] = replace(view, summary=summary)
    entry = Entry("run1842", summary.seq, NOW, "done", "lint#1", 1, 1, {})

    def shown() -> bool:
        for told in full.services.entry_callbacks:  # again until the page listens
            told(entry, None)
        return page.evaluate("true") and seen()

    wait_until(shown, 30, "news on the page")


def on_another_branch(page: Page, full: Served) -> None:
    view = full.services.views["run1842"]
    told = page.locator("#head .meta", has_text="another")
    tell(page, full, replace(view, summary=replace(view.summary, branch="another")), told.is_visible)


def test_a_button_keeps_the_focus_and_the_keyboard_goes_on_from_it(page: Page, full: Served) -> None:
    page.goto(full.url + RUN)
    page.get_by_role("button", name="Cancel").focus()
    on_another_branch(page, full)
    expect(page.get_by_role("button", name="Cancel")).to_be_focused()
    page.keyboard.press("Tab")
    expect(page.get_by_label("More", exact=True)).to_be_focused()


def test_an_open_menu_stays_open_with_the_focus_in_it(page: Page, full: Served) -> None:
    page.goto(full.url + RUN)
    page.get_by_label("More", exact=True).press("Enter")
    item = page.get_by_role("button", name="Terminate")
    item.focus()
    view = full.services.views["run1842"]
    paused = replace(view, summary=replace(view.summary, state="paused"))  # another button comes before the menu
    tell(page, full, paused, page.get_by_role("button", name="Resume").is_visible)
    expect(item).to_be_visible()
    expect(item).to_be_focused()


def test_a_button_that_goes_leaves_the_focus_to_the_heading_above(page: Page, full: Served) -> None:
    page.goto(full.url + RUN)
    page.get_by_role("button", name="Cancel").focus()
    view = full.services.views["run1842"]
    over = replace(view, summary=replace(view.summary, state="cancelled", ended_at=NOW), approvals=())
    tell(page, full, over, page.get_by_role("button", name="Re-run").is_visible)
    expect(page.locator("#title")).to_be_focused()  # not "Re-run": the next press of a key would press it
    page.keyboard.press("Tab")
    expect(page.locator("#head a.mono")).to_be_focused()


def test_what_was_typed_stays_and_the_news_around_it_comes_when_its_field_is_left(page: Page, full: Served) -> None:
    page.goto(full.url + RUN)
    field = page.get_by_placeholder("Comment (optional)")
    field.fill("looks go")
    view = full.services.views["run1842"]
    asked = replace(view.approvals[0], name="Start it now?")
    changed = replace(view, summary=replace(view.summary, branch="another"), approvals=(asked,))
    tell(page, full, changed, page.locator("#head .meta", has_text="another").is_visible)
    gate = page.locator(".gate h2")
    expect(gate).to_contain_text("Start the load test?")
    page.keyboard.press("Tab")
    expect(gate).to_contain_text("Start it now?")
    expect(page.get_by_role("button", name="Reject")).to_be_focused()
    expect(field).to_have_value("looks go")


def test_the_focus_goes_with_the_step_that_it_opened_in_the_head_of_the_log(page: Page, full: Served) -> None:
    page.goto(full.url + f"{RUN}?step=unit-3.13")
    shard = page.locator(".shards a", has_text="3.12")
    shard.press("Enter")
    expect(page.locator("#log-title")).to_have_text("unit 3.12")
    expect(shard).to_be_focused()


def test_selected_text_stays_selected(page: Page, full: Served) -> None:
    page.goto(full.url + RUN)
    page.locator("#title").select_text()
    on_another_branch(page, full)
    assert page.evaluate("getSelection().toString()") == "Round refunds half to even"


def test_a_link_keeps_the_focus_when_steps_come_before_it(page: Page, full: Served) -> None:
    page.goto(full.url + f"{RUN}?step=lint")
    link = page.locator(".steps a", has_text="typecheck")
    link.focus()
    view = full.services.views["run1842"]
    steps = (*view.steps[:2], step("first look", "passed", 24, 1), *view.steps[2:])
    tell(page, full, replace(view, steps=steps), page.locator(".steps", has_text="first look").is_visible)
    expect(link).to_be_focused()
    names = page.locator(".steps .step-name").all_inner_texts()
    assert names.index("first look") < names.index("lint") < names.index("typecheck")


def going(view: RunView) -> RunView:
    """The same while its failed step still goes on."""
    ended = next(one for one in view.steps if one.name == "unit 3.13")
    tried = replace(ended.attempts[0], state="running", ended_at=None)
    begun = replace(ended, state="running", ended_at=None, error=None, attempts=(tried,))
    return replace(view, steps=tuple(begun if one is ended else one for one in view.steps))


@pytest.mark.parametrize("reads", [True, False])
def test_the_log_of_a_step_that_fails_opens_unless_somebody_reads_another(
    page: Page, full: Served, reads: bool
) -> None:
    view = going(full.services.views["run1842"])
    full.services.views["run1842"] = view
    page.goto(full.url + RUN)
    title = page.locator("#log-title")
    expect(title).to_have_text("unit 3.13")
    if reads:
        page.keyboard.press("PageUp")  # from the end of the log, which would be followed
    broken = tuple(replace(one, state="failed") if one.name == "lint" else one for one in view.steps)
    failed = page.locator(".steps a", has_text="lint").locator(".is-failed").first
    tell(page, full, replace(view, steps=broken), failed.is_visible)
    on_another_branch(page, full)  # what the news before has brought is there
    expect(title).to_have_text("unit 3.13" if reads else "lint")


def test_what_is_looked_for_in_a_log_is_looked_for_when_its_step_has_ended(page: Page, full: Served) -> None:
    view = full.services.views["run1842"]
    full.services.views["run1842"] = going(view)
    page.goto(full.url + f"{RUN}?step=unit-3.13")
    field, told = page.get_by_label("Find in this log"), page.locator(".log-find output")
    field.fill("assert")
    expect(told).to_have_text("1/4")
    field.press("Enter")
    expect(told).to_have_text("2/4")
    tell(page, full, view, lambda: page.locator("#log-panel").get_attribute("data-open") == "")
    expect(field).to_be_focused()
    expect(field).to_have_value("assert")
    expect(told).to_have_text("2/4")
