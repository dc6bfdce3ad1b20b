"""A log beside its page: pages of it that are scrolled to, what is found in it, the log itself as a file."""

from collections.abc import Iterator
from typing import Annotated

from fastapi import APIRouter, Query
from starlette.responses import JSONResponse, Response, StreamingResponse

from stepwell.ci.runs import StepLog
from stepwell_web import logsearch, logview, packed
from stepwell_web.logsearch import Found
from stepwell_web.pages.run import BASE, view_of
from stepwell_web.runview import key_of
from stepwell_web.visits import Visit, Visiting

router = APIRouter(include_in_schema=False)
PIECE = 1024 * 1024


def _log(visit: Visit, place: tuple[str, str, int], step: str, attempt: int) -> StepLog:
    view = view_of(visit, *place)
    return visit.services.runs.log(visit.actor, view.summary.id, key_of(view, step), attempt)


@router.get(BASE + "/log")
def page(
    visit: Visiting, *, tenant: str, name: str, number: int, step: str, attempt: int = 1,
    start: Annotated[int, Query(alias="from", ge=1)] = 1, to: Annotated[int | None, Query(ge=1)] = None,
) -> Response:  # fmt: skip
    """Give one page of a log, or the part of it up to line `to`, as HTML, for those scrolled to."""
    log = _log(visit, (tenant, name, number), step, attempt)
    count = min(logview.PAGE, max(0, to - start + 1)) if to else logview.PAGE
    return packed.page(visit.request, f"<ol>{logview.page(log, step, start - 1, count)}</ol>")


@router.get(BASE + "/find")
def find(visit: Visiting, *, tenant: str, name: str, number: int, step: str, q: str, attempt: int = 1) -> Response:
    """Give the numbers of the lines that contain a text."""
    return _numbers(logsearch.find(_log(visit, (tenant, name, number), step, attempt), q[:200]))


@router.get(BASE + "/errors")
def errors(visit: Visiting, *, tenant: str, name: str, number: int, step: str, attempt: int = 1) -> Response:
    """Give the numbers of the lines that look like errors."""
    return _numbers(logsearch.errors(_log(visit, (tenant, name, number), step, attempt)))


def _numbers(found: Found) -> Response:
    return JSONResponse({"count": found.count, "lines": found.lines})


@router.get(BASE + "/raw")
def raw(
    visit: Visiting, *, tenant: str, name: str, number: int, step: str, attempt: int = 1, download: bool = False
) -> Response:
    """Give a whole log as it was written, to look at or to keep; a piece at a time, for it may be large."""
    log = _log(visit, (tenant, name, number), step, attempt)
    safe = "".join(c if c.isascii() and (c.isalnum() or c in "-._") else "-" for c in f"{name}-{number}-{step}.log")
    headers = {"Content-Disposition": f'{"attachment" if download else "inline"}; filename="{safe}"'}
    return StreamingResponse(_pieces(log), headers=headers, media_type="text/plain; charset=utf-8")


def _pieces(log: StepLog) -> Iterator[bytes]:
    at = 0
    while data := log.read(at, PIECE):
        at += len(data)
        yield data
