"""Requests whose head never ends: the parser keeps all that it was sent, so anybody could fill the server's memory.

What a head may take is bounded, and how long it may take: who opens connections and says nothing holds a descriptor
each, and a process has only so many.
"""

import asyncio

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEAD_BYTES = 64 * 1024
HEAD_SECONDS = 30.0


class BoundedHeads(HttpToolsProtocol):
    """uvicorn's protocol with bounds on the heads of requests."""

    head_seconds = HEAD_SECONDS
    _in_head = True
    _head = 0  # bytes of it so far
    _end: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Expect the first head."""
        super().connection_made(transport)
        self._expect_end()

    def connection_lost(self, exc: Exception | None) -> None:
        """Expect nothing more."""
        self._cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take what came; a head that is still not over may have grown too long."""
        super().data_received(data)
        if self._in_head and not self.transport.is_closing():
            self._head += len(data)
            if self._head > HEAD_BYTES:
                self.send_400_response(f"The head of the request is larger than {HEAD_BYTES} bytes.")

    def on_message_begin(self) -> None:
        """Begin to count."""
        super().on_message_begin()
        self._in_head, self._head = True, 0
        self._expect_end()

    def on_headers_complete(self) -> None:
        """End to count."""
        self._in_head = False
        self._cancel()
        super().on_headers_complete()

    def _expect_end(self) -> None:
        self._cancel()
        self._end = self.loop.call_later(self.head_seconds, self._give_up)

    def _cancel(self) -> None:
        if self._end is not None:
            self._end.cancel()
            self._end = None

    def _give_up(self) -> None:
        if self._in_head:
            self.transport.close()
