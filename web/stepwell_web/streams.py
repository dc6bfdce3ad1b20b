"""Server-sent events as a plain ASGI response: bytes as they come, and an end for clients that do not read."""

import asyncio
from collections.abc import AsyncGenerator

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

KEEP_ALIVE_SECONDS = 15.0
SLOW_SECONDS = 20.0
"""A client that takes none of its data for so long is dropped; it may come back and resume."""
KEEP_ALIVE = b": still here\n\n"


class EventStream(Response):
    """Sends what `source` yields until it ends, the client leaves, or stops reading."""

    media_type = "text/event-stream"

    def __init__(self, source: AsyncGenerator[bytes, None]) -> None:
        super().__init__(headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"})
        del self.headers["content-length"]
        self._source = source
        self._since: float | None = None  # when the piece being sent was given to the server, by the loop's clock
        self._next: asyncio.TimerHandle | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        sender = asyncio.ensure_future(self._send(send))
        leaver = asyncio.ensure_future(_left(receive))
        self._look(sender)
        try:
            await asyncio.wait((sender, leaver), return_when=asyncio.FIRST_COMPLETED)
        finally:
            if self._next is not None:
                self._next.cancel()
            leaver.cancel()
            sender.cancel()
            results = await asyncio.gather(sender, leaver, return_exceptions=True)
            await self._source.aclose()
        for result in results:
            if isinstance(result, Exception) and not isinstance(result, OSError):
                raise result

    async def _send(self, send: Send) -> None:
        await send({"type": "http.response.body", "body": b"retry: 1000\n\n", "more_body": True})
        loop = asyncio.get_running_loop()
        async for data in self._source:
            self._since = loop.time()
            await send({"type": "http.response.body", "body": data, "more_body": True})
            self._since = None
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    def _look(self, sender: "asyncio.Future[None]") -> None:
        """End what is not taken. Looks now and then: a timeout for each piece of a thousand viewers costs more."""
        loop = asyncio.get_running_loop()
        if self._since is not None and loop.time() - self._since >= SLOW_SECONDS:
            sender.cancel()
        else:
            self._next = loop.call_later(SLOW_SECONDS / 2, self._look, sender)


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
