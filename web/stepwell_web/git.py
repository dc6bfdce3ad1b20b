"""Smart HTTP for stock git clients at `/{tenant}/{repo}.git`; the work is done by `stepwell.repos.wire`.

The request's body is read and the answer sent side by side, by one Response that talks to the server directly:
Starlette's StreamingResponse listens for disconnects itself and takes body messages away from whoever reads them.
The status is sent with the first byte of git's output, so that a bad body still gets a proper answer before.

git shows text/plain bodies of refusals to people as `remote: …` lines, hence plain sentences here.
"""

import asyncio
import logging
import uuid
import zlib
from base64 import b64decode
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Route
from starlette.types import Receive, Scope, Send

from stepwell.errors import Conflict, Denied, Invalid, NotFound, StepwellError, TryLater, Unavailable
from stepwell.repos.many_refs import MANY
from stepwell.repos.names import check_name
from stepwell.repos.pktline import advertisement, are_more
from stepwell.repos.push import PushContext
from stepwell.repos.wire import CHUNK, SERVICES, Exchange, Service, Wire, WireLimits

log = logging.getLogger(__name__)

Action = Literal["read", "write"]
_FRESH = {
    "Cache-Control": "no-cache, max-age=0, must-revalidate",
    "Expires": "Fri, 01 Jan 1980 00:00:00 GMT",
    "Pragma": "no-cache",
}
_ENCODINGS = ("", "identity", "gzip", "x-gzip")


class Unauthorized(StepwellError):
    """Nobody yet, or a token that is not good (any more): git then asks for another."""


class TooLarge(Invalid):
    """The request's body has more bytes than are taken."""


class TimedOut(StepwellError):
    """The client stopped sending."""


_STATUS: tuple[tuple[type[StepwellError], int], ...] = (
    (Unauthorized, 401),
    (NotFound, 404),
    (Denied, 403),
    (TooLarge, 413),
    (TimedOut, 408),
    (Invalid, 400),
    (Conflict, 409),
    (TryLater, 503),
    (Unavailable, 503),
)


@dataclass(frozen=True)
class Access:
    """What a caller may do: in which repository, as whom. `actor` reaches the push handler as it is."""

    repository: str
    actor: Any


Authorize = Callable[[str, str, str | None, str | None, Action], Awaitable[Access]]
"""(tenant, repository name, user name, password, action) → Access. The password is the token.

Raises Unauthorized for a missing or bad token, NotFound for a missing repository and for strangers alike, Denied for
people who may read but not write. Must not block the event loop.
"""


class GoneAway(Exception):
    """The client closed the connection before its request was complete."""


def git_routes(wire: Wire, authorize: Authorize) -> list[BaseRoute]:
    """Return the routes of the git endpoint; put them before routes with `/{tenant}/{repo}` in their path."""
    endpoint = GitEndpoint(wire, authorize)
    base = "/{tenant}/{repo}.git"
    return [
        Route(f"{base}/info/refs", endpoint.refs, methods=["GET"]),
        Route(f"{base}/git-upload-pack", endpoint.upload, methods=["POST"]),
        Route(f"{base}/git-receive-pack", endpoint.receive, methods=["POST"]),
        Route(f"{base}/{{rest:path}}", endpoint.other, methods=["GET"]),
        Route("/{tenant}/{repo}/info/refs", endpoint.without_ending, methods=["GET"]),
    ]


class GitEndpoint:
    """The handlers: who may, then git."""

    def __init__(self, wire: Wire, authorize: Authorize) -> None:
        self._wire = wire
        self._authorize = authorize

    async def refs(self, request: Request) -> Response:
        """Answer the first request of every fetch and push."""
        service = _service(request.query_params.get("service"))
        if service is None:
            return _plain(403, "This server speaks git's smart protocol only. Use git 1.6.6 or later.")
        try:
            access = await self._access(request, service)
            tenant, protocol = request.path_params["tenant"], request.headers.get("git-protocol")
            refs = await self._wire.advertise(tenant, access.repository, service, protocol)
        except StepwellError as error:
            return refusal(error)
        return Response(
            advertisement(service, refs), media_type=f"application/x-{service}-advertisement", headers=_FRESH
        )

    async def upload(self, request: Request) -> Response:
        """Serve a fetch or clone."""
        return await self._rpc(request, "git-upload-pack")

    async def receive(self, request: Request) -> Response:
        """Take a push."""
        return await self._rpc(request, "git-receive-pack")

    async def other(self, request: Request) -> Response:
        """Refuse the files of the dumb protocol."""
        return _plain(403, "This server speaks git's smart protocol only.")

    async def without_ending(self, request: Request) -> Response:
        """Send a client that left out `.git` to the full address."""
        tenant, repo = quote(request.path_params["tenant"]), quote(request.path_params["repo"])
        query = f"?{request.url.query}" if request.url.query else ""
        return RedirectResponse(f"{request.scope.get('root_path', '')}/{tenant}/{repo}.git/info/refs{query}", 301)

    async def _rpc(self, request: Request, service: Service) -> Response:
        try:
            if request.headers.get("content-type") != f"application/x-{service}-request":
                return _plain(415, f"Send the type application/x-{service}-request.")
            encoding = request.headers.get("content-encoding", "").lower()
            if encoding not in _ENCODINGS:
                return _plain(415, f"Encoding {encoding[:40]!r} is not known here. Use gzip or none.")
            access = await self._access(request, service)
        except StepwellError as error:
            return refusal(error)
        tenant, repo = request.path_params["tenant"], request.path_params["repo"]
        is_gzip = encoding.endswith("gzip")
        protocol = request.headers.get("git-protocol")
        if service == "git-receive-pack":
            context = PushContext(uuid.uuid4().hex, access.repository, tenant, repo, access.actor)
            return GitResponse(partial(self._wire.receive, context, protocol), service, self._wire.limits, gzip=is_gzip)
        git = self._wire.upload(tenant, access.repository, protocol)
        return GitResponse(lambda _: git, service, self._wire.limits, gzip=is_gzip)

    async def _access(self, request: Request, service: Service) -> Access:
        tenant, repo = request.path_params["tenant"], request.path_params["repo"]
        check_name(tenant, "tenant")
        check_name(repo)
        user, password = credentials(request.headers.get("authorization"))
        action: Action = "write" if service == "git-receive-pack" else "read"
        return await self._authorize(tenant, repo, user, password, action)


class GitResponse(Response):
    """Runs one git process: the request's body is its input, its output the answer."""

    def __init__(
        self,
        git: Callable[[bool], AbstractAsyncContextManager[Exchange]],  # told whether a push moves many refs
        service: Service,
        limits: WireLimits,
        *,
        gzip: bool,
    ) -> None:
        super().__init__(None, 200, _FRESH, f"application/x-{service}-result")
        self.raw_headers = [header for header in self.raw_headers if header[0] != b"content-length"]
        self._git = git
        self._is_push = service == "git-receive-pack"
        self._gzip = gzip
        self._idle_s = limits.idle_s
        self._started = False
        self._fed = asyncio.Event()
        # A pack over git's own limit gets git's words; the rest of it is read and dropped up to twice that size.
        self._most = 2 * limits.pack_bytes + 1024**2 if self._is_push else limits.fetch_request_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            body = body_chunks(receive, self._idle_s)
            body = inflated(body) if self._gzip else body
            first = await beginning(body) if self._is_push else b""
            async with self._git(are_more(first, MANY) is True) as exchange:
                await self._serve(exchange, first, body, receive, send)
        except GoneAway:
            return
        except StepwellError as error:
            if self._started:
                log.info("a git request was cut: %s", error)  # incomplete, so the server closes the connection
                return
            await refusal(error)(scope, receive, send)

    async def _serve(
        self, exchange: Exchange, first: bytes, body: AsyncIterator[bytes], receive: Receive, send: Send
    ) -> None:
        """Feed and answer side by side; whichever fails ends the other. Ends when git has ended or the client left."""
        feed = asyncio.create_task(self._feed(exchange, first, body, receive))
        answer = asyncio.create_task(self._answer(exchange, send))
        try:
            await asyncio.wait((feed, answer), return_when=asyncio.FIRST_COMPLETED)
            if feed.done():
                await feed
            await answer
        finally:
            for task in (feed, answer):
                task.cancel()
            await asyncio.gather(feed, answer, return_exceptions=True)

    async def _feed(self, exchange: Exchange, first: bytes, body: AsyncIterator[bytes], receive: Receive) -> None:
        """Pass the body on, then wait for the client to leave. Raises GoneAway when it does."""
        total = len(first)
        await exchange.write(first)
        async for chunk in body:
            total += len(chunk)
            if total > self._most:
                raise TooLarge(f"The request has more than {self._most:,} bytes. Push in smaller parts.")
            await exchange.write(chunk)
        exchange.end_input()
        self._fed.set()
        while (await receive())["type"] != "http.disconnect":
            pass
        raise GoneAway

    async def _answer(self, exchange: Exchange, send: Send) -> None:
        while data := await exchange.read():
            await self._send(send, data)
        await exchange.finish()
        await self._fed.wait()  # git may answer early; clients read the answer only after they have sent everything
        await self._send(send, b"", more=False)

    async def _send(self, send: Send, data: bytes, *, more: bool = True) -> None:
        try:
            async with asyncio.timeout(self._idle_s):
                if not self._started:
                    self._started = True
                    await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
                await send({"type": "http.response.body", "body": data, "more_body": more})
        except (TimeoutError, OSError) as error:
            raise GoneAway from error


async def body_chunks(receive: Receive, idle_s: float) -> AsyncIterator[bytes]:
    """Yield the request's body. Raises GoneAway when the client leaves, TimedOut when it sends nothing for `idle_s`."""
    while True:
        try:
            async with asyncio.timeout(idle_s):
                message = await receive()
        except TimeoutError as error:
            raise TimedOut(f"Nothing arrived for {idle_s:g} seconds. Please try again.") from error
        if message["type"] == "http.disconnect":
            raise GoneAway
        if message.get("body"):
            yield message["body"]
        if not message.get("more_body", False):
            return


async def beginning(body: AsyncIterator[bytes]) -> bytes:
    """Read as much of a push as tells whether it moves many refs."""
    first = bytearray()
    while are_more(first, MANY) is None and (chunk := await anext(body, b"")):
        first += chunk
    return bytes(first)


async def inflated(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Yield the content of a gzip stream in pieces of bounded size. Raises Invalid when it is broken or cut short."""
    decoder = zlib.decompressobj(zlib.MAX_WBITS | 16)
    async for chunk in chunks:
        rest = chunk
        while rest and not decoder.eof:
            try:
                piece = decoder.decompress(rest, CHUNK)
            except zlib.error as error:
                raise Invalid("The request's body is no valid gzip stream.") from error
            rest = decoder.unconsumed_tail
            if piece:
                yield piece
    if not decoder.eof:
        raise Invalid("The request's gzip body ends too early.")


def credentials(header: str | None) -> tuple[str | None, str | None]:
    """Return user name and password of a Basic header, or two Nones. Raises Unauthorized for a garbled one."""
    if not header:
        return None, None
    scheme, _, encoded = header.partition(" ")
    try:
        if scheme.lower() != "basic":
            raise ValueError(scheme)
        user, found, password = b64decode(encoded, validate=True).decode("utf-8").partition(":")
        if not found:
            raise ValueError("no colon")
    except ValueError as error:
        raise Unauthorized("Send user name and token by HTTP Basic authentication.") from error
    return user, password


def refusal(error: StepwellError) -> Response:
    """Turn an error into the answer that makes git say it well."""
    status = next((status for kind, status in _STATUS if isinstance(error, kind)), 500)
    if status == 500:
        log.error("the git endpoint met an error it does not know", exc_info=error)
        return _plain(500, "The server failed. Please report this.")
    headers = {}
    if status == 401:
        headers["WWW-Authenticate"] = 'Basic realm="Stepwell: any name, and a token as password"'
    if isinstance(error, TryLater):
        headers["Retry-After"] = str(max(1, round(error.retry_after)))
    return _plain(status, str(error), headers)


def _plain(status: int, text: str, headers: Mapping[str, str] | None = None) -> Response:
    return PlainTextResponse(f"{text}\n", status, {**_FRESH, **(headers or {})})


def _service(name: str | None) -> Service | None:
    return next((service for service in SERVICES if service == name), None)
