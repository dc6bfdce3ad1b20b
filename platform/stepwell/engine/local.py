"""Isolates that are ordinary processes, for embedding the engine and for tests.

There is no wall here: the code of a run can do whatever the user may who started the program. Use it only for code
that you trust as much as your own; `stepwell up` has isolates with a wall (`stepwell_runners`).
"""

import asyncio
import contextlib
import logging
import os
import signal
import socket
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import stepwell
from stepwell.engine.clock import Clock
from stepwell.engine.engine import Engine
from stepwell.engine.seams import Isolates, IsolateSpec, Loader, LogSink, Output
from stepwell.errors import TryLater, Unavailable
from stepwell.store.blobs import BlobFiles
from stepwell.store.journal_sqlite import SqliteJournal

_log = logging.getLogger(__name__)

_SOURCES = str(Path(str(stepwell.__file__)).parents[1])
_BUFFER_BYTES = 1 << 22


class ProcessChannel:
    """One isolate."""

    def __init__(self, owner: "ProcessIsolates", sock: socket.socket, pid: int) -> None:
        self.sock = sock
        self.pid = pid
        self._owner = owner
        self._ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    def kill(self) -> None:
        if not self._ended.done():
            self._owner.kill(self.pid)

    async def ended(self) -> str:
        return await asyncio.shield(self._ended)

    def conclude(self, why: str) -> None:
        """Note that the process is gone."""
        if not self._ended.done():
            self._ended.set_result(why)


class ProcessIsolates:
    """Forks isolates, without a wall, from a process that has all imports done. Belongs to one event loop."""

    def __init__(self) -> None:
        self._server: socket.socket | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._forks: deque[asyncio.Future[int]] = deque()
        self._channels: dict[int, ProcessChannel] = {}
        self._unclaimed: set[int] = set()  # forked, but `open` has not gone on yet
        self._early: dict[int, str] = {}  # exits told meanwhile

    @property
    def alive(self) -> int:
        """How many isolates there are."""
        return len(self._channels)

    async def open(self, spec: IsolateSpec) -> ProcessChannel:
        server = self._server or self._start()
        ours, theirs = socket.socketpair()
        for end in (ours, theirs):
            for option in (socket.SO_SNDBUF, socket.SO_RCVBUF):
                end.setsockopt(socket.SOL_SOCKET, option, _BUFFER_BYTES)
        forked: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._forks.append(forked)
        with theirs:
            try:
                socket.send_fds(server, [b"fork"], [theirs.fileno()])
            except OSError as error:
                ours.close()
                self._forks.remove(forked)
                raise TryLater(f"The fork server did not take the request: {error}.", 0.1) from error
        try:
            pid = await forked
        except BaseException:
            ours.close()  # the isolate ends with its socket
            raise
        self._unclaimed.discard(pid)
        channel = ProcessChannel(self, ours, pid)
        if pid in self._early:
            channel.conclude(self._early.pop(pid))
        else:
            self._channels[pid] = channel
        return channel

    def kill(self, pid: int) -> None:
        """Kill one isolate; through its parent, which knows whether the number is still its own."""
        if self._server is not None:
            with contextlib.suppress(OSError):  # gone already, and its isolates with it
                self._server.send(b"kill %d" % pid)

    def kill_server(self) -> None:
        """Kill the fork server, as a crash of it would."""
        if self._process is not None:
            self._process.kill()

    async def close(self) -> None:
        """End the fork server and all isolates."""
        for channel in list(self._channels.values()):
            channel.kill()
        self._gone()

    def _start(self) -> socket.socket:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        argv = [sys.executable, "-s", "-P", "-m", "stepwell.engine.forkserver", str(theirs.fileno())]
        environment = {"PATH": os.defpath, "PYTHONHASHSEED": "0", "PYTHONPATH": _SOURCES, "LANG": "C.UTF-8"}
        with theirs:
            try:
                self._process = subprocess.Popen(argv, pass_fds=[theirs.fileno()], env=environment)
            except OSError as error:
                ours.close()
                raise Unavailable(f"The fork server {argv[0]!r} cannot be started: {error}.") from error
        ours.setblocking(False)
        asyncio.get_running_loop().add_reader(ours.fileno(), self._readable)
        self._server = ours
        return ours

    def _readable(self) -> None:
        assert self._server is not None
        try:
            message = self._server.recv(64)
        except BlockingIOError:
            return
        except OSError:
            message = b""
        if not message:
            self._gone()
            return
        word, *numbers = message.split()
        if word == b"pid":
            self._forked(int(numbers[0]))
        else:
            pid, why = int(numbers[0]), _words(int(numbers[1]))
            channel = self._channels.pop(pid, None)
            if channel is not None:
                channel.conclude(why)
            elif pid in self._unclaimed:
                self._early[pid] = why

    def _forked(self, pid: int) -> None:
        forked = self._forks.popleft()
        if not forked.done():
            self._unclaimed.add(pid)
            forked.set_result(pid)

    def _gone(self) -> None:
        """The fork server is no more: neither are its isolates, and that was not their doing."""
        if self._server is not None:
            asyncio.get_running_loop().remove_reader(self._server.fileno())
            self._server.close()
            self._server = None
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
        for pid, channel in list(self._channels.items()):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            channel.conclude("lost: the fork server went away")
        self._channels.clear()
        while self._forks:
            forked = self._forks.popleft()
            if not forked.done():
                forked.set_exception(TryLater("The fork server went away.", 0.1))


def _words(status: int) -> str:
    code = os.waitstatus_to_exitcode(status)
    return f"exit code {code}" if code >= 0 else f"killed by {signal.Signals(-code).name}"


class _Silence:
    def write(self, data: bytes) -> None:
        """Drop it."""

    def note(self, text: str) -> None:
        """Drop it."""

    def behind(self) -> int:
        """Nothing is in memory."""
        return 0

    def beside(self, name: str) -> "_Silence":
        """As silent."""
        return self

    def close(self) -> None:
        """Nothing to close."""

    async def kept(self) -> None:
        """Nothing to wait for."""


class NoLogs:
    """A LogSink that keeps nothing."""

    def writer(self, run: str, key: str, attempt: int, masks: Sequence[str]) -> Output:
        return _Silence()

    def keep_rounds(self, run: str, rounds: Mapping[int, Sequence[str]]) -> None:
        """There is nothing."""


class _Heard(_Silence):
    def __init__(self, take: Callable[[str, str, str], None], run: str, key: str) -> None:
        self._take, self._run, self._key = take, run, key

    def write(self, data: bytes) -> None:
        try:
            self._take(self._run, self._key, data.decode("utf-8", "replace"))
        except Exception:
            _log.exception("What run %s printed could not be handed on.", self._run)


class LogLines(NoLogs):
    """A LogSink that hands on what code prints, and keeps nothing.

    `take(run, key, text)` is called on the engine's loop with whole lines, key "" for those of run() itself. It must
    not block.
    """

    def __init__(self, take: Callable[[str, str, str], None]) -> None:
        self._take = take

    def writer(self, run: str, key: str, attempt: int, masks: Sequence[str]) -> Output:
        return _Heard(self._take, run, key)


def local_engine(
    database: Path | str, isolates: Isolates, loader: Loader, *, large_results: Path | str | None = None,
    logs: LogSink | None = None, clock: Clock | None = None,
) -> Engine:  # fmt: skip
    """Make an engine on one SQLite file, which has nothing that runs commands.

    Without `large_results`, a directory, results have to fit into the journal; without `logs` none are kept.
    """
    blobs = None if large_results is None else BlobFiles(Path(large_results))
    return Engine(SqliteJournal(database), isolates, loader, logs=logs or NoLogs(), blobs=blobs, clock=clock)
