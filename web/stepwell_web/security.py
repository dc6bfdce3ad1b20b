"""What every answer says to the browser, and which requests are refused before any handler sees them.

Forms are protected against other sites in two ways that need no token in each form: the session cookie is
SameSite=Lax, so a browser does not send it with another site's POST; and every request that changes something and comes
from a browser must come from our own pages: `Sec-Fetch-Site` says same-origin, or, from browsers without it, `Origin`
names our host. A request with neither is no browser's: it passes only if it carries no cookie (tokens, git).

Scripts and styles come from files of ours only. `require-trusted-types-for` makes the browser refuse HTML made from
strings except through the one policy in static/html.js, which takes what this server rendered.
"""

import asyncio
import re
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

BODY_LIMIT = 2 * 1024 * 1024
BODY_SECONDS = 120.0
CSP = "; ".join((
    "default-src 'self'", "base-uri 'none'", "object-src 'none'", "form-action 'self'", "frame-ancestors 'none'",
    "require-trusted-types-for 'script'", "trusted-types stepwell",
))  # fmt: skip
HEADERS = {
    "Content-Security-Policy": CSP,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
}
_GIT = re.compile(r"/[^/]+/[^/]+\.git/(?:info/refs|git-upload-pack|git-receive-pack)")
"""The endpoint that bounds its bodies itself: no other address may get past the bound here."""
SAFE = frozenset({"GET", "HEAD", "OPTIONS"})


class Guard:
    """Wraps the app: headers on every answer; foreign forms and oversize bodies are refused. Git has its own limits."""

    def __init__(self, app: ASGIApp, base_url: str) -> None:
        self._app = app
        self._host = urlsplit(base_url).netloc
        self._https = base_url.startswith("https:")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)

        async def dressed(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._dress(MutableHeaders(scope=message))
            await send(message)

        if scope["method"] not in SAFE and self._is_foreign(headers):
            refusal = (
                "This request came from another site, so it was not carried out. Open the page here and try again.\n"
            )
            await PlainTextResponse(refusal, 403)(scope, receive, dressed)
        elif _GIT.fullmatch(scope["path"]):
            await self._app(scope, receive, dressed)
        elif int(headers.get("content-length") or 0) > BODY_LIMIT:
            await PlainTextResponse(f"The request is larger than {BODY_LIMIT} bytes.\n", 413)(scope, receive, dressed)
        else:
            await self._app(scope, _bounded(receive), dressed)

    def _dress(self, headers: MutableHeaders) -> None:
        for name, value in HEADERS.items():
            headers.setdefault(name, value)
        headers.setdefault("Cache-Control", "private, no-cache")
        if self._https:
            headers.setdefault("Strict-Transport-Security", "max-age=31536000")

    def _is_foreign(self, headers: Headers) -> bool:
        site = headers.get("sec-fetch-site")
        if site is not None:
            return site not in ("same-origin", "none")
        origin = headers.get("origin")
        if origin is not None:
            return urlsplit(origin).netloc not in (headers.get("host"), self._host)
        return "cookie" in headers


def _bounded(receive: Receive) -> Receive:
    """Count the body as it comes: one without a length may not be endless, nor take for ever."""
    seen, until = 0, asyncio.get_running_loop().time() + BODY_SECONDS
    over = False

    async def bounded() -> Message:
        nonlocal seen, over
        try:
            async with asyncio.timeout_at(None if over else until):
                message = await receive()
        except TimeoutError:
            return {"type": "http.disconnect"}
        if message["type"] == "http.request":
            seen += len(message.get("body", b""))
            over = not message.get("more_body", False)
            if seen > BODY_LIMIT:
                return {"type": "http.disconnect"}
        return message

    return bounded
