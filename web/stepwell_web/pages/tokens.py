"""A person's own access tokens."""

from fastapi import APIRouter
from starlette.responses import Response

from stepwell.errors import Invalid
from stepwell.tenants.actors import ACTIONS
from stepwell_web.goings import Going, ask, confirmed
from stepwell_web.visits import Form, Visiting, text, to

router = APIRouter(include_in_schema=False)


@router.get("/tokens")
def show(visit: Visiting) -> Response:
    """List the person's tokens."""
    tokens = visit.services.tenants.tokens.list(visit.actor)
    return visit.page("tokens.html", crumbs=[("Access tokens", "/tokens")], tokens=tokens, issued=None)


@router.post("/tokens")
def issue(visit: Visiting, form: Form) -> Response:
    """Issue a token and show it, once; the page is not kept by the browser."""
    scopes = tuple(s for s in ACTIONS if s in form.getlist("scopes"))
    days = text(form, "days", "90")
    if not days.isdigit():
        raise Invalid(f"Days is {days!r}. Give a number of days.")
    tokens = visit.services.tenants.tokens
    issued = tokens.issue(visit.actor, text(form, "name").strip(), scopes=scopes, days=int(days))
    way = [("Access tokens", "/tokens")]
    answer = visit.page("tokens.html", crumbs=way, tokens=tokens.list(visit.actor), issued=issued)
    answer.headers["Cache-Control"] = "no-store"
    return answer


@router.post("/tokens/revoke")
def revoke(visit: Visiting, form: Form) -> Response:
    """Revoke a token, once it has been asked."""
    tokens, id = visit.services.tenants.tokens, text(form, "id")
    named = [one.name for one in tokens.list(visit.actor) if one.id == id]
    if named and not confirmed(form):
        words = "Programs that use it are refused from then on."
        going = Going(f"Revoke the token {named[0]}?", words, "Revoke", "/tokens")
        return ask(visit, form, going, [("Access tokens", "/tokens"), ("Revoke", "")])
    tokens.revoke(visit.actor, id)
    return to("/tokens")
