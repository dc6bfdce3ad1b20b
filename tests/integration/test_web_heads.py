"""Heads of requests that never end, from people whom nobody knows."""

import asyncio
import socket
from collections.abc import Iterator

import httpx
import pytest
from protocols import served

from stepwell_web import security
from stepwell_web.heads import HEAD_BYTES, BoundedHeads


class Hasty(BoundedHeads):
    head_seconds = 0.3


@pytest.fixture(scope="module")
def here() -> Iterator[tuple[str, int]]:
    with served(BoundedHeads) as place:
        yield place


@pytest.mark.parametrize("begun", [b"GET / HTTP/1.1\r\nX-A: ", b"GET /"])
def test_a_head_that_is_too_large_is_refused_and_said_why(here: tuple[str, int], begun: bytes) -> None:
    with socket.create_connection(here, timeout=20) as large:
        large.sendall(begun + b"a" * HEAD_BYTES)
        answer = large.recv(65536)
    assert answer.startswith(b"HTTP/1.1 400 ") and b"The head of the request is larger than 65536 bytes." in answer
    assert httpx.get(f"http://{here[0]}:{here[1]}/", timeout=60).text == "0 bytes"


def test_a_body_behind_a_head_is_not_counted_and_a_connection_serves_again(here: tuple[str, int]) -> None:
    with httpx.Client(base_url=f"http://{here[0]}:{here[1]}", timeout=60) as client:
        for size in (0, 4 * HEAD_BYTES, 1):
            assert client.post("/", content=b"x" * size).text == f"{size} bytes"


@pytest.mark.parametrize("said", [b"", b"GET / HTTP/1.1\r\nHost: x\r\n"])
def test_who_does_not_end_a_head_is_not_waited_for(said: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    with served(Hasty) as place, socket.create_connection(place, timeout=60) as slow:
        slow.sendall(said)
        assert slow.recv(100) == b""
        monkeypatch.setattr(Hasty, "head_seconds", 60.0)  # for others, however slow they are here
        with httpx.Client(base_url=f"http://{place[0]}:{place[1]}", timeout=60) as client:
            assert client.get("/", timeout=60).text == client.get("/", timeout=60).text == "0 bytes"


async def test_a_body_that_does_not_end_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(security, "BODY_SECONDS", 0.2)
    came = iter([{"type": "http.request", "body": b"a", "more_body": True}])

    async def receive() -> dict[str, object]:
        for message in came:
            return message
        await asyncio.Event().wait()
        raise AssertionError("nothing is set")

    bounded = security._bounded(receive)
    assert (await bounded())["body"] == b"a"
    assert await bounded() == {"type": "http.disconnect"}
