"""The search in the logs of runs, for programs."""

from typing import Annotated, Any

from fastapi import APIRouter, Query
from starlette.responses import Response

from stepwell_web.api import answers
from stepwell_web.api.access import Caller
from stepwell_web.api.runs import State
from stepwell_web.runsearch import LEAST, FoundRun, listing

router = APIRouter(tags=["runs"])


@router.get("/logs")
def search_logs(
    caller: Caller, *, q: Annotated[str, Query(min_length=LEAST, max_length=200)], tenant: str | None = None,
    repository: str | None = None, state: State | None = None, pipeline: str | None = None, branch: str | None = None,
    cursor: str | None = None,
) -> Response:  # fmt: skip
    """Find a text, in any case, in the logs of runs, the newest first.

    A second's worth of logs is looked through; `next` is the cursor of the runs after that, `looked` how many there
    were, `oldest` when the last of them was made. Of the runs in `cut` only the beginning was looked through.
    """
    runs = caller.services.runs
    listed = listing(
        runs, caller.actor, tenant=tenant, repository=repository, state=state, pipeline=pipeline, branch=branch
    )
    found = caller.web.run_search.find(runs, caller.actor, q, listed, cursor)
    return answers.sent({
        "items": [_run(one) for one in found.runs], "next": found.rest, "looked": found.looked,
        "oldest": found.oldest, "cut": [run.id for run in found.cut],
    })  # fmt: skip


def _run(found: FoundRun) -> dict[str, Any]:
    logs = [
        {
            "title": log.title, "key": log.key, "attempt": log.attempt, "url": log.href, "count": log.count,
            "lines": [{"number": one.number, "text": "".join(one.parts), "url": one.href} for one in log.lines],
        }
        for log in found.logs
    ]  # fmt: skip
    return {"run": answers.run_summary(found.run), "logs": logs, "more": found.more}
