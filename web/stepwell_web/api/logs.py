"""Logs and live streams for programs.

A followed log is a stream of `log` events; the id of each is the byte after it, so `Last-Event-ID` goes on exactly
there. A followed run is a stream of `entry` events whose ids are journal numbers.
"""

import asyncio
import json
from collections.abc import AsyncGenerator
from typing import Annotated, Protocol

from fastapi import APIRouter, Header, Query
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse

from stepwell_web.api.access import Caller
from stepwell_web.live import encode, event, log_topic, run_topic, tenant_topic
from stepwell_web.streams import KEEP_ALIVE, KEEP_ALIVE_SECONDS, EventStream
from stepwell_web.visits import Place, Visit, place_of

router = APIRouter(tags=["live"])
OWN = "-"
"""Stands for the empty key: the run's own log."""
READ_LIMIT = 1024 * 1024
PACE_SECONDS = 0.02


class Readable(Protocol):
    """A log by bytes."""

    @property
    def size(self) -> int: ...
    @property
    def finished(self) -> bool: ...
    def read(self, offset: int = 0, limit: int = 65536) -> bytes: ...


@router.get("/runs/{id}/log")
def run_log(
    caller: Caller, *, id: str, offset: Place = 0,
    limit: Annotated[int, Query(ge=1, le=64 * READ_LIMIT)] = READ_LIMIT, download: bool = False,
) -> Response:  # fmt: skip
    """Read what the run's code printed outside its steps."""
    log = caller.services.runs.log(caller.actor, id, "")
    return _whole(log, f"{id}.log") if download else _raw(log, offset, limit)


@router.get("/runs/{id}/steps/{key:path}/log/stream")
def follow_log(
    caller: Caller, *, id: str, key: str, attempt: int | None = None, offset: Place = 0,
    last_event_id: Annotated[str, Header()] = "",
) -> Response:  # fmt: skip
    """Follow a step's log from a byte on; `over` comes when the attempt has ended."""
    key = "" if key == OWN else key
    summary = caller.services.runs.summary(caller.actor, id)
    number = attempt or _last_attempt(caller, id, key)
    caller.services.runs.log(caller.actor, id, key, number)  # a stream that has begun can say no 404
    start = place_of(last_event_id, offset)
    return EventStream(_follow_log(caller, summary.id, key, number, start))


@router.get("/runs/{id}/steps/{key:path}/log")
def step_log(
    caller: Caller, *, id: str, key: str, attempt: int | None = None, offset: Place = 0,
    limit: Annotated[int, Query(ge=1, le=64 * READ_LIMIT)] = READ_LIMIT, format: str = "raw", start: int = 0,
    count: Annotated[int, Query(ge=1, le=5000)] = 500, download: bool = False,
) -> Response:  # fmt: skip
    """Read a step's log: raw bytes from an offset, or with `format=json` numbered lines.

    A service beside the step has a log of its own: the key is "test#1@db".
    """
    log = caller.services.runs.log(caller.actor, id, "" if key == OWN else key, attempt)
    if format == "json":
        lines = [
            {"number": one.number + 1, "at": one.at, "text": one.text.decode(errors="replace"), "note": one.note}
            for one in log.lines(start, count)
        ]
        return JSONResponse({"items": lines, "size": log.size, "lines": log.line_count, "finished": log.finished})
    return _whole(log, f"{key}.log") if download else _raw(log, offset, limit)


@router.get("/runs/{id}/steps/{key:path}/result")
def step_result(caller: Caller, *, id: str, key: str) -> Response:
    """Read what a step gave back, as JSON, however large."""
    return StreamingResponse(caller.services.results.read(caller.actor, id, key), media_type="application/json")


def _raw(log: Readable, offset: int, limit: int) -> Response:
    data = log.read(offset, limit)
    headers = {"X-Log-Size": str(log.size), "X-Log-Finished": "true" if log.finished else "false"}
    return PlainTextResponse(data, headers=headers)


def _whole(log: Readable, filename: str) -> Response:
    """Send a log as a file, a piece at a time: it may be larger than what memory is for."""
    safe = "".join(c if c.isascii() and (c.isalnum() or c in "-._") else "-" for c in filename)
    headers = {"Content-Disposition": f'attachment; filename="{safe}"'}
    pieces = (log.read(at, READ_LIMIT) for at in range(0, log.size, READ_LIMIT))
    return StreamingResponse(pieces, headers=headers, media_type="text/plain")


def _last_attempt(caller: Visit, run: str, key: str) -> int:
    view = caller.services.runs.get(caller.actor, run)
    return next((max(s.attempt, 1) for s in view.steps if s.key in (key, key.rpartition("@")[0])), 1)


async def _follow_log(caller: Visit, run: str, key: str, attempt: int, offset: int) -> AsyncGenerator[bytes, None]:
    hub, runs = caller.web.hub, caller.services.runs
    log = await asyncio.to_thread(runs.log, caller.actor, run, key, attempt)
    with hub.subscribe(log_topic(run, key, attempt), run_topic(run)) as subscription:
        while not hub.closed:
            finished = await asyncio.to_thread(_finished, caller, run, key, attempt)
            while data := await asyncio.to_thread(log.read, offset, 65536):
                offset += len(data)
                yield event("log", json.dumps({"text": data.decode(errors="replace")}, ensure_ascii=False), str(offset))
            if finished:
                yield event("over", str(offset), str(offset))
                return
            await asyncio.sleep(PACE_SECONDS)
            if not await subscription.wait(KEEP_ALIVE_SECONDS):
                yield KEEP_ALIVE


def _finished(caller: Visit, run: str, key: str, attempt: int) -> bool:
    view = caller.services.runs.get(caller.actor, run)
    step = next((s for s in view.steps if s.key in (key, key.rpartition("@")[0])), None)
    if step is None or view.summary.finished:
        return view.summary.finished
    return step.ended_at is not None or step.attempt > attempt


@router.get("/runs/{id}/stream")
def follow_run(caller: Caller, *, id: str, after: Place = 0, last_event_id: Annotated[str, Header()] = "") -> Response:
    """Follow a run's journal from an entry on; `over` comes when the run has ended."""
    summary = caller.services.runs.summary(caller.actor, id)
    start = place_of(last_event_id, after)
    return EventStream(_follow_run(caller, summary.id, start))


async def _follow_run(caller: Visit, run: str, seq: int) -> AsyncGenerator[bytes, None]:
    hub, runs, topic = caller.web.hub, caller.services.runs, run_topic(run)
    with hub.subscribe(topic) as subscription:
        missing, look = True, True  # into its row: it may have ended before the entry that was asked for
        while not hub.closed:
            fresh = None if missing else hub.entries(topic, seq)
            if fresh is None:
                found = await asyncio.to_thread(runs.journal, caller.actor, run, after=seq, limit=1000)
                fresh, missing = [(e.seq, encode(e)) for e in found], len(found) == 1000
            if fresh:
                seq = fresh[-1][0]
                yield b"".join(data for _, data in fresh)
            ended = any(b'"type":"ended"' in data for _, data in fresh)
            if ended or (look and not fresh and await _over(caller, run)):
                yield event("over", str(seq), str(seq))
                return
            look = False
            if not missing and not fresh and not await subscription.wait(KEEP_ALIVE_SECONDS):
                look = True
                yield KEEP_ALIVE


async def _over(caller: Visit, run: str) -> bool:
    return (await asyncio.to_thread(caller.services.runs.summary, caller.actor, run)).finished


@router.get("/stream")
def follow_all(caller: Caller, *, since: str = "", last_event_id: Annotated[str, Header()] = "") -> Response:
    """Say `changed` whenever the lists of your tenants' runs or approvals have changed, at once if they have since."""
    return EventStream(_follow_all(caller, last_event_id or since))


async def _follow_all(caller: Visit, since: str) -> AsyncGenerator[bytes, None]:
    hub, topics = caller.web.hub, [tenant_topic(tenant) for tenant in caller.actor.tenants]
    with hub.subscribe(*topics) as subscription:
        seen = since or hub.told(topics)
        while not hub.closed:
            if (now := hub.told(topics)) != seen:
                seen = now
                yield event("changed", "", now)
                await asyncio.sleep(0.25)
            elif not await subscription.wait(KEEP_ALIVE_SECONDS):
                yield KEEP_ALIVE
