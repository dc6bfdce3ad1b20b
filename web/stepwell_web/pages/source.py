"""The source of a run: its pipeline at the run's commit, with links to lines."""

from fastapi import APIRouter
from starlette.responses import Response

from stepwell_web import sourceview
from stepwell_web.pages.run import BASE, run_page, view_of
from stepwell_web.visits import Visiting

router = APIRouter(include_in_schema=False)


@router.get(BASE + "/source")
def show(visit: Visiting, *, tenant: str, name: str, number: int, file: str = "") -> Response:
    """Show a file of `.stepwell/`, that of the run's pipeline by default."""
    view = view_of(visit, tenant, name, number)
    found = visit.services.sources.of(visit.actor, view.summary)
    wanted = file.removeprefix(".stepwell/")
    shown = sourceview.page(view, found.files, wanted, visit.web.templates.now()) if found.files else None
    problem = found.problem or ("" if shown else f"There is no file .stepwell/{wanted} at this commit.")
    return run_page(visit, view, tab="source", source=shown, problem=problem, panel=None)
