"""Artifacts for programs: which files a run's steps kept, and the files."""

from typing import Any

from fastapi import APIRouter
from starlette.responses import Response

from stepwell_web.api import answers
from stepwell_web.api.access import Caller
from stepwell_web.files import HEAD_BYTES, file_answer, picture_type

router = APIRouter(tags=["artifacts"])


@router.get("/runs/{id}/artifacts")
def list_artifacts(caller: Caller, *, id: str, step: str | None = None) -> dict[str, Any]:
    """List the artifacts of a run, or of the step with this key; `id` of each is the SHA-256 of its content.

    `removed_at` says when retention has removed one; null while it is there.
    """
    artifacts = caller.services.artifacts
    found = artifacts.listed(caller.actor, id, step)
    removed = artifacts.removed_at(id, found)
    return {"items": [{**answers.plain(one), "removed_at": removed.get(one)} for one in found]}


@router.get("/runs/{id}/artifacts/file")
def download(caller: Caller, *, id: str, step: str, path: str, picture: bool = False) -> Response:
    """Download one by the key of its step and its path; with `picture`, as an image if it is one."""
    artifacts = caller.services.artifacts
    found = artifacts.find(caller.actor, id, step, path)
    kind = picture_type(b"".join(artifacts.read(id, found, HEAD_BYTES))) if picture else None
    return file_answer(artifacts.read(id, found), path, found.size, kind)


@router.get("/runs/{id}/artifacts.zip")
def download_all(caller: Caller, *, id: str, step: str | None = None) -> Response:
    """Download all of a run, or of one step, as a ZIP file; of several steps, each in a folder of its own."""
    found = caller.services.artifacts.listed(caller.actor, id, step)
    return file_answer(
        caller.services.artifacts.zipped(id, found), f"{step or 'artifacts'}.zip".replace("/", "-"), None
    )
