"""Home, the inbox of approvals."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter
from starlette.responses import Response

from stepwell.ci.views import RepositoryView
from stepwell_web.visits import Visit, Visiting

router = APIRouter(include_in_schema=False)


@dataclass(frozen=True)
class Place:
    """A tenant in a form."""

    name: str
    writable: bool


@router.get("/")
def home(visit: Visiting) -> Response:
    """Show what needs the person, what ran lately, and their repositories."""
    return page(visit)


def page(visit: Visit, **more: Any) -> Response:
    """Render the home page."""
    return visit.page(
        "home.html",
        crumbs=[("Home", "/")],
        approvals=[a for a in visit.services.runs.inbox(visit.actor) if a.may_decide],
        runs=visit.services.runs.list(visit.actor, limit=20),
        places=last_active_first(visit.services.catalog.list(visit.actor)),  # unlike other pages with their last runs
        tenants=places(visit),
        sample=SAMPLE,
        **more,
    )


def last_active_first(repositories: Iterable[RepositoryView]) -> list[RepositoryView]:
    """Order repositories as people look for them: by their last run, those without one by name at the end."""
    return sorted(repositories, key=lambda one: (-one.last_run.created_at if one.last_run else 0.0, one.full_name))


def places(visit: Visit, only: str | None = None) -> list[Place]:
    """Tenants of the visitor, and whether they may create repositories there."""
    return [Place(t, visit.actor.may("write", t)) for t in visit.actor.tenants if only in (None, t)]


@router.get("/approvals")
def approvals(visit: Visiting) -> Response:
    """Show every approval that waits for the person."""
    waiting = visit.services.runs.inbox(visit.actor)
    return visit.page("approvals.html", crumbs=[("Approvals", "/approvals")], approvals=waiting)


SAMPLE = """from stepwell import Pipeline, manual, push


class Checks(Pipeline):
    on = [push(), manual()]

    async def run(self, event, step):
        await step.run("hello", "echo Hello, stepwell; ls -A")
"""
"""What somebody with an empty repository may begin with."""
