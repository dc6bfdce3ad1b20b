"""The page of one approval: what goes out, who has said what, the form. With scripts it opens as a dialog."""

from typing import Any

from fastapi import APIRouter
from starlette.responses import Response

from stepwell.ci.views import RunView
from stepwell.errors import Invalid, NotFound
from stepwell_web import reviewview
from stepwell_web.pages.run import BASE, crumbs_of, view_of
from stepwell_web.problems import told
from stepwell_web.visits import Form, Tried, Visit, Visiting, fields, own_path, text, to

router = APIRouter(include_in_schema=False)


@router.get(BASE + "/review")
def show(visit: Visiting, *, tenant: str, name: str, number: int, key: str, next: str = "") -> Response:
    """Show what an approval, or a step that is held, is about."""
    return _page(visit, view_of(visit, tenant, name, number), key, next)


def _page(visit: Visit, view: RunView, key: str, next: str, **values: Any) -> Response:
    held = {one.key for one in view.approvals}
    asked = [one for one in view.steps if one.key == key and (one.kind == "approval" or key in held)]
    if not asked:
        raise NotFound(f"Run #{view.summary.number} asks nobody about a step {key!r}.")
    services, step = visit.services, asked[0]
    out = services.deployments.outgoing(visit.actor, view, step.environment) if step.environment else None
    green = services.changes.of(visit.actor, view) if out is None else None
    run = view.summary
    return visit.page(
        "review.html", crumbs=[*crumbs_of(run), ("Approval", "")], run=run,
        review=reviewview.review(view, step, out, green),
        next=own_path(next or run.url), **values,
    )  # fmt: skip


@router.post(BASE + "/decisions")
def decide(visit: Visiting, *, tenant: str, name: str, number: int, form: Form) -> Response:
    """Approve or reject; what does not do is said on the page of the approval."""
    view, key = view_of(visit, tenant, name, number), text(form, "key")
    comment, filled = text(form, "comment", ""), fields(form, "field.")
    next = text(form, "next", view.summary.url)
    try:
        visit.services.runs.decide(
            visit.actor, view.summary.id, key, approve=text(form, "decision") == "approve", comment=comment.strip(),
            fields=filled or None,
        )  # fmt: skip
    except Invalid as error:
        tried = Tried(key, {**filled, "comment": comment}, str(error), error.field)
        return told(error, lambda status: _page(visit, view, key, next, status=status, tried=tried))
    return to(own_path(next))
