"""What changed since the last green run."""

from fastapi import APIRouter
from starlette.responses import Response

from stepwell_web import changesview
from stepwell_web.pages.run import BASE, run_page, view_of
from stepwell_web.visits import Visiting

router = APIRouter(include_in_schema=False)


@router.get(BASE + "/changes")
def show(visit: Visiting, *, tenant: str, name: str, number: int) -> Response:
    """Show the run beside the last one before it that passed."""
    view = view_of(visit, tenant, name, number)
    found = visit.services.changes.of(visit.actor, view)
    told = changesview.page(view, found) if found else None
    return run_page(visit, view, tab="changes", since=found, changes=told, panel=None)
