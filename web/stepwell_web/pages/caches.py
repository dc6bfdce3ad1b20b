"""A repository's caches: what steps have saved for later runs, how large and how old, and the way to be rid of it."""

from fastapi import APIRouter
from starlette.responses import Response

from stepwell_web.pages.repository import common, crumbs
from stepwell_web.visits import Form, Visiting, text, to

router = APIRouter(include_in_schema=False)
PAGE = 200
"""Keys that are listed; those used least recently are left out."""
EXAMPLE = 'cache={"key": "pip-{requirements.txt}", "paths": [".cache/pip"]}'


@router.get("/{tenant}/{name}/caches")
def show(visit: Visiting, *, tenant: str, name: str) -> Response:
    """Show the keys, the most recently used first, and what their contents take together."""
    values = common(visit, tenant, name, "caches")
    found = visit.services.caches.list(visit.actor, tenant, name)
    contents = {one.digest: one.bytes for one in found}  # keys may share one
    return visit.page(
        "caches.html", crumbs=crumbs(values["repository"], ("Caches", "")), caches=found[:PAGE], count=len(found),
        taken=sum(contents.values()), example=EXAMPLE, bound=visit.services.settings.caches_gb << 30, **values,
    )  # fmt: skip


@router.post("/{tenant}/{name}/caches/delete")
def delete(visit: Visiting, *, tenant: str, name: str, form: Form) -> Response:
    """Delete one key of a branch, or all keys."""
    if text(form, "all", ""):
        visit.services.caches.remove(visit.actor, tenant, name)
    else:
        visit.services.caches.remove_key(visit.actor, tenant, name, text(form, "key"), text(form, "branch", ""))
    return to(f"/{tenant}/{name}/caches")
