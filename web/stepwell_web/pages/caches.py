"""A repository's caches: what steps have saved for later runs, how large and how old, and the way to be rid of it."""

from fastapi import APIRouter
from starlette.responses import Response

from stepwell_web.goings import Going, ask, confirmed
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
    """Delete one key of a branch, or all keys, once it has been asked."""
    key, branch = ("", "") if text(form, "all", "") else (text(form, "key"), text(form, "branch", ""))
    if not confirmed(form):
        visit.actor.require("manage", tenant, name)
        what = f"the cache {key} of {branch}" if key else f"every cache of {tenant}/{name}"
        going = Going(f"Delete {what}?", "Later runs make anew what was in it.", "Delete", f"/{tenant}/{name}/caches")
        way = crumbs(common(visit, tenant, name, "caches")["repository"], ("Caches", going.back), ("Delete", ""))
        return ask(visit, form, going, way)
    if key:
        visit.services.caches.remove_key(visit.actor, tenant, name, key, branch)
    else:
        visit.services.caches.remove(visit.actor, tenant, name)
    return to(f"/{tenant}/{name}/caches")
