"""One container from creation to removal: a thread that follows it, behind the same face as a command in an isolate."""

import asyncio
import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from stepwell.errors import Invalid, TryLater, Unavailable
from stepwell_runners.spec import Exit


class Interrupted(Exception):
    """It was killed before the command began."""


@dataclass(frozen=True)
class Job:
    """What to do with one container, each in a thread and once: all may raise what the engine raises.

    `create` makes it, or gives one that waits. `start` sets the command going and gives its output from the first byte
    on. `collect` fetches what an ended command left, by the names of its files. `dispose` removes the container, None
    when none was made, and everything about it; it never raises. `began` is told that the command runs.
    """

    create: Callable[[], Any]
    start: Callable[[Any], Iterable[bytes]]
    collect: Callable[[Any], Mapping[str, bytes]]
    dispose: Callable[[Any], None]
    began: Callable[[], None] = lambda: None
    interrupt: Callable[[], None] = lambda: None  # called by any thread to have `start` raise Interrupted
    older: float = 0.0  # seconds that it had been running for when it was found


@dataclass
class ContainerProcess:
    """Implements Process. `wait` raises what kept it from starting; when it returns, container and mount are gone."""

    job: Job
    output: int = field(init=False)

    def __post_init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._exit: asyncio.Future[Exit] = self._loop.create_future()
        self._killed = False
        self._container: Any = None
        self.output, self._writing = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(self.output, False)
        threading.Thread(target=self._live, daemon=True, name="container").start()

    async def wait(self) -> Exit:
        """Wait until the container has ended and is removed."""
        return await asyncio.shield(self._exit)

    def kill(self) -> None:
        """End it; idempotent, never raises."""
        self._killed = True
        threading.Thread(target=self._kill, daemon=True, name="container-kill").start()

    def _kill(self) -> None:
        import docker.errors

        self.job.interrupt()
        if self._container is not None:
            with contextlib.suppress(docker.errors.APIError, OSError):  # it is not running, or not any more
                self._container.kill()

    def _live(self) -> None:
        started = time.monotonic()
        try:
            exit_ = replace(self._followed(), seconds=self.job.older + time.monotonic() - started)
        except Exception as error:
            self._end(self._exit.set_exception, error)
        else:
            self._end(self._exit.set_result, exit_)

    def _end(self, tell: Callable[[Any], None], what: Exit | Exception) -> None:
        os.close(self._writing)
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            self._loop.call_soon_threadsafe(tell, what)

    def _followed(self) -> Exit:
        """Create, start, follow, fetch and remove."""
        import docker.errors

        running = False
        try:
            self._container = self.job.create()
            if self._killed:
                return Exit(None, int(signal.SIGKILL), "killed")
            lines = self.job.start(self._container)
            running = True
            self.job.began()
            if self._killed:
                self._kill()
            for block in lines:
                _write_all(self._writing, block)
            return self._ended()
        except Interrupted:
            return Exit(None, int(signal.SIGKILL), "killed")
        except docker.errors.APIError as error:
            if running:
                raise
            raise Invalid(f"The container cannot start: {error.explanation or error}") from error
        except OSError as error:
            if running:  # requests' errors are OSErrors: the engine went away, and the container's fate with it
                return Exit(None, None, f"the container engine went away ({error})", lost=True)
            raise Unavailable(f"The container engine does not answer any more: {error}") from error
        finally:
            self.job.dispose(self._container)

    def _ended(self) -> Exit:
        code = self._container.wait()["StatusCode"]
        self._container.reload()
        if self._container.attrs["State"].get("OOMKilled"):
            limit = self._container.attrs["HostConfig"].get("Memory", 0)
            return Exit(None, int(signal.SIGKILL), f"out of memory (limit {limit >> 20} MiB)", exceeded="memory")
        if self._killed:
            return Exit(None, int(signal.SIGKILL), "killed")
        return Exit(code, None, f"exit code {code}", collected=self.job.collect(self._container))


def never_started() -> TryLater:
    """Return the error for a container that had ended before its command began: the attempt is made again."""
    return TryLater("The container that waited for this step had ended.", 0.0)


def _write_all(descriptor: int, block: bytes) -> None:
    view = memoryview(block)
    while view:
        view = view[os.write(descriptor, view) :]
