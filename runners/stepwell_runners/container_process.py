"""One container from creation to removal: a thread that follows it, behind the same face as a command in an isolate."""

import asyncio
import contextlib
import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from stepwell.errors import Invalid, Unavailable
from stepwell_runners.spec import Exit

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Job:
    """What to create, what to bring in before the start, and what to fetch when it ended by itself."""

    engine: Any
    settings: Mapping[str, Any]
    fill: Callable[[Any], None]
    collect: Callable[[Any], Mapping[str, bytes]]
    volume: Mapping[str, Any] | None = None


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

        if self._container is not None:
            with contextlib.suppress(docker.errors.APIError, OSError):  # it is not running, or not any more
                self._container.kill()

    def _live(self) -> None:
        started = time.monotonic()
        try:
            exit_ = replace(self._followed(), seconds=time.monotonic() - started)
        except Exception as error:
            os.close(self._writing)
            self._loop.call_soon_threadsafe(self._exit.set_exception, error)
        else:
            os.close(self._writing)
            self._loop.call_soon_threadsafe(self._exit.set_result, exit_)

    def _followed(self) -> Exit:
        """Create, start, follow, fetch and remove."""
        import docker.errors

        running = False
        try:
            lines = self._created()
            if self._killed:
                return Exit(None, int(signal.SIGKILL), "killed")
            self._container.start()
            running = True
            if self._killed:
                self._kill()
            for block in lines:
                _write_all(self._writing, block)
            return self._ended()
        except docker.errors.APIError as error:
            if running:
                raise
            raise Invalid(f"The container cannot start: {error.explanation or error}") from error
        except OSError as error:
            if running:  # requests' errors are OSErrors: the engine went away, and the container's fate with it
                return Exit(None, None, f"the container engine went away ({error})", lost=True)
            raise Unavailable(f"The container engine does not answer any more: {error}") from error
        finally:
            self._dispose()

    def _created(self) -> Any:
        """Create it, and follow its output from before the start: no line is lost."""
        if self.job.volume is not None:
            self.job.engine.volumes.create(**self.job.volume)
        self._container = self.job.engine.containers.create(**self.job.settings)
        self.job.fill(self._container)
        return self._container.attach(stdout=True, stderr=True, stream=True)

    def _ended(self) -> Exit:
        code = self._container.wait()["StatusCode"]
        self._container.reload()
        if self._container.attrs["State"].get("OOMKilled"):
            limit = self._container.attrs["HostConfig"].get("Memory", 0)
            return Exit(None, int(signal.SIGKILL), f"out of memory (limit {limit >> 20} MiB)", exceeded="memory")
        if self._killed:
            return Exit(None, int(signal.SIGKILL), "killed")
        return Exit(code, None, f"exit code {code}", collected=self.job.collect(self._container))

    def _dispose(self) -> None:
        """Remove container and volume; dockerd unmounts the workspace with them."""
        import docker.errors

        try:
            if self._container is not None:
                self._container.remove(force=True, v=True)
            if self.job.volume is not None:
                self.job.engine.volumes.get(self.job.volume["name"]).remove(force=True)
        except docker.errors.NotFound:
            return  # never made, or removed by somebody else
        except (docker.errors.APIError, OSError) as error:
            log.warning("A container or volume was left behind, until the next start: %s", error)


def _write_all(descriptor: int, block: bytes) -> None:
    view = memoryview(block)
    while view:
        view = view[os.write(descriptor, view) :]
