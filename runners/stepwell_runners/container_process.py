"""One container from creation to removal: a thread that follows it, behind the same face as a command in an isolate."""

import asyncio
import contextlib
import os
import re
import signal
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from stepwell.errors import Invalid, TryLater, Unavailable
from stepwell_runners.outcomes import EngineFull, is_full
from stepwell_runners.outgrown import size
from stepwell_runners.spec import Exit

Block = tuple[int, bytes]
"""Output, and the number of the stream that it came from: 1 or 2."""
_PATIENCE = 60.0  # seconds for an engine that went away to come back
_PACE = 0.5
_LOOK_SECONDS = 10.0  # between two looks at what it has written: the engine counts all of it each time
_SAID_BYTES = 4096
_NO_PROCESS = re.compile(
    rb"(fork|clone|thread|spawn)[^\n]{0,80}temporarily unavailable|temporarily unavailable[^\n]{0,40}fork"
    rb"|can't start new thread|unable to create (new )?native thread",
    re.IGNORECASE,
)
_NAMELESS = re.compile(r"[0-9a-f]{64}")  # a volume that goes with its container
_KILLED = 128 + signal.SIGKILL  # what a shell, and the engine, make of a process that was killed
_LATE_SECONDS = 2  # for which word of the kernel may come after the end of what it killed; seen with 3 % on a busy host
_HEADER = struct.Struct(">BxxxL")  # of a block in a stream of the engine: number, length


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
    start: Callable[[Any], Iterable[Block]]
    collect: Callable[[Any], Mapping[str, bytes]]
    dispose: Callable[[Any], None]
    began: Callable[[], None] = lambda: None
    heard: Callable[[], None] = lambda: None  # told of the first output
    interrupt: Callable[[], None] = lambda: None  # called by any thread to have `start` raise Interrupted
    disk: int | None = None  # bytes that it may write outside of what is mounted
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
        self._outgrew = False
        self._ending = threading.Event()
        self._seen: Counter[int] = Counter()  # bytes of each stream
        self._last = b""
        self.output, self._writing = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(self.output, False)
        threading.Thread(target=self._live, daemon=True, name="container").start()

    @property
    def halting(self) -> None:
        """The engine may be on another host."""

    @property
    def older(self) -> float:
        """For how many seconds it had been running when it was found."""
        return self.job.older

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
            if self.job.disk is not None:
                threading.Thread(target=self._bound, args=(self.job.disk,), daemon=True, name="container-disk").start()
            if self._killed:
                self._kill()
            self._copy(lines)
            return self._ended()
        except Interrupted:
            return Exit(None, int(signal.SIGKILL), "killed")
        except docker.errors.APIError as error:
            check_space(error)
            if running:
                raise
            raise Invalid(f"The container cannot start: {error.explanation or error}{_remedy(error)}") from error
        except OSError as error:
            if is_full(error):
                raise  # it is the disk that files are brought in from, or out to
            if running:  # requests' errors are OSErrors
                return self._followed_on(error)
            raise Unavailable(f"The container engine does not answer any more: {error}") from error
        finally:
            self._ending.set()
            self.job.dispose(self._container)

    def _bound(self, most: int) -> None:
        """Kill it when it has written too much."""
        if outgrew(self._container, most, self._ending):
            self._outgrew = True
            self.kill()

    def _copy(self, lines: Iterable[Block]) -> None:
        for stream, block in lines:
            if not self._seen:
                self.job.heard()
            self._seen[stream] += len(block)
            self._last = (self._last + block)[-_SAID_BYTES:]
            _write_all(self._writing, block)

    def _followed_on(self, error: OSError) -> Exit:
        """Follow on when the engine is back, from where it went away; what it took along is lost."""
        import docker.errors

        lost = Exit(None, None, f"the container engine went away ({error})", lost=True)
        until = time.monotonic() + _PATIENCE
        while time.monotonic() < until:
            try:
                self._container.reload()
                if self._killed:
                    self._kill()
                self._copy(without(logged(self._container), Counter(self._seen)))
                exit_ = self._ended()
            except docker.errors.NotFound:
                return lost
            except (docker.errors.APIError, OSError) as again:
                if isinstance(again, OSError) and is_full(again):
                    raise
                time.sleep(_PACE)  # still away, or again, or still starting
            else:
                by_itself = exit_.code == 0 or exit_.exceeded is not None or self._killed
                return (
                    exit_ if by_itself else lost
                )  # an engine that stops ends containers, which look as if they failed
        return lost

    def _ended(self) -> Exit:
        code = self._container.wait()["StatusCode"]
        self._container.reload()
        limit = f"limit {self._container.attrs['HostConfig'].get('Memory', 0) >> 20} MiB"
        oom = code != 0 and self._container.attrs["State"].get("OOMKilled")  # it may have gone on without a process
        if oom or (code == _KILLED and not self._killed and said_out_of_memory(self._container)):
            return Exit(None, int(signal.SIGKILL), f"out of memory ({limit})", exceeded="memory")
        if self._outgrew:
            reason = f"it wrote more than {(self.job.disk or 0) / (1 << 30):g} GiB into its container"
            return Exit(None, int(signal.SIGKILL), reason, exceeded="disk")
        if self._killed:
            return Exit(None, int(signal.SIGKILL), "killed")
        reason = f"exit code {code}"
        if code == _KILLED:
            reason += f": it was killed, most often for want of memory ({limit}), see memory="
        if code != 0 and _NO_PROCESS.search(
            self._last
        ):  # the engine does not tell, and its count goes with the container
            most = self._container.attrs["HostConfig"].get("PidsLimit") or 0
            reason += f", after it could start no process: it may have {most} at a time, see processes="
        return Exit(code, None, reason, collected=self.job.collect(self._container))


def said_out_of_memory(container: Any) -> bool:
    """Wait a moment for the engine to say that the kernel killed something in an ended container for want of memory.

    Its word may come after the end, and then is not in the container's state. It may be lost, too: the kernel takes the
    group that it would be read from apart.
    """
    now = int(time.time())
    told = container.client.api.events(
        since=now - _LATE_SECONDS, until=now + _LATE_SECONDS, filters={"container": container.id, "event": "oom"}
    )
    said = next(told, None) is not None  # it ends by itself when nothing comes
    if said:
        told.close()
    return said


def outgrew(container: Any, most: int, ending: threading.Event) -> bool:
    """Wait until a container has written more than `most` bytes outside of what is mounted; False when it ended."""
    import docker.errors

    api = container.client.api
    while not ending.wait(_LOOK_SECONDS):
        with contextlib.suppress(docker.errors.APIError, OSError):  # it is over, or the engine away: look again
            about = api._result(api._get(api._url("/containers/{0}/json", container.id), params={"size": 1}), json=True)
            if about.get("SizeRw", 0) + sum(size(place, most, least=0) for place in _volumes_of(about)) > most:
                return True
    return False


def _volumes_of(about: Mapping[str, Any]) -> Iterator[Path]:
    """Give what its image has as VOLUME, where the engine has that on this host: the engine's count leaves it out."""
    for mount in about.get("Mounts") or ():
        if mount.get("Type") == "volume" and _NAMELESS.fullmatch(str(mount.get("Name"))):
            yield Path(mount["Source"])


def logged(container: Any) -> Iterator[Block]:
    """Give everything that a container has put out, and follow it to its end: from the engine's own log."""
    api = container.client.api
    asked = {"stdout": 1, "stderr": 1, "follow": 1, "timestamps": 0, "tail": "all"}
    answer = api._get(api._url("/containers/{0}/logs", container.id), params=asked, stream=True)
    api._raise_for_status(answer)
    api._disable_socket_timeout(api._get_raw_response_socket(answer))
    while header := answer.raw.read(_HEADER.size):  # the package's own reader drops the number of the stream
        stream, length = _HEADER.unpack(header)
        yield stream, answer.raw.read(length)


def without(lines: Iterable[Block], seen: "Counter[int]") -> Iterator[Block]:
    """Leave out as many bytes of each stream as were seen."""
    for stream, block in lines:
        rest = block[seen[stream] :]
        seen[stream] -= len(block) - len(rest)
        if rest:
            yield stream, rest


def check_space(error: Any) -> None:
    """Raise EngineFull when that is what an error of the engine means."""
    if "no space left on device" in str(error.explanation or error).lower():
        raise EngineFull(
            "The disk of the container engine is full. Free some space there, for example with `docker system prune`."
        ) from error


def _remedy(error: Any) -> str:
    if not re.search(r"(unknown|invalid)[a-z ]* runtime", str(error.explanation), re.IGNORECASE):
        return ""
    return ". The operator sets it: STEPWELL_RUNTIME has to name one that `docker info` lists."


def never_started() -> TryLater:
    """Return the error for a container that had ended before its command began: the attempt is made again."""
    return TryLater("The container that waited for this step had ended.", 0.0)


def _write_all(descriptor: int, block: bytes) -> None:
    view = memoryview(block)
    while view:
        view = view[os.write(descriptor, view) :]
