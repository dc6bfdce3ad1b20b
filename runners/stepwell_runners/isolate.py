"""An isolate as the host holds it: a socket, a pidfd, and how it ended."""

import asyncio
import os
import signal
import socket
import time
from collections.abc import Callable
from contextlib import suppress

from stepwell_runners.cgroups import Cgroup
from stepwell_runners.spec import Exit

CGROUP_SECONDS = 0.5  # after which it is removed: what goes on comes first
_CGROUP_RETRY_SECONDS = 0.05
_GRACE_SECONDS = 2.0


class Isolate:
    """Implements IsolateChannel. Belongs to one event loop."""

    def __init__(self, sock: socket.socket, pid: int, pidfd: int, cgroup: Cgroup | None) -> None:
        self.sock = sock
        self.pid = pid
        self.cgroup = cgroup
        self.killed = False
        self.memory_exceeded = False
        self.processes_exceeded = False
        self._pidfd = pidfd
        self.gentle = False  # no wall: its process 1 must end the others itself
        self._started = time.monotonic()
        self._exit: asyncio.Future[Exit] = asyncio.get_running_loop().create_future()
        self._closing: list[Callable[[], None]] = []

    @property
    def over(self) -> bool:
        """All its processes are gone."""
        return self._exit.done()

    def begin(self, *, gentle: bool = False) -> None:
        """Somebody has claimed it, and its time counts from now; `gentle`: process 1 must end the others itself."""
        self.gentle = gentle
        self._started = time.monotonic()

    def kill(self) -> None:
        """End every process of the isolate; idempotent, never raises."""
        if self._exit.done():
            return
        if not self.gentle:
            self.send(signal.SIGKILL)
        elif not self.killed:
            self.send(signal.SIGTERM)
            asyncio.get_running_loop().call_later(_GRACE_SECONDS, self.send, signal.SIGKILL)
        self.killed = True

    async def exit(self) -> Exit:
        """Wait until all its processes are gone; how it ended."""
        return await asyncio.shield(self._exit)

    async def ended(self) -> str:
        """Wait until all its processes are gone; why, in words."""
        return (await self.exit()).reason

    def on_end(self, callback: Callable[[], None]) -> None:
        """Call this when all its processes are gone."""
        self._closing.append(callback)

    def finish(self, status: int) -> None:
        """The zygote has reaped it."""
        self._finish(status)

    def orphan(self) -> None:
        """Its zygote is gone, and the kernel kills it: wait for that."""
        if not self._exit.done():
            self.send(signal.SIGKILL)
            asyncio.get_running_loop().add_reader(self._pidfd, self._finish, None)

    def send(self, number: signal.Signals) -> None:
        """Send process 1 a signal, unless it is gone."""
        if not self._exit.done():
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._pidfd, number)

    def _finish(self, status: int | None) -> None:
        if self._exit.done():
            return
        asyncio.get_running_loop().remove_reader(self._pidfd)
        os.close(self._pidfd)
        if self.cgroup is not None and not self.killed:  # we know why, then
            self.memory_exceeded, self.processes_exceeded = self.cgroup.out_of_memory(), self.cgroup.out_of_processes()
        self._exit.set_result(self._describe(status, time.monotonic() - self._started))
        for callback in self._closing:
            callback()
        if self.cgroup is not None:
            asyncio.get_running_loop().call_later(CGROUP_SECONDS, self._remove_cgroup)

    def _describe(self, status: int | None, seconds: float) -> Exit:
        if status is None and not self.killed:
            return Exit(None, None, "zygote died", seconds, lost=True)
        if status is None:
            return Exit(None, int(signal.SIGKILL), "killed", seconds)
        if status and not self.killed and self.memory_exceeded and self.cgroup is not None:
            return Exit(None, int(signal.SIGKILL), out_of_memory(self.cgroup.bounds), seconds, exceeded="memory")
        return describe_status(status, seconds)

    def _remove_cgroup(self) -> None:
        if self.cgroup is not None and not self.cgroup.remove():
            asyncio.get_running_loop().call_later(_CGROUP_RETRY_SECONDS, self._remove_cgroup)


def out_of_memory(limit: int) -> str:
    """The words for that, with the limit."""
    return f"out of memory (limit {limit >> 20} MiB)"


def describe_status(status: int, seconds: float) -> Exit:
    """A wait status in numbers and in words."""
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        try:
            name = signal.Signals(number).name
        except ValueError:
            name = f"signal {number}"
        return Exit(None, number, f"killed by {name}", seconds)
    code = os.WEXITSTATUS(status)
    return Exit(code, None, f"exit code {code}", seconds)
