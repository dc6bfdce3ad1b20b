"""Find repositories and runs by words, for the dialog of every page and, without scripts, as a page."""

from fastapi import APIRouter
from starlette.responses import Response

from stepwell.ci.history import LONGEST_TEXT
from stepwell_web.visits import Visiting

router = APIRouter(include_in_schema=False)
MOST = 10


@router.get("/search")
def search(visit: Visiting, q: str = "") -> Response:
    """Show the repositories whose name, and the runs whose title, commit or number has the words."""
    words = q.strip()[:LONGEST_TEXT]
    services = visit.services
    wanted = words.casefold()
    places = [one for one in services.catalog.list(visit.actor, last_runs=False) if wanted in one.full_name.casefold()]
    runs = services.runs.list(visit.actor, text=words, limit=MOST).items if len(words) > 1 else ()
    tenants = [name for name in visit.actor.tenants if wanted in name.casefold()]
    return visit.page(
        "search.html", crumbs=[("Search", "/search")], q=words, found=places[:MOST], runs=runs,
        tenants=tenants if words else [],
    )  # fmt: skip
