"""The engine's end of the control socket of a zygote or mounter: requests, replies, and the news of its death."""

import asyncio
import json
import os
import socket
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

_RUNNERS = Path(__file__).parent.parent
_STARTING_SECONDS = 20.0

Reply = tuple[dict[str, Any], list[int]]


class Gone(Exception):
    """The process died before it answered."""


class Refused(Exception):
    """The process answered that the host would not: `step`, `number`, `text`."""

    def __init__(self, failed: Mapping[str, Any]) -> None:
        self.step = str(failed.get("step"))
        self.number: int | None = failed.get("errno")
        self.text = str(failed.get("text"))
        super().__init__(f"{self.step}: {self.text}")


class Link:
    """Starts one process and speaks with it. All methods on one event loop."""

    def __init__(self, module: str, told: Callable[[dict[str, Any]], None], died: Callable[[], None]) -> None:
        self.module = module
        self.told = told
        self.died = died
        self.alive = False
        self.process: subprocess.Popen[bytes] | None = None
        self._sock: socket.socket | None = None
        self._waiting: dict[int, asyncio.Future[Reply]] = {}
        self._backlog: deque[tuple[bytes, list[int]]] = deque()
        self._up: asyncio.Future[Reply] | None = None

    async def start(self, config: Mapping[str, Any]) -> None:
        """Start the process and wait until it is up. Raises Refused or Gone."""
        loop = asyncio.get_running_loop()
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setblocking(False)
        with theirs:
            self.process = await loop.run_in_executor(None, spawn, self.module, theirs.fileno())
        self._sock = ours
        self._up = loop.create_future()
        self.alive = True
        loop.add_reader(ours, self._read)
        self._send(json.dumps(config).encode(), [])
        async with asyncio.timeout(_STARTING_SECONDS):
            reply, _ = await self._up
        if "failed" in reply:
            raise Refused(reply["failed"])

    async def request(self, identity: int, message: Mapping[str, Any]) -> Reply:
        """Send and wait for the reply with this identity. Raises Refused or Gone."""
        reply = self.ask(identity, message)
        try:
            return await reply
        except asyncio.CancelledError:
            if not reply.cancelled() and reply.exception() is None:  # it came, and nobody will take what it brought
                _close_all(reply.result()[1])
            raise

    def ask(
        self, identity: int, message: Mapping[str, Any], descriptors: Sequence[int] = ()
    ) -> "asyncio.Future[Reply]":
        """Send now; the reply is to be awaited. `descriptors` stay the caller's."""
        reply: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        if not self.alive:
            reply.set_exception(Gone(self.module))
            return reply
        self._waiting[identity] = reply
        reply.add_done_callback(lambda _: self._waiting.pop(identity, None))
        self._send(json.dumps(message).encode(), [os.dup(d) for d in descriptors])
        return reply

    def close(self) -> None:
        """Close the socket; the process ends itself and what depends on it."""
        if self._sock is not None:
            self._lose()

    async def join(self) -> None:
        """Wait until the process has ended after `close`, killing it when it does not."""
        process = self.process
        if process is not None:
            await asyncio.get_running_loop().run_in_executor(None, _end, process)

    def _send(self, message: bytes, descriptors: list[int]) -> None:
        self._backlog.append((message, descriptors))
        if len(self._backlog) == 1:
            self._flush()

    def _flush(self) -> None:
        assert self._sock is not None
        loop = asyncio.get_running_loop()
        while self._backlog:
            message, descriptors = self._backlog[0]
            try:
                socket.send_fds(self._sock, [message], descriptors)
            except BlockingIOError:
                loop.add_writer(self._sock, self._flush)
                return
            except OSError:
                self._lose()
                return
            self._backlog.popleft()
            _close_all(descriptors)
        loop.remove_writer(self._sock)

    def _read(self) -> None:
        assert self._sock is not None
        try:
            message, descriptors, _, _ = socket.recv_fds(self._sock, 1 << 16, 253, socket.MSG_CMSG_CLOEXEC)
        except BlockingIOError:
            return
        except OSError:
            message, descriptors = b"", []
        if not message:
            self._lose()
            return
        self._take(json.loads(message), descriptors)

    def _take(self, reply: dict[str, Any], descriptors: list[int]) -> None:
        if "id" not in reply:
            assert self._up is not None
            if not self._up.done():
                self._up.set_result((reply, descriptors))
            return
        answer = None if "status" in reply else self._waiting.get(reply["id"])
        if answer is not None and not answer.done():
            if "failed" in reply:
                answer.set_exception(Refused(reply["failed"]))
            else:
                answer.set_result((reply, descriptors))
            return
        _close_all(descriptors)
        self.told(reply)

    def _lose(self) -> None:
        """Forget the connection and tell everybody who waits."""
        sock, self._sock = self._sock, None
        if sock is None:
            return
        self.alive = False
        loop = asyncio.get_running_loop()
        loop.remove_reader(sock)
        loop.remove_writer(sock)
        sock.close()
        if self.process is not None:
            loop.run_in_executor(None, _end, self.process)  # reaped, or killed when it does not go
        for _, descriptors in self._backlog:
            _close_all(descriptors)
        self._backlog.clear()
        for answer in (*self._waiting.values(), *([self._up] if self._up else ())):
            if not answer.done():
                answer.set_exception(Gone(self.module))
        self.died()


def spawn(module: str, descriptor: int, more: Mapping[str, str] | None = None) -> subprocess.Popen[bytes]:
    """Start the interpreter itself, not a virtual environment's link: isolates see the former only."""
    return subprocess.Popen(
        [os.path.realpath(sys.executable), "-s", "-P", "-S", "-m", module, str(descriptor)],
        env={"PYTHONHASHSEED": "0", "PYTHONPATH": f"{_RUNNERS}", "LANG": "C.UTF-8", **(more or {})},
        cwd="/",
        stdin=subprocess.DEVNULL,
        pass_fds=[descriptor],
        start_new_session=True,
    )


def _close_all(descriptors: Sequence[int]) -> None:
    for descriptor in descriptors:
        os.close(descriptor)


def _end(process: subprocess.Popen[bytes]) -> None:
    try:
        process.wait(5)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
