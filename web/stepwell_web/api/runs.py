"""Runs: start, list, read, decide, pause, resume, cancel, terminate, restart, send events."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Header, Query
from pydantic import BaseModel, Field
from starlette.responses import Response

from stepwell.ci.timeline import timeline
from stepwell.errors import Invalid
from stepwell_web.api import answers
from stepwell_web.api.access import Caller
from stepwell_web.live import entry_json
from stepwell_web.visits import Place

router = APIRouter(tags=["runs"])
State = Literal["queued", "running", "waiting", "paused", "passed", "failed", "cancelled", "diverged"]
Kind = Literal["push", "tag", "cron", "manual", "plan"]
STEPS = 1000
"""So many steps of a run are told at once: there may be 50,000, of a kilobyte each."""


class NewRun(BaseModel):
    """A run to start by hand."""

    pipeline: str | None = Field(None, description="its class; may be left out where only one can be started by hand")
    ref: str | None = Field(None, description="branch, tag or commit; the default branch when left out")
    inputs: dict[str, Any] = {}


class Decision(BaseModel):
    """An answer to an approval or to an environment's rules."""

    key: str = Field(description="key of the waiting step")
    approve: bool
    comment: str = Field("", max_length=4000)
    fields: dict[str, Any] | None = None


class Cancel(BaseModel):
    """Why a run is cancelled."""

    reason: str = ""
    undo: bool = Field(False, description="run the undo functions of the steps that have passed")


class Reason(BaseModel):
    """Why something is done to a run; everybody sees it."""

    reason: str = ""


class Restart(BaseModel):
    """Where a run begins again."""

    from_step: str | None = Field(
        None, description="key of a step, or its name: what came before is adopted; left out: from the start"
    )
    code: Literal["same", "newer"] = Field("same", description="with `from_step`: newer is the newest of the branch")


class NewEvent(BaseModel):
    """An event for `step.wait_for_event`."""

    type: str
    payload: Any = None
    id: str | None = Field(None, description="the same id is taken once")


@router.post("/repos/{tenant}/{name}/runs", status_code=201)
def start(
    caller: Caller, *, tenant: str, name: str, body: NewRun, idempotency_key: Annotated[str | None, Header()] = None
) -> dict[str, Any]:
    """Start a pipeline by hand; the same `Idempotency-Key` starts one run however often it is sent."""
    pipeline = body.pipeline or _only_manual(caller, tenant, name, body.ref)
    run = caller.services.runs.start(
        caller.actor, tenant, name, pipeline, ref=body.ref, inputs=body.inputs, key=idempotency_key
    )
    return answers.run_summary(run)


def _only_manual(caller: Caller, tenant: str, name: str, ref: str | None) -> str:
    found = caller.services.catalog.pipelines(caller.actor, tenant, name, ref)
    names = [p.name for p in found.pipelines if p.manual]
    if len(names) != 1:
        told = f"Name one of {', '.join(names)}." if names else "None can be started by hand: add manual() to its `on`."
        raise Invalid(f"No pipeline was named. {told}")
    return names[0]


@router.get("/runs")
def list_runs(
    caller: Caller, *, tenant: str | None = None, repository: str | None = None, state: State | None = None,
    pipeline: str | None = None, branch: str | None = None, sha: str | None = None, actor: str | None = None,
    kind: Kind | None = None, text: str | None = None, cursor: str | None = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> Response:  # fmt: skip
    """List runs, newest first; `next` is the cursor of the following page.

    `actor` is who started them, `kind` the kind of event, `text` a part of the title, a commit's beginning or a number.
    """
    return answers.sent(answers.page(caller.services.runs.list(
        caller.actor, tenant=tenant, repository=repository, state=state, pipeline=pipeline, branch=branch, sha=sha,
        by=actor, kind=kind, text=text, cursor=cursor, limit=limit,
    )))  # fmt: skip


@router.get("/trends")
def trends(
    caller: Caller, *, tenant: str | None = None, repository: str | None = None, branch: str | None = None
) -> dict[str, Any]:
    """Tell each pipeline's speed (median seconds of passed runs) and reliability (pass rate), with its last 30 runs."""
    found = caller.services.trends.of(caller.actor, tenant or "", repository or "", branch or "")
    return {"items": [answers.trend(one) for one in found]}


@router.get("/repos/{tenant}/{name}/runs/{number}")
def get_by_number(caller: Caller, *, tenant: str, name: str, number: int) -> Response:
    """Get a run by its number in the repository, as by its id."""
    return answers.sent(answers.run(caller.services.runs.by_number(caller.actor, tenant, name, number), STEPS))


@router.get("/runs/{id}")
def get(caller: Caller, *, id: str) -> Response:
    """Get a run with its open approvals and its first 1,000 steps, in the order asked.

    Where it has more, `steps_next` is the `after` of the following page of steps.
    """
    return answers.sent(answers.run(caller.services.runs.get(caller.actor, id), STEPS))


@router.get("/runs/{id}/steps")
def steps(
    caller: Caller, *, id: str, after: Place = 0, limit: Annotated[int, Query(ge=1, le=5000)] = STEPS
) -> Response:
    """List the run's steps in the order asked, without the first `after`; `next` is that of the following page."""
    every = caller.services.runs.get(caller.actor, id).steps
    end = after + limit
    return answers.sent({
        "items": [answers.step(one) for one in every[after:end]], "next": end if len(every) > end else None,
    })  # fmt: skip


@router.get("/runs/{id}/journal")
def journal(
    caller: Caller, *, id: str, after: Place = 0, limit: Annotated[int, Query(ge=1, le=5000)] = 1000
) -> Response:
    """Read the run's journal after an entry's number."""
    entries = caller.services.runs.journal(caller.actor, id, after=after, limit=limit)
    following = entries[-1].seq if len(entries) == limit else None
    return answers.sent({"items": [entry_json(e) for e in entries], "next": following})


@router.get("/runs/{id}/source")
def source(caller: Caller, *, id: str) -> dict[str, Any]:
    """Read the program that the run executes, as it is at its commit: the texts of `.stepwell/` by path."""
    found = caller.services.sources.of(caller.actor, caller.services.runs.summary(caller.actor, id))
    return {"sha": found.sha, "files": dict(found.files), "problem": found.problem or None}


@router.get("/runs/{id}/timeline")
def where_time_went(caller: Caller, *, id: str) -> dict[str, Any]:
    """Tell where the run's time went: seconds of each kind, which add up to the run's, and the spans of every step."""
    entries = caller.services.runs.journal(caller.actor, id, limit=10_000)
    return answers.plain(timeline(entries, caller.web.templates.now()))


@router.get("/runs/{id}/changes")
def changes(caller: Caller, *, id: str) -> dict[str, Any]:
    """Compare the run with the last one before it that passed: commits, paths, interpreter, and each step."""
    found = caller.services.changes.of(caller.actor, caller.services.runs.get(caller.actor, id))
    return {"since": answers.changes(found) if found else None}


@router.get("/approvals")
def approvals(caller: Caller) -> Response:
    """List the approvals that wait and that you may see."""
    return answers.sent({"items": [answers.approval(a) for a in caller.services.runs.inbox(caller.actor)]})


@router.post("/runs/{id}/decisions")
def decide(caller: Caller, *, id: str, body: Decision) -> dict[str, Any]:
    """Approve or reject; `verdict` is null while more people must agree."""
    verdict = caller.services.runs.decide(
        caller.actor, id, body.key, approve=body.approve, comment=body.comment, fields=body.fields
    )
    return {"verdict": verdict}


@router.post("/runs/{id}/cancel", status_code=202)
def cancel(caller: Caller, *, id: str, body: Cancel | None = None) -> dict[str, Any]:
    """Cancel a run; its code may finish what it must within the grace period."""
    asked = body or Cancel()
    caller.services.control.cancel(caller.actor, id, asked.reason, undo=asked.undo)
    return answers.run_summary(caller.services.runs.summary(caller.actor, id))


@router.post("/runs/{id}/terminate", status_code=202)
def terminate(caller: Caller, *, id: str, body: Reason | None = None) -> dict[str, Any]:
    """End a run at once; its code is told nothing and cleans nothing up."""
    caller.services.control.terminate(caller.actor, id, (body or Reason()).reason)
    return answers.run_summary(caller.services.runs.summary(caller.actor, id))


@router.post("/runs/{id}/kill", status_code=202)
def kill(caller: Caller, *, id: str) -> dict[str, Any]:
    """End the process in which the run's code is, as a crash would: it goes on from its journal in another one."""
    caller.services.control.kill_isolate(caller.actor, id)
    return answers.run_summary(caller.services.runs.summary(caller.actor, id))


@router.post("/runs/{id}/pause", status_code=202)
def pause(caller: Caller, *, id: str, body: Reason | None = None) -> dict[str, Any]:
    """Let nothing begin in a run until it is resumed; what is under way may finish."""
    caller.services.control.pause(caller.actor, id, (body or Reason()).reason)
    return answers.run_summary(caller.services.runs.summary(caller.actor, id))


@router.post("/runs/{id}/resume", status_code=202)
def resume(caller: Caller, *, id: str) -> dict[str, Any]:
    """Have a paused run go on."""
    caller.services.control.resume(caller.actor, id)
    return answers.run_summary(caller.services.runs.summary(caller.actor, id))


@router.post("/runs/{id}/rerun", status_code=201, include_in_schema=False)
def rerun(caller: Caller, *, id: str) -> dict[str, Any]:
    """Run the same commit for the same event again, from the start."""
    return answers.run_summary(caller.services.runs.rerun(caller.actor, id))


@router.post("/runs/{id}/restart", status_code=201)
def restart(
    caller: Caller, *, id: str, body: Restart | None = None, idempotency_key: Annotated[str | None, Header()] = None
) -> dict[str, Any]:
    """Begin a new run: from the start, same commit and event, or with what an ended run did before one of its steps.

    From a step, the same `Idempotency-Key` makes one run however often it is sent.
    """
    asked = body or Restart()
    if asked.from_step is not None:
        made = caller.services.control.restart(caller.actor, id, asked.from_step, code=asked.code, key=idempotency_key)
    elif asked.code == "same":
        made = caller.services.runs.rerun(caller.actor, id)
    else:
        raise Invalid("Newer code was asked for without a step. Name one in from_step, or start the pipeline anew.")
    return answers.run_summary(made)


@router.post("/runs/{id}/events", status_code=202)
def send_event(caller: Caller, *, id: str, body: NewEvent) -> dict[str, Any]:
    """Send an event to a run."""
    caller.services.runs.send_event(caller.actor, id, body.type, body.payload, body.id)
    return answers.run_summary(caller.services.runs.summary(caller.actor, id))
