"""The timeline of a run: where its time went."""

from fastapi import APIRouter
from starlette.responses import Response

from stepwell.ci.timeline import timeline
from stepwell_web import timelineview
from stepwell_web.pages.run import BASE, run_page, view_of
from stepwell_web.visits import Visiting

router = APIRouter(include_in_schema=False)
ENTRIES = 10_000
"""So many entries of the journal are read for a page."""


@router.get(BASE + "/timeline")
def show(visit: Visiting, *, tenant: str, name: str, number: int) -> Response:
    """Show the run's lanes and shares of time."""
    view = view_of(visit, tenant, name, number)
    entries = visit.services.runs.journal(visit.actor, view.summary.id, limit=ENTRIES)
    whole = len(entries) < ENTRIES
    told = timeline(entries, visit.web.templates.now() if whole else entries[-1].at)
    return run_page(
        visit, view, tab="timeline", timeline=timelineview.page(view, told), drawn=timelineview.drawn, whole=whole,
        panel=None,
    )  # fmt: skip
