"""The files that a run's steps kept."""

from fastapi import APIRouter
from starlette.responses import Response

from stepwell.errors import NotFound
from stepwell_web import artifactsview, runview
from stepwell_web.pages.run import BASE, run_page, view_of
from stepwell_web.visits import Visiting

router = APIRouter(include_in_schema=False)


@router.get(BASE + "/artifacts")
def show(
    visit: Visiting, *, tenant: str, name: str, number: int, step: str | None = None, path: str | None = None
) -> Response:
    """List the files by step; with `step` and `path`, show the beginning of one."""
    view, artifacts = view_of(visit, tenant, name, number), visit.services.artifacts
    found = artifacts.of(view)
    chosen = runview.choose(view, step) if step is not None else None
    one = next((one for one in found if chosen and (one.key, one.path) == (chosen.key, path)), None)
    if path is not None and one is None:
        raise NotFound(f"Run #{number} kept no file {path[:200]!r} in that step.")
    preview = None
    if one is not None:
        head = b"".join(artifacts.read(view.summary.id, one, artifactsview.PREVIEW_BYTES))
        preview = artifactsview.preview(view, one, head)
    groups = artifactsview.groups(view, found, one, artifacts.removed_at(view.summary.id, found))
    return run_page(visit, view, tab="artifacts", groups=groups, preview=preview, panel=None)
