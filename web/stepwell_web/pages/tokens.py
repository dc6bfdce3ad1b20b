"""A person's own access tokens, what they lend to plans, and the password."""

from typing import Any

from fastapi import APIRouter
from starlette.datastructures import FormData
from starlette.responses import Response

from stepwell.errors import Denied, Invalid, NotFound, TryLater
from stepwell.tenants.actors import ACTIONS
from stepwell.tenants.tokens import IssuedToken
from stepwell_web.goings import Going, ask, confirmed
from stepwell_web.problems import told
from stepwell_web.visits import COOKIE, Form, Tried, Visit, Visiting, text, to

router = APIRouter(include_in_schema=False)
WAY = [("Access tokens", "/tokens")]
USUAL = {"read", "write", "approve"}
PRESENT = "That is not your present password. Give it, or sign in again: within 15 minutes nobody asks for it."
DAYS = (("30", "30 days"), ("90", "90 days"), ("365", "1 year"))


@router.get("/tokens")
def show(visit: Visiting) -> Response:
    """List the person's tokens."""
    return _page(visit)


def _page(visit: Visit, issued: IssuedToken | None = None, **more: Any) -> Response:
    tokens = visit.services.tenants.tokens
    cookie = visit.request.cookies.get(COOKIE, "")
    values = {
        "chosen": USUAL,
        "tried": None,
        "days": DAYS,
        "status": 200,
        "password_set": False,
        "tried_password": None,
        **more,
    }
    values["recent"] = visit.services.tenants.sessions.recent(cookie)
    return visit.page(
        "tokens.html", crumbs=WAY, tokens=tokens.list(visit.actor), lendable=tokens.lendable(visit.actor),
        issued=issued, **values,
    )  # fmt: skip


@router.post("/tokens")
def issue(visit: Visiting, form: Form) -> Response:
    """Issue a token and show it, once; the page is not kept by the browser."""
    name, days, tenant = text(form, "name").strip(), text(form, "days", "90"), text(form, "tenant", "")
    actions, lends = _marked(form, "scopes"), _marked(form, "lends")
    try:
        scopes, tenant = _scopes(actions, lends, tenant)
        if not (days.isascii() and days.isdigit() and len(days) < 10):
            raise Invalid(f"Days is {days[:20]!r}. Give a number of days.")
        tokens = visit.services.tenants.tokens
        issued = tokens.issue(visit.actor, name, scopes=scopes, tenant=tenant, days=int(days))
    except (Invalid, Denied, NotFound) as error:
        typed = {"name": name, "days": days, "tenant": tenant}
        more: dict[str, Any] = {
            "tried": Tried("token", typed, str(error)),
            "chosen": {*actions, *lends},
            "address": "/tokens",
        }
        return told(error, lambda status: _page(visit, status=status, **more))
    answer = _page(visit, issued)
    answer.headers["Cache-Control"] = "no-store"
    return answer


def _marked(form: FormData, name: str) -> list[str]:
    return [one for one in form.getlist(name) if isinstance(one, str)]


def _scopes(actions: list[str], lends: list[str], tenant: str) -> tuple[tuple[str, ...], str]:
    """Return scopes and tenant; each of `lends` is a tenant and a scope, with a space between."""
    of = {one.partition(" ")[0] for one in lends} | ({tenant} if tenant else set())
    if lends and len(of) > 1:
        raise Invalid(f"A token lends what is of one tenant. This one would be for {' and '.join(sorted(of))}.")
    scopes = (*(one for one in ACTIONS if one in actions), *(one.partition(" ")[2] for one in lends))
    if lends and "write" not in actions:
        raise Invalid("A token that lends is for sending plans. Mark “push, start, cancel” too.")
    return scopes, next(iter(of), "")


@router.post("/tokens/revoke")
def revoke(visit: Visiting, form: Form) -> Response:
    """Revoke a token, once it has been asked."""
    tokens, id = visit.services.tenants.tokens, text(form, "id")
    named = [one.name for one in tokens.list(visit.actor) if one.id == id]
    if named and not confirmed(form):
        words = "Programs that use it are refused from then on."
        going = Going(f"Revoke the token {named[0]}?", words, "Revoke", "/tokens")
        return ask(visit, form, going, [*WAY, ("Revoke", "")])
    tokens.revoke(visit.actor, id)
    return to("/tokens")


@router.post("/tokens/password")
def set_password(visit: Visiting, form: Form) -> Response:
    """Set the person's password and end the other sessions; who signed in long ago gives the present one, too."""
    tenants, cookie = visit.services.tenants, visit.request.cookies.get(COOKIE, "")
    try:
        if not tenants.sessions.recent(cookie):
            tenants.people.check_password(visit.actor.name, text(form, "present", ""))
        tenants.people.set_password(visit.actor, text(form, "password"))
    except (Invalid, Denied, TryLater) as error:
        words = PRESENT if isinstance(error, Denied) and visit.actor.via == "session" else str(error)
        tried = Tried("password", {}, words)
        return told(error, lambda status: _page(visit, status=status, tried_password=tried, address="/tokens"))
    tenants.sessions.close_others(cookie)
    return _page(visit, password_set=True, address="/tokens")
