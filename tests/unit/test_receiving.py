"""What is received at once, at both ends of an isolate's socket: little as a rule, much of what is long."""

import asyncio
import json
import socket
import threading
from collections.abc import Iterator

import pytest

from stepwell.authoring.wire import Wire
from stepwell.engine.lines import Lines
from stepwell.engine.specs import Limits

USUAL, MUCH = 16_384, 262_144


class Asked:
    """A socket that remembers how many bytes it was asked for."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self.sizes: list[int] = []

    def recv(self, size: int) -> bytes:
        self.sizes.append(size)
        return self._sock.recv(size)

    def __getattr__(self, name: str) -> object:
        return getattr(self._sock, name)


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, Asked]]:
    one, other = socket.socketpair()
    with one, other:
        yield one, Asked(other)


def send(sock: socket.socket, *lines: object) -> threading.Thread:
    thread = threading.Thread(target=sock.sendall, args=[b"".join(json.dumps(line).encode() + b"\n" for line in lines)])
    thread.start()
    return thread


def test_an_isolate_asks_for_much_only_while_a_long_line_comes(pair: tuple[socket.socket, Asked]) -> None:
    host, sock = pair
    wire = Wire(sock)  # type: ignore[arg-type]
    long = "x" * 300_000
    for line in ("short", long, "short", "again"):
        thread = send(host, line)
        assert wire.read_line() == line
        thread.join()
    assert sock.sizes[:2] == [USUAL, USUAL]
    assert MUCH in sock.sizes[2:-2]
    assert sock.sizes[-1] == USUAL


async def test_the_engine_asks_for_much_only_while_a_long_line_comes(pair: tuple[socket.socket, Asked]) -> None:
    isolate, sock = pair
    lines = Lines(sock, Limits())  # type: ignore[arg-type]
    heard: asyncio.Queue[bytes] = asyncio.Queue()
    lines.listen(heard.put_nowait, lambda trouble: None)
    long = "x" * 300_000
    for line in ("short", long, "short", "again"):
        thread = send(isolate, line)
        assert json.loads(await heard.get()) == line
        thread.join()
    lines.close()
    assert sock.sizes[:2] == [USUAL, USUAL]
    assert MUCH in sock.sizes[2:-2]
    assert sock.sizes[-1] == USUAL
