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
    """List what a step changed in its workspace, with diffs of what is text. For those who may write."""
    return {"items": [answers.plain(one) for one in caller.services.moments.changes(caller.actor, id, key)]}


@router.get("/runs/{id}/steps/{key:path}/workspace")
def step_workspace(caller: Caller, *, id: str, key: str, when: When = "after") -> Response:
    """Download the workspace as it was before or after a step, as a tar file. For those who may write."""
    return file_answer(caller.services.moments.archive(caller.actor, id, key, when), f"{key}-{when}.tar", None)
