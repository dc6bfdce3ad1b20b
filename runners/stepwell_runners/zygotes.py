"""The zygote in use, its successors, and which isolates hang on which.

A zygote is replaced after so many isolates or so much time: what a fork shares should not stay the same for ever.
The old one lives on until its last isolate is gone. One that dies takes its isolates along; they end as lost.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

from stepwell_runners.blank import Blank
from stepwell_runners.isolate import Isolate
from stepwell_runners.link import Link, Reply

_ENDING_SECONDS = 5.0


class Zygote:
    """One zygote process and what the host knows of its isolates."""

    def __init__(self) -> None:
        self.link = Link("stepwell_runners.zygote", self._told, self._died)
        self.isolates: dict[int, Isolate] = {}
        self.blanks: deque[Blank] = deque()  # those that stand ready; they are in `isolates` too
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

    def fork(self, identity: int, sock: int) -> "asyncio.Future[Reply]":
        """Order an isolate with this socket; the reply is {"pid"} and its pidfd. `adopt` it or `release` the zygote."""
        self.booted += 1
        self.pending += 1  # alive, retired or not, until its isolate is registered
        return self.link.ask(identity, {"id": identity}, [sock])

    def release(self) -> None:
        """What was ordered is registered, or will never be."""
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
        """End the process as soon as no isolate needs it; blanks do not."""
        self.retired = True
        self.drop_blanks()
        if not self.isolates and not self.pending:
            self.link.close()

    def drop_blanks(self) -> None:
        """Throw away what stands ready."""
        while self.blanks:
            self.blanks.pop().discard()

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
        self.drop_blanks()
        isolates, self.isolates = self.isolates, {}
        for isolate in isolates.values():
            isolate.orphan()


class Zygotes:
    """Hands out the zygote to fork from."""

    def __init__(self, config: Mapping[str, Any], isolates: int, seconds: float) -> None:
        self._config = config
        self._isolates, self._seconds = isolates, seconds
        self.in_use: Zygote | None = None
        self._old: list[Zygote] = []
        self._starting: asyncio.Task[Zygote] | None = None
        self._replaced: Callable[[], None] = lambda: None

    def on_replace(self, callback: Callable[[], None]) -> None:
        """Call this when another zygote has come into use."""
        self._replaced = callback

    async def current(self) -> Zygote:
        """The zygote in use; a new one when it died. A worn one is replaced behind our back."""
        zygote = self.in_use
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
        old, self.in_use = self.in_use, new
        self._old = [zygote for zygote in self._old if zygote.link.alive]
        if old is not None:
            self._old.append(old)
            old.retire()
        self._replaced()
        return new

    async def stop(self) -> None:
        """End all zygotes, and with them all isolates."""
        if self._starting is not None:
            self._starting.cancel()
        zygotes = [*self._old, *([self.in_use] if self.in_use else [])]
        isolates = [isolate for zygote in zygotes for isolate in zygote.isolates.values()]
        for zygote in zygotes:
            zygote.drop_blanks()
        for isolate in isolates:
            isolate.kill()
        if isolates:  # one that hangs in the kernel does not hold up the end
            await asyncio.wait([asyncio.ensure_future(isolate.exit()) for isolate in isolates], timeout=_ENDING_SECONDS)
        for zygote in zygotes:
            zygote.link.close()
            await zygote.link.join()
