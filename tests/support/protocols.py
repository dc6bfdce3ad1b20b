"""A server that speaks one of our protocols, on a port of its own."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn
from live import wait_until
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send

from stepwell_web.heads import BoundedHeads
from stepwell_web.security import Guard


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    """Say how many bytes came."""
    body = await Request(scope, receive).body()
    await PlainTextResponse(f"{len(body)} bytes")(scope, receive, send)


@contextmanager
def served(protocol: type[BoundedHeads]) -> Iterator[tuple[str, int]]:
    config = uvicorn.Config(Guard(echo, "http://here"), http=protocol, port=0, lifespan="off", log_level="error")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    wait_until(lambda: server.started, 60, "server")
    host, port = server.servers[0].sockets[0].getsockname()
    yield host, port
    server.should_exit = True
    thread.join(20)
