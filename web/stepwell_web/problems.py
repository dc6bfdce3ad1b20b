"""Failures as people and programs read them: an error page, or problem+json (RFC 9457) under /api/."""

import logging
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from urllib.parse import quote

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, RedirectResponse, Response

from stepwell.errors import Conflict, Denied, Invalid, NotFound, StepwellError, TryLater, Unavailable
from stepwell_web.security import HEADERS
from stepwell_web.visits import SigninNeeded, any_visit

logger = logging.getLogger("stepwell.web")
_STATUS: tuple[tuple[type[StepwellError], int], ...] = (
    (Invalid, 422), (NotFound, 404), (Denied, 403), (Conflict, 409), (TryLater, 429), (Unavailable, 503),
)  # fmt: skip
_HEADINGS = {
    403: "Not allowed", 404: "Not found", 405: "Not possible here", 409: "Somebody was first", 413: "Too large",
    422: "That does not work yet", 429: "Too much at once", 500: "Something broke", 503: "Not available here",
}  # fmt: skip
_ADVICE = {
    404: "Check the address. If somebody sent you here, ask them whether you may see it.",
    403: "Ask an owner for the role you need, or sign in as somebody else.",
    409: "Load the page again to see where it stands.",
    422: "Go back, correct it and send it again.",
    429: "Wait a moment, then try again.",
}


@dataclass(frozen=True)
class Failure:
    """What went wrong, in the terms of HTTP."""

    status: int
    detail: str
    kind: str
    retry_after: float | None = None

    @property
    def title(self) -> str:
        """The standard's phrase for the status."""
        return HTTPStatus(self.status).phrase


def failure_of(error: Exception) -> Failure:
    """Translate an exception."""
    if isinstance(error, StepwellError):
        status = next((s for kind, s in _STATUS if isinstance(error, kind)), 500)
        after = error.retry_after if isinstance(error, TryLater) else None
        return Failure(status, str(error), type(error).__name__.lower(), after)
    if isinstance(error, RequestValidationError):
        for wrong in error.errors():
            if wrong["loc"][:1] == ("path",):
                given = str(wrong.get("input", ""))[:80]
                return Failure(
                    404, f"There is nothing at this address: its {wrong['loc'][1]} cannot be {given!r}.", "notfound"
                )
        return Failure(422, "; ".join(_words(e["loc"][1:], e["msg"]) for e in error.errors()), "invalid")
    if isinstance(error, HTTPException):
        said = error.detail if error.detail != HTTPStatus(error.status_code).phrase else ""
        detail = said or ("There is no such page." if error.status_code == 404 else "This address does not take that.")
        return Failure(error.status_code, detail, "http")
    if isinstance(error, UnicodeEncodeError):
        return Failure(422, "A text holds half a character (a lone surrogate), which nothing can keep.", "invalid")
    return Failure(500, "The server made a mistake.", "bug")


def _words(place: tuple[str | int, ...], message: str) -> str:
    if not place:
        return "The body is not what is expected here. Send a JSON object, with 'Content-Type: application/json'."
    return f"{'.'.join(map(str, place))}: {message}"


def install(app: FastAPI) -> None:
    """Answer every exception of the app."""
    for kind in (StepwellError, RequestValidationError, HTTPException, UnicodeEncodeError, Exception):
        app.add_exception_handler(kind, _answer)
    app.add_exception_handler(SigninNeeded, _to_signin)


async def _to_signin(request: Request, error: Exception) -> Response:
    """Lead to the sign-in and back; a stream or form just says no."""
    if request.method != "GET" or request.url.path.endswith("/stream"):
        return await _answer(request, HTTPException(401, "Sign in first."))
    path = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    return RedirectResponse("/signin" + (f"?next={quote(path)}" if path != "/" else ""), 303)


async def _answer(request: Request, error: Exception) -> Response:
    failure = failure_of(error)
    reference = ""
    if failure.status >= 500 and not isinstance(error, Unavailable):
        reference = uuid.uuid4().hex[:12]
        logger.error("%s %s failed [%s]", request.method, request.url.path, reference, exc_info=error)
    if request.url.path.startswith("/api/"):
        answer = problem(failure, reference)
    else:
        answer = await run_in_threadpool(_page, request, failure, reference)
    if failure.status == 500:  # Starlette answers these outside of all middleware
        answer.headers.update(HEADERS)
    return answer


def told(error: StepwellError, page: Callable[[int], Response]) -> Response:
    """Answer a failure with the page that it came from, made for the status, so that nothing typed there is lost."""
    failure = failure_of(error)
    answer = page(failure.status)
    answer.headers.update(_headers(failure))
    return answer


def problem(failure: Failure, reference: str = "") -> Response:
    """Write a failure for programs."""
    headers = _headers(failure) | ({"WWW-Authenticate": "Bearer"} if failure.status == 401 else {})
    body = {
        "type": f"urn:stepwell:{failure.kind}",
        "title": failure.title,
        "status": failure.status,
        "detail": failure.detail,
    }
    if reference:
        body["instance"] = f"urn:stepwell:error:{reference}"
    return JSONResponse(body, failure.status, headers, media_type="application/problem+json")


def _headers(failure: Failure) -> dict[str, str]:
    return {} if failure.retry_after is None else {"Retry-After": str(round(failure.retry_after))}


def _page(request: Request, failure: Failure, reference: str) -> Response:
    visit = any_visit(request)
    advice = _ADVICE.get(failure.status, "")
    heading = _HEADINGS.get(failure.status, failure.title.capitalize())
    if reference:
        advice = f"It is in the server's log under {reference}. Please report it."
    return visit.page(
        "error.html", crumbs=[("Home", "/"), (heading, "")], status=failure.status, code=failure.status,
        detail=failure.detail, advice=advice, heading=heading, **_way_out(request, failure, visit.actor.signed_in),
    )  # fmt: skip


def _way_out(request: Request, failure: Failure, known: bool) -> dict[str, str]:
    if not known:
        return {"back": "/signin", "back_words": "Sign in"}
    parts = request.url.path.strip("/").split("/")
    if failure.status in (409, 422, 403) and len(parts) >= 2:
        run = len(parts) >= 4 and parts[2] == "runs"
        form = request.method == "POST" and (parts[1] == "-" or parts[2:3] == ["settings"])  # of that page
        return {
            "back": "/" + "/".join(parts[: 4 if run else 3 if form else 1 if parts[1] == "-" else 2]),
            "back_words": "Back to the run" if run else "Back",
        }
    return {"back": "/", "back_words": "Go home"}
