"""Services: containers beside an attempt, on a private network of the attempt's own, under their names.

    network → step's container created (its workspace is there) → services started, each waited for → step started

No port reaches the host: other attempts and the host's programs are not on the network, and only a step with network
can look beyond it. All of them go with the attempt. What a service prints has a log of its own.
"""

import contextlib
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from stepwell.engine.seams import Output
from stepwell_runners import archives
from stepwell_runners.command_plan import ServicePlan
from stepwell_runners.container_jobs import dispose
from stepwell_runners.container_process import Interrupted, Job, outgrew
from stepwell_runners.networks import Network
from stepwell_runners.outcomes import ServiceFailed
from stepwell_runners.spec import WORKSPACE, Overlay
from stepwell_runners.workspaces import Workspace

READY_SECONDS = 120.0
_PACE_SECONDS = 0.2
_BEHIND = 8 << 20  # bytes of a service's log that wait to be written
_SAID_BYTES = 2000  # of a service's log that its failure quotes
_LOG_SECONDS = 10.0  # for the last lines of one that has ended


@dataclass
class Service:
    """One of them. `settings` are the engine's; `workspace` is that of one with a command."""

    plan: ServicePlan
    settings: Mapping[str, Any]
    workspace: Workspace | None
    output: Output
    disk: int | None = None  # bytes that it may write outside of the workspace
    container: Any = None
    last: bytes = b""
    follower: threading.Thread | None = None
    outgrew: bool = False
    _gone: threading.Event = field(default_factory=threading.Event)

    def start(self, engine: Any) -> None:
        """Create and start it; its log is followed from before the start."""
        self.container = engine.containers.create(**self.settings)
        if self.workspace is not None and not isinstance(self.workspace.mount, Overlay):
            archives.send_folder(self.container, self.workspace.upper, WORKSPACE[1:], self.workspace.place)
        lines = self.container.attach(stdout=True, stderr=True, stream=True)
        self.container.start()
        self.follower = threading.Thread(target=self._follow, args=(lines,), daemon=True, name="service")
        self.follower.start()
        if self.disk is not None:
            threading.Thread(target=self._bound, args=(self.disk,), daemon=True, name="service-disk").start()

    def _bound(self, most: int) -> None:
        import docker.errors

        if outgrew(self.container, most, self._gone):
            self.outgrew = True
            with contextlib.suppress(docker.errors.APIError, OSError):  # it has ended meanwhile, or the engine is away
                self.container.kill()

    def _follow(self, lines: Any) -> None:
        try:
            for block in lines:
                self.last = (self.last + block)[-_SAID_BYTES:]
                self.output.write(block)
                while self.output.behind() > _BEHIND:
                    time.sleep(_PACE_SECONDS)  # a flood waits for the disk, not in memory
        except OSError as error:  # requests' errors are OSErrors: the engine went away, which the step will find
            self.output.note(f"The log ends here: {error}")

    def why_not_ready(self) -> str | None:
        """Look whether it can be used: None when it can. Raises ServiceFailed when it has ended."""
        import docker.errors

        if not self.running():
            raise ServiceFailed(f"Service {self.plan.name!r} ended before it was ready: {self.ending()}{self._said()}")
        if self.plan.ready is not None:
            try:
                code, said = self.container.exec_run(["sh", "-c", self.plan.ready])
            except docker.errors.APIError as error:
                return f"ready= cannot be run: {error.explanation or error}"  # it may just have ended: look again
            tail = said[-_SAID_BYTES:].decode(errors="replace").strip()
            return None if code == 0 else f"ready= ended with exit code {code}{f': {tail}' if tail else ''}"
        health = self.container.attrs["State"].get("Health", {}).get("Status", "healthy")
        return None if health == "healthy" else f"its image says it is {health}"

    def running(self) -> bool:
        """Say whether it has not ended."""
        self.container.reload()
        return bool(self.container.status == "running")

    def ending(self) -> str:
        """Say how it ended."""
        state = self.container.attrs["State"]
        if self.outgrew:
            return f"it wrote more than {(self.disk or 0) / (1 << 30):g} GiB into its container"
        if state.get("OOMKilled"):
            return f"out of memory (limit {self.container.attrs['HostConfig'].get('Memory', 0) >> 20} MiB)"
        return f"exit code {state.get('ExitCode')}"

    def late(self, why: str) -> ServiceFailed:
        """Return the error for one that is not ready in time."""
        return ServiceFailed(
            f"Service {self.plan.name!r} was not ready within {READY_SECONDS:g} s: {why}.{self._said(0.5)}"
        )

    def _said(self, seconds: float = _LOG_SECONDS) -> str:
        if self.follower is not None:
            self.follower.join(seconds)  # what it said last may still be on its way
        text = self.last.decode(errors="replace").strip()
        return f"\nIts log ends with:\n{text}" if text else " It said nothing."

    def remove(self) -> None:
        """Remove it, and end its log."""
        self._gone.set()
        dispose(self.container)
        if self.follower is not None:
            self.follower.join(_LOG_SECONDS)
        self.output.close()


@dataclass
class Beside:
    """The services of one attempt and their network. Used by the attempt's thread; `interrupt` by any."""

    network: Network
    services: Sequence[Service]
    note: Callable[[str], None]
    _interrupted: threading.Event = field(default_factory=threading.Event)

    def job(self, cold: Job) -> Job:
        """Return the job of a step whose container is on the network."""

        def create() -> Any:
            self.network.make()
            return cold.create()

        def start(container: Any) -> Any:
            for service in self.services:
                self._start(service)
            return cold.start(container)

        def collect(container: Any) -> Mapping[str, bytes]:
            self._tell()
            return cold.collect(container)

        def remove(container: Any) -> None:
            for service in self.services:  # before the volume of the workspace, which one of them may use
                service.remove()
            cold.dispose(container)
            self.network.remove()

        return replace(cold, create=create, start=start, collect=collect, dispose=remove, interrupt=self.interrupt)

    def interrupt(self) -> None:
        """Have whoever waits for a service give up."""
        self._interrupted.set()
        for service in self.services:
            if service.container is not None:
                dispose(service.container)

    def _start(self, service: Service) -> None:
        import docker.errors

        until = time.monotonic() + READY_SECONDS
        try:
            service.start(self.network.engine)
            while (why := service.why_not_ready()) is not None:
                if time.monotonic() > until and service.running():
                    raise service.late(why)
                if self._interrupted.wait(_PACE_SECONDS):
                    raise Interrupted
        except docker.errors.APIError as error:
            if self._interrupted.is_set():
                raise Interrupted from error
            raise ServiceFailed(f"Service {service.plan.name!r} cannot start: {error.explanation or error}") from error

    def _tell(self) -> None:
        """Note which services ended before the step did: that may be why it failed."""
        for service in self.services:
            if not service.running():
                self.note(f"Service {service.plan.name!r} had ended before the step did: {service.ending()}.")
