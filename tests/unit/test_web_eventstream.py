"""A stream ends for whoever does not read it, and lives on for whoever is merely quiet."""

import asyncio
from collections.abc import AsyncGenerator

import pytest
from starlette.types import Message

from stepwell_web import streams
from stepwell_web.live import Hub, event
from stepwell_web.streams import EventStream


class Client:
    """Takes the head and `most` pieces, then nothing more; never leaves by itself."""

    def __init__(self, most: int) -> None:
        self.taken: list[bytes] = []
        self._most = most

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.body":
            self.taken.append(message["body"])
            if len(self.taken) >= self._most:
                await asyncio.Event().wait()

    async def receive(self) -> Message:
        await asyncio.Event().wait()
        raise AssertionError


async def test_a_client_that_takes_nothing_is_dropped_and_its_source_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "SLOW_SECONDS", 0.05)
    closed: list[int] = []

    async def source() -> AsyncGenerator[bytes, None]:
        try:
            for _ in range(100):
                yield b"data: x\n\n"
        finally:
            closed.append(1)

    client = Client(3)
    async with asyncio.timeout(10):
        await EventStream(source())({}, client.receive, client.send)
    assert closed == [1] and len(client.taken) == 3


async def test_a_stream_with_nothing_to_say_is_not_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "SLOW_SECONDS", 0.02)
    go, client = asyncio.Event(), Client(100)

    async def source() -> AsyncGenerator[bytes, None]:
        await go.wait()
        yield b"data: late\n\n"

    async def look_often(times: int) -> None:
        for _ in range(times):
            await asyncio.sleep(streams.SLOW_SECONDS)
        go.set()

    async with asyncio.timeout(10):
        await asyncio.gather(EventStream(source())({}, client.receive, client.send), look_often(3))
    assert client.taken[1:] == [b"data: late\n\n", b""]


async def test_a_wait_ends_at_its_own_time_whatever_waits_came_before() -> None:
    hub, loop = Hub(), asyncio.get_running_loop()
    hub.start()
    with hub.subscribe("a") as subscription:
        loop.call_soon(subscription.wake)
        assert await subscription.wait(0.01)  # its timer is left behind
        begun = loop.time()
        assert not await subscription.wait(0.2)
        assert loop.time() - begun >= 0.19
        loop.call_soon(subscription.wake)
        assert await subscription.wait(60)
        assert not await subscription.wait(0)  # sooner than the timer that is left
    assert subscription._timer is None


def test_what_many_are_told_is_written_once() -> None:
    assert event("run", "7", "7:0") is event("run", "7", "7:0")
    assert event("lines", "x" * 200, "7:0") is not event("lines", "x" * 200, "7:0")
    assert event("run", "7\n8", "1:0") == b"event: run\nid: 1:0\ndata: 7\ndata: 8\n\n"
