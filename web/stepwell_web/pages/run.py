"""The run page: what it shows, what people do there, and the stream that keeps it up to date.

The page is rendered by the server and again on every change: the script asks for it with `part=live`, says which log it
already has (`have`), and puts the parts that changed in their places. One stream a page carries both "the run has
changed" and new log lines; its event id holds both places, `seq:line`, so a browser resumes where it was.
"""

import asyncio
import json
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query
from starlette.responses import Response

from stepwell.ci import artifacts, reports
from stepwell.ci.control import WhichCode
from stepwell.ci.views import RunSummary, RunView, StepView
from stepwell.errors import Conflict, Invalid
from stepwell_web import journalview, losses, panelview, reasons, runview, sourceview, times
from stepwell_web.live import Head, Tail, event, log_topic, notes_topic, run_topic
from stepwell_web.panelview import NOTHING_SHOWN, Panel, Shown
from stepwell_web.problems import told
from stepwell_web.runview import RUN_LOG, key_of
from stepwell_web.streams import KEEP_ALIVE, KEEP_ALIVE_SECONDS, EventStream
from stepwell_web.visits import Form, Place, Tried, Visit, Visiting, place_of, text, to

router = APIRouter(include_in_schema=False)
BASE = "/{tenant}/{name}/runs/{number}"
JOURNAL_PAGE = 500
PACE_SECONDS = 0.04
"""Pause between two deliveries of log lines: lines of one burst arrive together."""


def view_of(visit: Visit, tenant: str, name: str, number: int) -> RunView:
    """Find the run of an address."""
    return visit.services.runs.by_number(visit.actor, tenant, name, number)


def crumbs_of(run: RunSummary) -> list[tuple[str, str]]:
    """The way to a run: through its repository, or the plans of its tenant."""
    home = (run.repository, f"/{run.tenant}/{run.repository}")
    way = [("Plans", f"/{run.tenant}/-/runs?kind=plan")] if run.plan else [home, ("Runs", f"{home[1]}/runs")]
    return [(run.tenant, f"/{run.tenant}"), *way, (f"#{run.number}", run.url)]


def run_page(visit: Visit, view: RunView, **values: Any) -> Response:
    """Render the run page with one of its tabs; `notice` are words on what somebody has just tried."""
    run = view.summary
    of_plan = run.plan and view.may_write and not run.finished  # whose author may see it go on after a crash
    error = view.error or {}
    where = f"{error['file']}:{error['line']}" if error.get("file") and error.get("line") else ""
    return visit.page(
        "run.html",
        crumbs=crumbs_of(run),
        view=view,
        run=run,
        error_in_step=any(reasons.tells(view, step) for step in view.steps),  # then it is shown there
        reason=reasons.reason(view),
        failed_step=view.where_ended if run.state == "failed" else "",
        error_where=where,
        source_href=sourceview.href,
        artifact_count=artifacts.count(view),
        tests=reports.counts(view),
        may_kill=bool(of_plan) and visit.services.control.in_process(visit.actor, run.id),
        **{"expected": None, "notice": "", **values},
    )


@router.get(BASE)
def show(
    visit: Visiting, *, tenant: str, name: str, number: int, step: str | None = None, attempt: int | None = None,
    start: Annotated[int | None, Query(alias="from", ge=1)] = None, to: Annotated[int | None, Query(ge=1)] = None,
    find: str = "", have: str = "",
) -> Response:  # fmt: skip
    """Show a run with one of its steps open."""
    return _steps(visit, view_of(visit, tenant, name, number), step, attempt, Shown(start, to, find[:200]), have=have)


def _steps(
    visit: Visit, view: RunView, step: str | None = None, attempt: int | None = None, shown: Shown = NOTHING_SHOWN,
    *, have: str = "", **values: Any,
) -> Response:  # fmt: skip
    now = visit.web.templates.now()
    step = step or None
    chosen = runview.choose(view, step)
    panel = _panel(visit, view, chosen, attempt, shown) if chosen else _run_panel(visit, view, step, shown)
    expected = visit.services.expectations.of(visit.actor, view, now)
    return run_page(
        visit, view, tab="steps", panel=panel, drawn=visit.web.step_parts.of(view, chosen, now, expected),
        expected=expected, to_come=runview.to_come(expected), left=times.duration(expected.seconds) if expected else "",
        result=runview.result(view), missing=step if panel is None else "", identity=_identity(panel),
        same=bool(have) and have == _identity(panel), **values,
    )  # fmt: skip


def _identity(panel: Panel | None) -> str:
    if panel is None:
        return ""
    return f"{panel.slug}.{panel.attempt}.{panel.state}.{'open' if panel.open else 'done'}.{panel.restart}"


def _panel(visit: Visit, view: RunView, chosen: StepView, attempt: int | None, shown: Shown) -> Panel:
    number = attempt or max(chosen.attempt, 1)
    log = visit.services.runs.log(visit.actor, view.summary.id, chosen.key, number)
    return panelview.panel(view, chosen, log, number, shown)


def _run_panel(visit: Visit, view: RunView, wanted: str | None, shown: Shown) -> Panel | None:
    if wanted not in (RUN_LOG, None) or (wanted is None and not view.log_size):
        return None
    return panelview.run_panel(view, visit.services.runs.log(visit.actor, view.summary.id, ""), shown)


@router.get(BASE + "/journal")
def journal(visit: Visiting, *, tenant: str, name: str, number: int, after: Place = 0) -> Response:
    """Show every entry of the run's journal in words."""
    view = view_of(visit, tenant, name, number)
    entries = visit.services.runs.journal(visit.actor, view.summary.id, after=after, limit=JOURNAL_PAGE)
    following = entries[-1].seq if len(entries) == JOURNAL_PAGE else None
    lines = [journalview.line(entry) for entry in entries]
    return run_page(visit, view, tab="journal", journal=lines, journal_next=following, panel=None)


@router.post(BASE + "/cancel")
def cancel(visit: Visiting, *, tenant: str, name: str, number: int) -> Response:
    """Cancel the run."""
    run = view_of(visit, tenant, name, number).summary
    visit.services.control.cancel(visit.actor, run.id)
    return to(run.url)


@router.post(BASE + "/terminate")
def terminate(visit: Visiting, *, tenant: str, name: str, number: int) -> Response:
    """End the run at once."""
    run = view_of(visit, tenant, name, number).summary
    visit.services.control.terminate(visit.actor, run.id)
    return to(run.url)


@router.post(BASE + "/kill")
def kill(visit: Visiting, *, tenant: str, name: str, number: int) -> Response:
    """End the process of the run's code, to see it go on in another one."""
    view = view_of(visit, tenant, name, number)
    url = view.summary.url
    try:
        visit.services.control.kill_isolate(visit.actor, view.summary.id)
    except Conflict as error:  # it went to rest, or ended, since the page was loaded
        notice = str(error)
        return told(error, lambda status: _steps(visit, view, status=status, notice=notice, address=url))
    # The page alone may not show it: a command that runs goes on, and the journal has nothing to tell.
    return _steps(visit, view_of(visit, tenant, name, number), notice=losses.killed(view), address=url)


@router.post(BASE + "/pause")
def pause(visit: Visiting, *, tenant: str, name: str, number: int) -> Response:
    """Let nothing more begin in the run."""
    run = view_of(visit, tenant, name, number).summary
    visit.services.control.pause(visit.actor, run.id)
    return to(run.url)


@router.post(BASE + "/resume")
def resume(visit: Visiting, *, tenant: str, name: str, number: int) -> Response:
    """Have the paused run go on."""
    run = view_of(visit, tenant, name, number).summary
    visit.services.control.resume(visit.actor, run.id)
    return to(run.url)


@router.post(BASE + "/events")
def send_event(visit: Visiting, *, tenant: str, name: str, number: int, form: Form) -> Response:
    """Send the run an event, its payload written as JSON."""
    view, type, written = view_of(visit, tenant, name, number), text(form, "type"), text(form, "payload", "")
    try:
        visit.services.runs.send_event(visit.actor, view.summary.id, type, _payload(written))
    except Invalid as error:
        waits = (one for one in view.steps if one.state == "waiting" and one.options.get("type") == type)
        step = next(waits, None)
        if step is None:
            raise
        tried = Tried(type, {"payload": written}, str(error), "payload")
        key, url = step.key, runview.href(view, step)
        return told(error, lambda status: _steps(visit, view, key, status=status, tried=tried, address=url))
    return to(view.summary.url)


def _payload(written: str) -> Any:
    try:
        return json.loads(written.strip() or "null")
    except ValueError as error:
        raise Invalid(f"The payload is no JSON: {error}. Quote a text, write lists and objects.") from error


@router.post(BASE + "/restart")
def restart(visit: Visiting, *, tenant: str, name: str, number: int, form: Form) -> Response:
    """Begin a new run with what this one did before a step."""
    run = view_of(visit, tenant, name, number).summary
    code: WhichCode = "newer" if text(form, "code", "same") == "newer" else "same"
    return to(visit.services.control.restart(visit.actor, run.id, text(form, "step"), code=code).url)


@router.post(BASE + "/rerun")
def rerun(visit: Visiting, *, tenant: str, name: str, number: int) -> Response:
    """Run the same commit again."""
    run = view_of(visit, tenant, name, number).summary
    return to(visit.services.runs.rerun(visit.actor, run.id).url)


@router.get(BASE + "/stream")
def stream(
    visit: Visiting, *, tenant: str, name: str, number: int, seq: Place = 0, step: str = "", attempt: int = 0,
    line: Place = 0, noted: str = "",
    last_event_id: Annotated[str, Header()] = "",
) -> Response:  # fmt: skip
    """Keep a run page up to date."""
    view = view_of(visit, tenant, name, number)
    before, _, lines = last_event_id.partition(":")
    if before and lines:
        seq, line = place_of(before, seq), place_of(lines, line)
    key = key_of(view, step) if step else None
    return EventStream(_news(visit, view.summary.id, _Follower(key, step, attempt, seq, line, noted)))


@dataclass(frozen=True)
class _Follower:
    """What a page shows: the open log, if it can grow, and how much of it and of the journal."""

    key: str | None
    slug: str
    attempt: int
    seq: int
    line: int
    noted: str


async def _news(visit: Visit, run_id: str, page: _Follower) -> AsyncGenerator[bytes, None]:
    """Yield `run` when the run has changed and `lines` with new lines of the log; `over` ends both."""
    hub, runs, key, loop = visit.web.hub, visit.services.runs, page.key, asyncio.get_running_loop()
    seq, line, topic = page.seq, page.line, log_topic(run_id, page.key or "", page.attempt)
    with hub.subscribe(run_topic(run_id), *([topic] if key is not None else [])) as subscription:
        tail: Tail | None = None
        if key is not None:
            log = await asyncio.to_thread(runs.log, visit.actor, run_id, key, page.attempt)
            tail = hub.tail(topic, lambda: Tail(log, page.slug, line))
        summary = await asyncio.to_thread(runs.summary, visit.actor, run_id)
        subscription.noted = subscription.noted or page.noted not in ("", hub.told([notes_topic(summary.tenant)]))
        now = Head(summary.seq, summary.finished, summary.state == "queued")
        while not hub.closed:
            now = hub.head(run_topic(run_id), now)
            if tail is not None:
                tail.ended = tail.ended or now.finished
                for end, html in await tail.after(line):
                    line = end
                    yield event("lines", html, f"{seq}:{line}")
            if now.seq > seq or subscription.noted:
                seq, subscription.noted = now.seq, False
                yield event("run", str(seq), f"{seq}:{line}")
            if now.finished:
                yield event("over", str(seq), f"{seq}:{line}")
                return
            told = loop.time()
            if await subscription.wait(KEEP_ALIVE_SECONDS):
                if (early := told + PACE_SECONDS - loop.time()) > 0:
                    await asyncio.sleep(early)
            else:
                # What a queued run waits for changes without a word in its own journal.
                yield event("run", str(seq), f"{seq}:{line}") if now.queued else KEEP_ALIVE
