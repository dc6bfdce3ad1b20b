"""The application: everything HTTP put together.

Imported late, after the engine has started: FastAPI costs half a second that a restart need not wait for.
"""

import gzip
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from mimetypes import guess_type
from typing import Any

from fastapi import FastAPI
from starlette.datastructures import Headers
from starlette.middleware import Middleware
from starlette.responses import PlainTextResponse, Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from stepwell.ci.services import Services
from stepwell.repos.wire import Wire, WireLimits
from stepwell_web import packed, problems
from stepwell_web.api import admin as api_admin
from stepwell_web.api import artifacts as api_artifacts
from stepwell_web.api import bulk, logs, people, plans, quotas, repos
from stepwell_web.api import caches as api_caches
from stepwell_web.api import moments as api_moments
from stepwell_web.api import reports as api_reports
from stepwell_web.api import runners as api_runners
from stepwell_web.api import runs as api_runs
from stepwell_web.api import runsearch as api_runsearch
from stepwell_web.api import usage as api_usage
from stepwell_web.git import git_routes
from stepwell_web.gitaccess import authorizer
from stepwell_web.live import Feeds, Hub
from stepwell_web.pages import (
    admin,
    artifacts,
    caches,
    changes,
    code,
    home,
    log,
    moments,
    playground,
    repository,
    review,
    run,
    runners,
    runsearch,
    search,
    signin,
    source,
    tenant,
    tests,
    timeline,
    tokens,
)
from stepwell_web.pages import runs as runs_pages
from stepwell_web.security import Guard
from stepwell_web.templating import STATIC, Templates, build, static_names, static_packed
from stepwell_web.visits import Web

KEPT = "public, max-age=31536000, immutable"


class Static(StaticFiles):
    """Static files: packed and answered from memory, under the hash of their build to be kept for ever."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        asked, _, name = path.partition("/")
        if scope["method"] == "GET" and name in static_names():
            headers, content = {"Vary": "Accept-Encoding"}, static_packed(name)
            if asked == build():
                headers["Cache-Control"] = KEPT
            if packed.takes_gzip(Headers(scope=scope).get("accept-encoding", "")):
                headers["Content-Encoding"] = "gzip"
            else:
                content = gzip.decompress(content)
            return Response(content, headers=headers, media_type=guess_type(name)[0])
        return await super().get_response(name, scope)


def create_app(services: Services, banner: str = "") -> FastAPI:
    """Build the app over the services; `banner` says on each page why steps run without the wall."""
    web = Web(services, Templates(), Hub(), banner)
    limits = WireLimits(memory_bytes=services.settings.git_memory_mb << 20)
    wire = Wire(services.settings.state, services.repositories, services.pushes, limits)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncGenerator[None, None]:
        web.hub.start()
        await wire.wait_for_orphans()
        stops = _feed(web)
        yield
        web.hub.close()
        for stop in stops:
            stop()
        await wire.close()

    app = FastAPI(
        title="Stepwell", version="1", lifespan=lifespan, docs_url=None, redoc_url=None,
        openapi_url="/api/v1/openapi.json",
        middleware=[Middleware(Guard, base_url=web.base)],
    )  # fmt: skip
    app.state.web = web
    problems.install(app)
    app.mount("/static", Static(directory=STATIC), name="static")
    app.add_api_route("/healthz", _healthy, include_in_schema=False)
    for part in (
        api_runs, plans, api_artifacts, api_reports, bulk, api_caches, logs, api_moments, repos, people, quotas,
        api_runners, api_usage, api_admin, api_runsearch,
    ):  # fmt: skip
        app.include_router(part.router, prefix="/api/v1")
    app.router.routes.extend(git_routes(wire, authorizer(services.tenants)))
    for pages in (
        signin, tokens, search, playground, admin, home, tenant, runners, runs_pages, runsearch, repository, caches,
        code, run, log, review, source, timeline, changes, tests, artifacts, moments,
    ):  # fmt: skip
        app.include_router(pages.router)
    return app


def _feed(web: Web) -> list[Callable[[], Any]]:
    """Have the engine and the log store tell the hub."""
    feeds = Feeds(web.hub)
    return [web.services.engine.subscribe(feeds.news), web.services.logs.follow(feeds.grown)]


def _healthy() -> Response:
    """Say that the process answers."""
    return PlainTextResponse("ok\n")
