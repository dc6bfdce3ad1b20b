"""What the tests of a run came to."""

from fastapi import APIRouter
from starlette.responses import Response

from stepwell_web import testsview
from stepwell_web.pages.run import BASE, run_page, view_of
from stepwell_web.visits import Visiting

router = APIRouter(include_in_schema=False)


@router.get(BASE + "/tests")
def show(visit: Visiting, *, tenant: str, name: str, number: int) -> Response:
    """Show the tests by step, failures first."""
    view = view_of(visit, tenant, name, number)
    groups = testsview.groups(view, visit.services.reports.of(view))
    return run_page(visit, view, tab="tests", groups=groups, panel=None)
