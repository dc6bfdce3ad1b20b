"""The files of a step, for programs: what it changed, and its workspace before and after."""

from typing import Any

from fastapi import APIRouter
from starlette.responses import Response

from stepwell.ci.moments import When
from stepwell_web.api import answers
from stepwell_web.api.access import Caller
from stepwell_web.files import file_answer

router = APIRouter(tags=["files"])


@router.get("/runs/{id}/steps/{key:path}/changes")
def step_changes(caller: Caller, *, id: str, key: str) -> dict[str, Any]:
    """List what a step changed in its workspace, with diffs of what is text. For those who may write.

    They are `total`, of which the first are listed and `more` are not. `why` says why nothing was kept of a step that
    failed or has keep=False. A step that is not over is refused (409).
    """
    found = caller.services.moments.changes(caller.actor, id, key)
    items = [answers.plain(one) for one in found.items]
    return {"items": items, "total": found.total, "more": found.more, "why": found.why}


@router.get("/runs/{id}/steps/{key:path}/workspace")
def step_workspace(caller: Caller, *, id: str, key: str, when: When = "after") -> Response:
    """Download the workspace as it was before or after a step, as a tar file. For those who may write.

    After a step of which nothing was kept it is as before; after one that is not over it is refused (409).
    """
    return file_answer(caller.services.moments.archive(caller.actor, id, key, when), f"{key}-{when}.tar", None)
