"""The page of one approval: what goes out, who has said what, the form. With scripts it opens as a dialog."""

from fastapi import APIRouter
from starlette.responses import Response

from stepwell.errors import NotFound
from stepwell_web import reviewview
from stepwell_web.pages.run import BASE, crumbs_of, view_of
from stepwell_web.visits import Visiting, own_path

router = APIRouter(include_in_schema=False)


@router.get(BASE + "/review")
def show(visit: Visiting, *, tenant: str, name: str, number: int, key: str, next: str = "") -> Response:
    """Show what an approval, or a step that is held, is about."""
    view = view_of(visit, tenant, name, number)
    held = {one.key for one in view.approvals}
    asked = [one for one in view.steps if one.key == key and (one.kind == "approval" or key in held)]
    if not asked:
        raise NotFound(f"Run #{number} asks nobody about a step {key!r}.")
    services, step = visit.services, asked[0]
    out = services.deployments.outgoing(visit.actor, view, step.environment) if step.environment else None
    green = services.changes.of(visit.actor, view) if out is None else None
    run = view.summary
    return visit.page(
        "review.html", crumbs=[*crumbs_of(run), ("Approval", "")], run=run,
        review=reviewview.review(view, step, out, green),
        next=own_path(next or run.url),
    )  # fmt: skip
