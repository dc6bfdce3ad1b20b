"""Views as the JSON that programs get. Times are seconds since the epoch; `url` is a path on this server."""

import json
from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import Any

from starlette.responses import Response

from stepwell.ci.changes import ChangesSince
from stepwell.ci.trends import Trend
from stepwell.ci.views import ApprovalView, AttemptView, Page, RepositoryView, RunSummary, RunView, StepView

Json = dict[str, Any]


def sent(content: Json) -> Response:
    """Send what may be large or hold what a stranger's code chose: made here, on the thread of who asks.

    Half a character, which UTF-8 cannot say, is sent as JSON's escape for it.
    """
    try:
        text = json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode()
    except UnicodeEncodeError:
        text = json.dumps(content, separators=(",", ":")).encode()
    return Response(text, media_type="application/json")


def run_summary(run: RunSummary) -> Json:
    """A run in a list."""
    return {**asdict(run), "url": run.url}


def run(view: RunView, most: int | None = None) -> Json:
    """A run in full, with its open approvals and its first `most` steps; `steps_next` is where the rest begin."""
    return {
        "summary": run_summary(view.summary), "event": dict(view.event), "entry": view.entry, "code": view.code,
        "result": view.result,
        "error": view.error, "steps": [step(s) for s in view.steps[:most]],
        "steps_next": most if most is not None and len(view.steps) > most else None,
        "approvals": [approval(a) for a in view.approvals],
        "may_write": view.may_write, "log_size": view.log_size, "parent": view.parent,
        "cancelling": view.cancelling, "round": view.round, "rounds": [asdict(one) for one in view.rounds],
        "restart_of": asdict(view.restart_of) if view.restart_of else None, "restarted_at": view.restarted_at,
        "restart_note": view.restart_note, "where_ended": view.where_ended,
        "ways_on": [asdict(way) for way in view.ways_on],
    }  # fmt: skip


def step(view: StepView) -> Json:
    """A step with its attempts; what its code chose is as deep as it likes, so nothing copies it level by level."""
    return {
        **_flat(view), "attempts": [_flat(one) for one in view.attempts], "seconds": view.seconds,
        "origin": asdict(view.origin) if view.origin else None, "reused": asdict(view.reused) if view.reused else None,
    }  # fmt: skip


def _flat(view: StepView | AttemptView | ApprovalView) -> Json:
    return {field.name: getattr(view, field.name) for field in fields(view)}


def approval(view: ApprovalView) -> Json:
    """An open approval; its run as a reference only: that tells of all its approvals, which may be thousands."""
    return {
        **_flat(view),
        "decisions": [asdict(one) for one in view.decisions],
        "run": {"id": view.run.id, "number": view.run.number, "scope": view.run.scope, "url": view.run.url},
    }


def repository(view: RepositoryView) -> Json:
    """A repository."""
    last = run_summary(view.last_run) if view.last_run else None
    return {
        **asdict(view),
        "last_run": last,
        "full_name": view.full_name,
        "url": view.url,
        "clone_path": view.clone_path,
    }


def page(found: Page[RunSummary]) -> Json:
    """A stretch of runs with the cursor of the next."""
    return {"items": [run_summary(one) for one in found.items], "next": found.next}


def trend(found: Trend) -> Json:
    """A pipeline's speed and reliability with the runs they are read from, the oldest first."""
    return {
        "repository": found.scope, "pipeline": found.pipeline, "median_seconds": found.median_seconds,
        "pass_rate": found.pass_rate, "passed": found.passed, "judged": found.judged,
        "runs": [run_summary(one) for one in found.runs],
    }  # fmt: skip


def changes(found: ChangesSince) -> Json:
    """What changed since a green run."""
    return {
        "green": run_summary(found.green), "commits": [plain(one) for one in found.commits.listed],
        "commit_count": found.commits.count, "paths": list(found.commits.paths.paths),
        "paths_complete": found.commits.paths.complete, "python": list(found.python),
        "first": found.first.key if found.first else None,
        "steps": [
            {
                "key": one.key, "name": one.name, "differences": [plain(what) for what in one.differences],
                "seconds": [side.seconds if side else None for side in (one.before, one.after)],
            }
            for one in found.steps
        ],
    }  # fmt: skip


def plain(view: Any) -> Json:
    """Any other view, field by field; a table's row comes without what is sealed."""
    if isinstance(view, Mapping):
        return dict(view)
    return asdict(view)
