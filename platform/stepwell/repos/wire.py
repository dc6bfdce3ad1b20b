"""Serving git's wire with git itself: one process per request, no HTTP in here.

`git upload-pack|receive-pack --stateless-rpc` knows protocol v2, partial clones, shallow pushes and hidden refs,
refuses broken objects, and lets exactly one of several pushes of a branch win; a 200 MB push leaves this process's
memory flat. A Python server lacked each of these. `git http-backend` would add a process and its own HTTP parsing.

How a push is ended early matters: killed, even by SIGTERM, receive-pack leaves half a pack behind. So its input ends:
where the pack is cut short git fails and removes its files at once, and where everything had arrived it goes on and
finishes the push, which the client meant. Signals come only after `unattended_s`, and at once for a fetch.

What a push unpacks to is the pusher's choice: a few kilobytes of deltas can ask for gigabytes. So git and all that it
starts are bounded in memory and processor time, from outside and before they are given a byte: `RLIMIT_DATA` leaves
packs alone that are only mapped. All of them together have a bound as well, see common_memory. And should memory run
out all the same, the kernel ends them and not the server.

A server killed while pushes run leaves git processes behind for a moment. They hold a shared lock on one file;
`wait_for_orphans` takes it exclusively, and after that no ref moves except through this process.
"""

import asyncio
import contextlib
import fcntl
import logging
import os
import signal
import time
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from stepwell.errors import TryLater
from stepwell.repos.common_memory import COMMON, CommonMemory
from stepwell.repos.explained import Explained
from stepwell.repos.hooks import TOGETHER, HookChannel, check_hooks, install_hooks
from stepwell.repos.maintenance import remove_leftovers
from stepwell.repos.places import Places
from stepwell.repos.process import bound, environment
from stepwell.repos.push import PushContext, PushHandler
from stepwell.repos.repositories import Repositories

log = logging.getLogger(__name__)

Service = Literal["git-upload-pack", "git-receive-pack"]
SERVICES: tuple[Service, ...] = ("git-upload-pack", "git-receive-pack")
CHUNK = 64 * 1024  # bytes
_KEPT_STDERR = 4096
_TERMINATE_S = 5.0
_ADVERTISE_S = 60.0
_RECEIVE = {"core.bigFileThreshold": "16m"}  # larger files are streamed
_UPLOAD = {"pack.windowMemory": "64m", "pack.deltaCacheSize": "64m"}


@dataclass(frozen=True)
class WireLimits:
    """Bounds of what clients may ask for."""

    pack_bytes: int = 4 * 1024**3  # a pushed pack; git refuses more with its own words
    fetch_request_bytes: int = 64 * 1024**2
    processes: int = 32  # git processes at the same time
    tenant_processes: int = 16  # of them, for the repositories of one tenant
    wait_s: float = 30.0  # for a place among them
    idle_s: float = 60.0  # a client that neither sends nor reads
    unattended_s: float = 600.0  # a push that goes on after its client left
    memory_bytes: int = 2 * 1024**3  # of each process, without the packs that it maps
    processor_s: int = 3600  # of each process

    @property
    def in_words(self) -> str:
        return f"{self.memory_bytes >> 20:,} MiB of memory and {self.processor_s:,} seconds of a processor"


class Exchange:
    """One running git process. Write its input and read its output side by side, then `finish`."""

    def __init__(
        self, process: asyncio.subprocess.Process, channel: HookChannel | None, explained: Explained | None = None
    ) -> None:
        assert process.stdin and process.stdout and process.stderr
        self._process = process
        self._stdin, self._stdout, self._stderr = process.stdin, process.stdout, process.stderr
        self._words = b""
        self._explained = explained
        self._tasks = [asyncio.create_task(self._read_words())]
        if channel is not None:
            self._tasks.append(asyncio.create_task(channel.serve()))
        self._reading = True  # until git has closed its input

    @property
    def ended(self) -> bool:
        return self._process.returncode is not None

    async def write(self, data: bytes) -> None:
        """Pass on input, no faster than git takes it. What git no longer wants is dropped: it has answered already."""
        if not self._reading or self._stdin.is_closing():  # uvloop raises RuntimeError for a write after git has ended
            return
        try:
            self._stdin.write(data)
            await self._stdin.drain()
        except (BrokenPipeError, ConnectionResetError):
            self._reading = False

    def end_input(self) -> None:
        self._reading = False
        self._stdin.close()

    async def read(self) -> bytes:
        """Return the next piece of output, empty at the end."""
        while data := await self._stdout.read(CHUNK):
            if shown := self._explained.feed(data) if self._explained else data:
                return shown
        return self._explained.rest() if self._explained else b""

    async def finish(self) -> int:
        """Wait for the end after the whole output was read, and return the exit code."""
        code = await self._process.wait()
        await asyncio.gather(*self._tasks)
        if code:
            log.info("git ended with exit code %d: %s", code, self._words.decode("utf-8", "replace").strip())
        return code

    async def abort(self) -> None:
        """End git early and wait until it is gone; nothing happens when it has ended."""
        if not self.ended:
            self._signal(signal.SIGTERM)
            drain = asyncio.create_task(self._drain())
            try:
                async with asyncio.timeout(_TERMINATE_S):
                    await self._process.wait()
            except TimeoutError:
                self._signal(signal.SIGKILL)
                await self._process.wait()
            finally:
                drain.cancel()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _drain(self) -> None:
        while await self.read():
            pass

    def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, number)

    async def _read_words(self) -> None:
        while data := await self._stderr.read(CHUNK):
            self._words = (self._words + data)[-_KEPT_STDERR:]


class Wire:
    """Starts git for clients. Make it before serving, `wait_for_orphans` at start, `close` at the end."""

    def __init__(
        self, state: Path, repositories: Repositories, handler: PushHandler, limits: WireLimits | None = None,
        memory: CommonMemory = COMMON,
    ) -> None:  # fmt: skip
        self.limits = limits or WireLimits()
        self.memory = memory
        self._repositories = repositories
        self._handler = handler
        self._hooks = install_hooks(state / "hooks")
        self._lock_file = state / "pushes.lock"
        self._lock_file.touch()
        self._born = time.time()
        self._swept: set[str] = set()
        self._places = Places(self.limits.processes, self.limits.tenant_processes, self.limits.wait_s)
        self._unattended: set[asyncio.Task[None]] = set()

    async def advertise(self, tenant: str, repository: str, service: Service, protocol: str | None) -> bytes:
        """Return the refs as git tells them to this client."""
        path = self._repositories.require(repository)
        async with self._places.hold(tenant):
            process = await asyncio.create_subprocess_exec(
                "git",
                service.removeprefix("git-"),
                "--stateless-rpc",
                "--advertise-refs",  # the older name of --http-backend-info-refs, still understood by every git
                str(path),
                stdin=DEVNULL,
                stdout=PIPE,
                stderr=DEVNULL,
                env=environment(protocol=protocol),
                start_new_session=True,
            )
            try:
                async with asyncio.timeout(_ADVERTISE_S):
                    output, _ = await process.communicate()
            except TimeoutError as error:
                raise TryLater("Listing the refs took too long.", retry_after=30) from error
            finally:
                if process.returncode is None:
                    process.kill()
                    await process.wait()
        if process.returncode:
            raise TryLater("git could not list the refs of the repository.", retry_after=5)
        return output

    @contextlib.asynccontextmanager
    async def upload(self, tenant: str, repository: str, protocol: str | None) -> AsyncIterator[Exchange]:
        """Serve a fetch or clone; git is gone when the block is left."""
        path = self._repositories.require(repository)
        async with self._places.hold(tenant):
            exchange = await self._start("upload-pack", path, environment(_UPLOAD, protocol=protocol))
            try:
                yield exchange
            finally:
                await exchange.abort()

    @contextlib.asynccontextmanager
    async def receive(self, context: PushContext, protocol: str | None, many: bool = False) -> AsyncIterator[Exchange]:
        """Serve a push. Leaving the block early ends git's input: cut short it gives up, else it finishes the push.

        `many`: it moves many refs, so they are created and deleted together, see many_refs.
        """
        check_hooks(self._hooks)
        path = self._repositories.require(context.repository)
        async with self._places.hold(context.tenant):
            await self._sweep(context.repository, path)
            exchange = await self._start_receive(path, context, protocol, many=many)
            try:
                yield exchange
            finally:
                exchange.end_input()
                if not exchange.ended:
                    self._leave(exchange)

    async def wait_for_orphans(self, timeout_s: float = 30.0) -> None:
        """Wait until no git process of an earlier server can move a ref any more. Raises TryLater."""
        deadline = time.monotonic() + timeout_s
        with self._lock_file.open("rb") as file:
            while True:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    return
                except BlockingIOError as error:
                    if time.monotonic() > deadline:
                        raise TryLater("Pushes of an earlier server are still running.", retry_after=10) from error
                    await asyncio.sleep(0.02)

    async def close(self) -> None:
        """Let pushes that have all their objects come to their end."""
        await asyncio.gather(*self._unattended, return_exceptions=True)

    async def _start_receive(self, path: Path, context: PushContext, protocol: str | None, *, many: bool) -> Exchange:
        channel = HookChannel(self._handler, context, path)
        limits = {"core.hooksPath": str(self._hooks), "receive.maxInputSize": str(self.limits.pack_bytes)}
        settings = {**_RECEIVE, **limits, **(TOGETHER if many else {})}
        with self._lock_file.open("rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            fds = (*channel.child_fds, lock.fileno())
            env = environment(settings, protocol=protocol, extra=channel.environment)
            try:
                return await self._start("receive-pack", path, env, channel, fds)
            except BaseException:
                channel.discard()
                raise

    async def _start(
        self,
        program: str,
        path: Path,
        env: Mapping[str, str],
        channel: HookChannel | None = None,
        fds: tuple[int, ...] = (),
    ) -> Exchange:
        process = await asyncio.create_subprocess_exec(
            "git",
            program,
            "--stateless-rpc",
            str(path),
            stdin=PIPE,
            stdout=PIPE,
            stderr=PIPE,
            env=env,
            pass_fds=fds,
            start_new_session=True,
            limit=CHUNK,
        )
        bound(process.pid, self.limits.memory_bytes, self.limits.processor_s)
        self.memory.watch(process.pid)
        if channel is None:
            return Exchange(process, None)
        channel.started()
        together = f", and together with others {self.memory.most_bytes >> 20:,} MiB"
        return Exchange(process, channel, Explained(self.limits.in_words, together))

    async def _sweep(self, repository: str, path: Path) -> None:
        if repository not in self._swept:
            await asyncio.to_thread(remove_leftovers, path, self._born)
            self._swept.add(repository)

    def _leave(self, exchange: Exchange) -> None:
        task = asyncio.create_task(self._finish_unattended(exchange))
        self._unattended.add(task)
        task.add_done_callback(self._unattended.discard)

    async def _finish_unattended(self, exchange: Exchange) -> None:
        try:
            async with asyncio.timeout(self.limits.unattended_s):
                while await exchange.read():
                    pass
                await exchange.finish()
        except TimeoutError:
            log.warning("a push whose client had left was ended after %g s", self.limits.unattended_s)
        finally:
            await exchange.abort()
