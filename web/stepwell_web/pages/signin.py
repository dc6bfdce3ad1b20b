"""Signing in, by link or password, and out. A link only shows a button: a preview of it must not use it up."""

from fastapi import APIRouter
from starlette.responses import Response

from stepwell.errors import Denied
from stepwell_web.visits import COOKIE, AnyVisit, Form, own_path, signed_in, text, to

router = APIRouter(include_in_schema=False)


@router.get("/signin")
def show(visit: AnyVisit, code: str = "", token: str = "", next: str = "") -> Response:
    """Show the way in."""
    if visit.actor.signed_in and not (code or token):
        return to(own_path(next))
    return visit.page("signin.html", crumbs=[], code=code or token, next=own_path(next), problem="")


@router.post("/signin")
def sign_in(visit: AnyVisit, form: Form) -> Response:
    """Redeem a link or check a password; land on what needs the person."""
    tenants, path = visit.services.tenants, own_path(text(form, "next", ""))
    try:
        if "code" in form:
            person = tenants.links.redeem(text(form, "code"))
        else:
            person = tenants.people.check_password(text(form, "name"), text(form, "password"))
    except Denied as denied:
        return visit.page("signin.html", crumbs=[], status=403, code="", next=path, problem=str(denied))
    session = tenants.sessions.open(person.id)
    if path == "/" and visit.services.runs.inbox_count(tenants.people.actor(person.id)) > 0:
        path = "/approvals"
    return signed_in(visit, session, path)


@router.post("/signout")
def sign_out(visit: AnyVisit) -> Response:
    """End the session."""
    cookie = visit.request.cookies.get(COOKIE)
    if cookie:
        visit.services.tenants.sessions.close(cookie)
    answer = to("/signin")
    answer.delete_cookie(COOKIE, path="/")
    return answer
