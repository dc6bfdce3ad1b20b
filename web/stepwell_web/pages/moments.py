"""What a step changed in its workspace."""

from fastapi import APIRouter
from starlette.responses import Response

from stepwell.ci.moments import Changes
from stepwell.errors import Conflict, NotFound
from stepwell_web import filesview, runview
from stepwell_web.pages.run import BASE, run_page, view_of
from stepwell_web.visits import Visiting

router = APIRouter(include_in_schema=False)


@router.get(BASE + "/files")
def show(visit: Visiting, *, tenant: str, name: str, number: int, step: str) -> Response:
    """Show the files that a step changed, with their differences."""
    view = view_of(visit, tenant, name, number)
    chosen = runview.choose(view, step)
    if chosen is None:
        raise NotFound(f"Run #{number} has no step {step[:80]!r}.")
    try:
        found = visit.services.moments.changes(visit.actor, view.summary.id, chosen.key)
    except Conflict as error:  # it is not over
        found = Changes(why=str(error))
    changes = [filesview.changed(one) for one in found.items]
    raw = filesview.archives(view, chosen)
    return run_page(
        visit, view, tab="files", changed=changes, archives=raw, of_step=chosen, back=runview.href(view, chosen),
        panel=None, total=found.total, more=found.more, why=found.why or "The step left its workspace as it was.",
    )  # fmt: skip
