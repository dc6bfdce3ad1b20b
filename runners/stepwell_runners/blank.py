"""A blank: an isolate that nobody has claimed yet.

Every isolate begins as one: forked, with namespaces, a proc and a network of its own, in its cgroup, without a tenant,
a file or a line of anybody's code. An order and the descriptors that come with it, over its own socket, claim it for
one tenant; then it takes that tenant's uid, gives up all power and closes the rest of the wall. So a blank serves
whoever comes first, once, and no process need ever reach into an isolate that is closed.
"""

import asyncio
import json
import os
import socket
from contextlib import suppress
from typing import Literal

from stepwell_runners.isolate import Isolate
from stepwell_runners.link import Gone, Refused, Reply
from stepwell_runners.wall import Order
from stepwell_runners.zygote import REHEARSE

_ENDING_SECONDS = 5.0


class Blank:
    """An isolate being forked, or forked, until it is claimed. Belongs to one event loop."""

    def __init__(self, sock: socket.socket, forked: "asyncio.Task[Isolate]") -> None:
        self.sock = sock
        self._forked = forked
        self._told = False
        self.rehearsed = False

    async def stand(self) -> None:
        """Wait until it is in its cgroup and waits for an order. Raises Refused or Gone."""
        await self._hear("blank")

    async def rehearse(self) -> None:
        """Have one that stands play what it may be claimed for, and wait for that. Raises Refused or Gone."""
        with suppress(OSError):
            self.sock.send(REHEARSE + b"\n")
        await self._hear("rehearsed")
        self.rehearsed = True

    @property
    def pid(self) -> int:
        """As the host sees it; it must have been forked."""
        return self._forked.result().pid

    @property
    def untouched(self) -> bool:
        """It stands, lives, and has said nothing more."""
        if not self._forked.done() or self._forked.result().over:
            return False
        try:
            self.sock.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return True
        except OSError:
            return False
        return False  # it spoke, or closed its end

    def tell(self, order: Order, output: int | None) -> None:
        """Send the order; it wakes up and prepares while its mounts are made. Trouble is raised by `claim`."""
        line = json.dumps(vars(order)).encode() + b"\n"
        try:
            self._told = socket.send_fds(self.sock, [line], [] if output is None else [output]) == len(line)
        except OSError:
            self._told = False

    def give_up(self, making: "asyncio.Future[Reply]") -> None:
        """Wait for nothing any more when its mounts could not be made."""
        if making.cancelled() or making.exception() is not None:
            with suppress(OSError):  # it is closed already
                self.sock.shutdown(socket.SHUT_RDWR)

    async def claim(self, order: Order) -> tuple[Isolate, list[int]]:
        """Make it this tenant's, which has been told its order and is sent its mounts; wait until its wall is up.

        Return the isolate, and descriptors that it hands out. It need not stand yet. Raises Refused or Gone; what was
        sent along is spent then.
        """
        if not self._told:
            await self._isolate()
            raise Gone("the isolate ended before it was claimed")
        isolate, received = await self._hear("ready")
        try:
            group = isolate.cgroup
            wanted = (order.memory, order.processes, order.processors)
            if group is not None and (group.bounds, group.processes, group.processors) != wanted:
                isolate.cgroup = group.bound(*wanted)
        except OSError as error:
            for descriptor in received:
                os.close(descriptor)
            if isolate.over:  # its cgroup goes with it
                raise Gone("the isolate ended before its cgroup had its bounds") from error
            raise Refused({"step": "cgroup", "errno": error.errno, "text": str(error)}) from error
        return isolate, received

    def discard(self) -> None:
        """Throw it away, whatever has become of it."""
        self.sock.close()
        self._forked.add_done_callback(_kill)

    async def end(self) -> None:
        """Throw away one that stands, and wait until it is gone."""
        self.discard()
        exit = asyncio.ensure_future(self._forked.result().exit())
        await asyncio.wait({exit}, timeout=_ENDING_SECONDS)  # one that hangs in the kernel holds nobody up

    async def _isolate(self) -> Isolate:
        return await asyncio.shield(self._forked)  # once ordered, a fork is always seen to its end

    async def _hear(self, awaited: Literal["blank", "rehearsed", "ready"]) -> tuple[Isolate, list[int]]:
        try:
            received = await hear(self.sock, awaited)
        except Gone:
            await self._isolate()  # which may know why
            raise
        try:
            return await self._isolate(), received
        except BaseException:
            for descriptor in received:
                os.close(descriptor)
            raise


async def hear(sock: socket.socket, awaited: str) -> list[int]:
    """Read an isolate's reports up to this one; descriptors that came along. Raises Refused or Gone."""
    loop = asyncio.get_running_loop()
    text, descriptors = b"", []
    try:
        while True:
            try:
                chunk, received, _, _ = socket.recv_fds(sock, 4096, 4, socket.MSG_CMSG_CLOEXEC)
            except BlockingIOError:
                await _readable(loop, sock)
                continue
            except OSError as error:
                raise Gone("the isolate ended before its wall was up") from error
            if not chunk:
                raise Gone("the isolate ended before its wall was up")
            descriptors += received
            *lines, text = (text + chunk).split(b"\n")
            for report in map(json.loads, lines):
                if "failed" in report:
                    raise Refused(report["failed"])
                if awaited in report:
                    return descriptors
    except BaseException:
        for descriptor in descriptors:
            os.close(descriptor)
        raise


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


def _kill(forked: "asyncio.Task[Isolate]") -> None:
    if not forked.cancelled() and forked.exception() is None:
        forked.result().kill()
