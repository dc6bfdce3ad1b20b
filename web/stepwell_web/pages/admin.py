"""The page for who administers the server; for others there is none."""

from fastapi import APIRouter
from starlette.responses import Response

from stepwell_web import adminview
from stepwell_web.visits import Visiting

router = APIRouter(include_in_schema=False)


@router.get("/admin")
def admin(visit: Visiting) -> Response:
    """Show health, room, tenants, dead runs, disk and settings."""
    view = visit.services.installation.of(visit.actor)
    told = adminview.shown(view, visit.actor.tenants)
    return visit.page("admin.html", crumbs=[("Administration", "/admin")], view=view, told=told)
