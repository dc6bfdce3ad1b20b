"""A request with the person behind it: what every handler is given."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any
from urllib.parse import quote

from fastapi import Depends, Query, Request
from starlette.datastructures import FormData
from starlette.responses import HTMLResponse, RedirectResponse, Response

from stepwell.ci.services import Services
from stepwell.ci.views import RepositoryView
from stepwell.errors import Invalid
from stepwell.tenants.actors import NOBODY, Actor
from stepwell_web import packed
from stepwell_web.live import Hub, notes_topic, tenant_topic
from stepwell_web.readme import Readmes
from stepwell_web.runsearch import RunSearch
from stepwell_web.stepparts import StepParts
from stepwell_web.templating import Templates

COOKIE = "stepwell"
SESSION_SECONDS = 30 * 86400
FARTHEST = 2**53
"""The largest number that an address may name: every program knows it exactly, and every table."""


class SigninNeeded(Exception):
    """The page is for people who are known; they are led to the sign-in first."""


@dataclass(frozen=True)
class Web:
    """What the app holds: the services, its templates and its live news."""

    services: Services
    templates: Templates
    hub: Hub
    wall: str = ""
    step_parts: StepParts = field(default_factory=StepParts)
    readmes: Readmes = field(default_factory=Readmes)
    run_search: RunSearch = field(default_factory=RunSearch)

    @property
    def base(self) -> str:
        """Address that people use."""
        return self.services.settings.base_url


@dataclass(frozen=True)
class Tried:
    """A form that was refused: which of the page's, what was typed, why, and at which field ("": at none alone)."""

    form: str
    typed: Mapping[str, str]
    words: str
    field: str = ""


@dataclass(frozen=True)
class Visit:
    """One request of one actor."""

    request: Request
    web: Web
    actor: Actor
    news_told: str  # how much there was of the actor's tenants before anything was read
    notes_told: str  # how many there were of runs of the tenant that the address names

    @property
    def services(self) -> Services:
        """The product behind the pages."""
        return self.web.services

    def page(self, template: str, *, crumbs: list[tuple[str, str]], status: int = 200, **values: Any) -> HTMLResponse:
        """Render a page with the chrome of this visitor."""
        html = self.web.templates.render(template, self._chrome(crumbs, values.get("places")) | values)
        return packed.page(self.request, html, status)

    def _chrome(self, crumbs: list[tuple[str, str]], places: list[RepositoryView] | None) -> dict[str, Any]:
        known = self.actor.signed_in
        if places is None:
            places = self.services.catalog.list(self.actor, last_runs=False) if known else []
        return {
            "me": self.actor,
            "news_told": self.news_told,
            "notes_told": self.notes_told,
            "crumbs": crumbs,
            "wall": self.web.wall,
            "base": self.web.base,
            "inbox": self.services.runs.inbox_count(self.actor) if known else 0,
            "tried": None,  # a form of the page that was refused: Tried
            "address": "",  # of the page that answers a form of it, when the form's own is none to come back to
            "places": places,
            "runs_url": self._runs_url({place.full_name for place in places}),
        }

    def _runs_url(self, places: set[str]) -> str:
        """Where the runs are that are nearest to this page: its repository's, else its tenant's, else the first's."""
        tenant, name = (*self.request.url.path.split("/")[1:3], "", "")[:2]
        if f"{tenant}/{name}" in places:
            return f"/{tenant}/{name}/runs"
        tenants = self.actor.tenants
        return f"/{tenant if tenant in tenants else next(iter(tenants))}/-/runs" if tenants else "/"


def web_of(request: Request) -> Web:
    """Return what the app holds."""
    web: Web = request.app.state.web
    return web


def actor_of(request: Request) -> Actor:
    """Find out who asks: a token in the header, else the session's cookie."""
    tenants = web_of(request).services.tenants
    scheme, _, secret = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return tenants.tokens.actor(secret.strip()) or NOBODY
    cookie = request.cookies.get(COOKIE)
    return (tenants.sessions.actor(cookie) if cookie else None) or NOBODY


def any_visit(request: Request) -> Visit:
    """Take a visit of anybody."""
    web, actor = web_of(request), actor_of(request)
    news = web.hub.told(map(tenant_topic, actor.tenants))
    notes = web.hub.told([notes_topic(request.path_params.get("tenant", ""))])
    return Visit(request, web, actor, news, notes)


def visit(request: Request) -> Visit:
    """Take a visit of somebody known, or lead them to the sign-in."""
    found = any_visit(request)
    if not found.actor.signed_in:
        raise SigninNeeded
    return found


async def form(request: Request) -> FormData:
    """Read the form of a POST."""
    return await request.form(max_files=0, max_fields=200)


Place = Annotated[int, Query(ge=0, le=FARTHEST)]
"""A number of an address after which something is asked for."""
Visiting = Annotated[Visit, Depends(visit)]
AnyVisit = Annotated[Visit, Depends(any_visit)]
Form = Annotated[FormData, Depends(form)]


def place_of(written: str, default: int) -> int:
    """Return the place that a stream's `Last-Event-ID` names; the default for anything else."""
    return int(written) if written.isascii() and written.isdigit() and len(written) <= len(str(FARTHEST)) else default


def text(form: FormData, name: str, default: str | None = None) -> str:
    """Return a field of a form; without a default it must be there."""
    value = form.get(name, default)
    if not isinstance(value, str):
        raise Invalid(f"The form has no field {name!r}. Load the page again.")
    return value


def fields(form: FormData, prefix: str) -> dict[str, str]:
    """Return the fields of a form whose names begin with a prefix, by the rest of the name."""
    return {k.removeprefix(prefix): v for k, v in form.items() if k.startswith(prefix) and isinstance(v, str)}


def words(value: str) -> tuple[str, ...]:
    """Split what people write into a list: by commas or spaces."""
    return tuple(value.replace(",", " ").split())


def to(path: str) -> RedirectResponse:
    """Go on with another page after a form."""
    return RedirectResponse(quote(path, safe="/?=&#:~%+-._@!$'()*;,[]"), 303)


def own_path(value: str | None) -> str:
    """Return a path of ours to go to, never another site."""
    if (
        value
        and value.startswith("/")
        and not value.startswith(("//", "/\\"))
        and not any(c < " " for c in value)  # browsers leave some of them out, and "/\t/" is then another site
    ):
        return value
    return "/"


def signed_in(visit: Visit, session: str, path: str) -> Response:
    """Answer a sign-in: set the cookie and go on."""
    answer = to(path)
    secure = visit.web.base.startswith("https:")
    answer.set_cookie(COOKIE, session, max_age=SESSION_SECONDS, httponly=True, samesite="lax", secure=secure, path="/")
    return answer
