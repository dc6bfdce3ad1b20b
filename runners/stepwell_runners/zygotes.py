"""The zygote in use, its successors, and which isolates hang on which.

A zygote is replaced after so many isolates or so much time: what a fork shares should not stay the same for ever.
The old one lives on until its last isolate is gone. One that dies takes its isolates along; they end as lost.
"""

import asyncio
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

from stepwell_runners.isolate import Isolate
from stepwell_runners.link import Gone, Link
from stepwell_runners.wall import Order

_ENDING_SECONDS = 5.0


class Zygote:
    """One zygote process and what the host knows of its isolates."""

    def __init__(self) -> None:
        self.link = Link("stepwell_runners.zygote", self._told, self._died)
        self.isolates: dict[int, Isolate] = {}
        self.booted = 0
        self.pending = 0
        self.retired = False
        self.started = time.monotonic()
        self._early: dict[int, int] = {}  # an isolate may end before it has been registered

    async def start(self, config: Mapping[str, Any]) -> None:
        """Start the process; raises Refused or Gone."""
        try:
            await self.link.start(config)
        except BaseException:
            self.link.close()
            raise

    async def boot(self, order: Order, descriptors: Sequence[int]) -> tuple[int, int]:
        """Fork an isolate: (pid, pidfd)."""
        self.booted += 1
        reply, received = await self.link.request(order.id, asdict(order), descriptors)
        return reply["pid"], received[0]

    @contextmanager
    def reserved(self) -> Iterator[None]:
        """Keep it alive, retired or not, from the moment it was chosen until its isolate is registered."""
        self.pending += 1
        try:
            yield
        finally:
            self.pending -= 1
            if self.retired:
                self.retire()

    def adopt(self, identity: int, isolate: Isolate) -> None:
        """Tell this isolate when it ends."""
        self.isolates[identity] = isolate
        if identity in self._early:
            self._told({"id": identity, "status": self._early.pop(identity)})
        elif not self.link.alive:
            self._died()

    def retire(self) -> None:
        """End the process as soon as no isolate needs it."""
        self.retired = True
        if not self.isolates and not self.pending:
            self.link.close()

    def _told(self, message: dict[str, Any]) -> None:
        if "status" not in message:
            return  # a fork nobody waits for any more: its socket is closed, so it ends by itself
        isolate = self.isolates.pop(message["id"], None)
        if isolate is None:
            self._early[message["id"]] = message["status"]
        else:
            isolate.finish(message["status"])
        if self.retired:
            self.retire()

    def _died(self) -> None:
        isolates, self.isolates = self.isolates, {}
        for isolate in isolates.values():
            isolate.orphan()


class Zygotes:
    """Hands out the zygote to fork from."""

    def __init__(self, config: Mapping[str, Any], isolates: int, seconds: float) -> None:
        self._config = config
        self._isolates, self._seconds = isolates, seconds
        self._current: Zygote | None = None
        self._old: list[Zygote] = []
        self._starting: asyncio.Task[Zygote] | None = None

    async def current(self) -> Zygote:
        """The zygote in use; a new one when it died. A worn one is replaced behind our back."""
        zygote = self._current
        if zygote is None or not zygote.link.alive:
            return await asyncio.shield(self._successor())
        if zygote.booted >= self._isolates or time.monotonic() - zygote.started > self._seconds:
            self._successor()
        return zygote

    def _successor(self) -> "asyncio.Task[Zygote]":
        if self._starting is None or self._starting.done():
            self._starting = asyncio.create_task(self._replace())
            self._starting.add_done_callback(lambda task: task.cancelled() or task.exception())
        return self._starting

    async def _replace(self) -> Zygote:
        new = Zygote()
        await new.start(self._config)
        old, self._current = self._current, new
        self._old = [zygote for zygote in self._old if zygote.link.alive]
        if old is not None:
            self._old.append(old)
            old.retire()
        return new

    async def stop(self) -> None:
        """End all zygotes, and with them all isolates."""
        if self._starting is not None:
            self._starting.cancel()
        zygotes = [*self._old, *([self._current] if self._current else [])]
        isolates = [isolate for zygote in zygotes for isolate in zygote.isolates.values()]
        for isolate in isolates:
            isolate.kill()
        if isolates:  # one that hangs in the kernel does not hold up the end
            await asyncio.wait([asyncio.ensure_future(isolate.exit()) for isolate in isolates], timeout=_ENDING_SECONDS)
        for zygote in zygotes:
            zygote.link.close()
            await zygote.link.join()


async def hear(sock: socket.socket) -> tuple[bytes, list[int]]:
    """The line in which an isolate says that its wall is up or why not, and descriptors that came along."""
    loop = asyncio.get_running_loop()
    line, descriptors = b"", []
    while not line.endswith(b"\n"):
        try:
            chunk, received, _, _ = socket.recv_fds(sock, 4096, 4, socket.MSG_CMSG_CLOEXEC)
        except BlockingIOError:
            await _readable(loop, sock)
            continue
        descriptors += received
        line += chunk
        if not chunk:
            raise Gone("the isolate ended before its wall was up")
    return line, descriptors


async def _readable(loop: asyncio.AbstractEventLoop, sock: socket.socket) -> None:
    ready: asyncio.Future[None] = loop.create_future()
    loop.add_reader(sock, _set, ready)
    try:
        await ready
    finally:
        loop.remove_reader(sock)


def _set(ready: asyncio.Future[None]) -> None:
    if not ready.done():
        ready.set_result(None)
