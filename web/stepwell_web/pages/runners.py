"""Runners: what runs where now, what waits and why, and what the host can do."""

from fastapi import APIRouter
from starlette.responses import Response

from stepwell_web import runnersview, times
from stepwell_web.pages.tenant import common
from stepwell_web.visits import Visiting

router = APIRouter(include_in_schema=False)


@router.get("/{tenant}/-/runners")
def runners(visit: Visiting, tenant: str) -> Response:
    """Show what goes on in a tenant's name at this moment."""
    values = common(visit, tenant, "runners", "Runners")
    found = [runnersview.shown(one) for one in visit.services.runners.of(visit.actor, tenant)]
    return visit.page(
        "runners.html", runners=found, now=visit.web.templates.now(), duration=times.duration, place=runnersview.place,
        **values,
    )  # fmt: skip
