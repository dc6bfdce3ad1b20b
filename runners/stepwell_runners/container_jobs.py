"""How a workspace gets into a container and its changes out: mounted by dockerd, mounted by us, or sent as an archive.

    cold, mounted    a volume of type overlay, which dockerd mounts; works whatever mount namespace dockerd is in
    warm, mounted    into the slot of a container that waits
    sent             a tar stream in and one out, where we are not root or the engine is elsewhere; cold or warm

A container that waits is a shell that reads from its standard input, which is ours. It is sent one command that ends in
`exec`, with the variables: so they appear in no description of the container. When the server dies before, the input
ends and the shell with it.
"""

import logging
import select
import shlex
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

from stepwell.errors import Invalid
from stepwell_runners import archives, slots
from stepwell_runners.command_plan import OUTPUT_FILE, CommandPlan
from stepwell_runners.container_process import Block, Job, logged, never_started
from stepwell_runners.slots import Slot
from stepwell_runners.spec import FILES, WORKSPACE, Overlay
from stepwell_runners.survivors import Record
from stepwell_runners.workspaces import Workspace

log = logging.getLogger(__name__)

ATTACHED = {"stdout": 1, "stderr": 1, "stream": 1}
STARTED, MISSING = ".started", ".missing"
_OUTPUT = OUTPUT_FILE.rpartition("/")[2]
_REMOVED_SECONDS = 30
_WANTED = (_OUTPUT, STARTED, MISSING)
_owed: deque[Callable[[], None]] = deque(maxlen=1000)  # removals for which an engine was away, the oldest first


@dataclass
class WaitingContainer:
    """Implements Waiting."""

    container: Any = None
    stream: Any = None  # of its input and its output
    slot: Slot | None = None

    def usable(self) -> bool:
        """Say whether it still waits: it says nothing before it is told what to do."""
        poll = select.poll()
        poll.register(self.stream, select.POLLIN | select.POLLHUP)
        return not poll.poll(0)

    def discard(self) -> None:
        """Remove it, with all that had been made of it."""
        dispose(self.container)
        if self.stream is not None:
            self.stream.close()
        if self.slot is not None:
            self.slot.clear()


def can_wait(asked: CommandPlan, workspace: Workspace) -> bool:
    """Say whether a command can be sent to a container that waits."""
    return not asked.argv[0].startswith("-") and (workspace.git is None or workspace.git.at == slots.GIT_OBJECTS)


def warm(waiting: WaitingContainer, asked: CommandPlan, workspace: Workspace) -> Job:
    """Return the job of an attempt in a container that waits."""
    slot = waiting.slot

    def create() -> Any:
        if slot is None:
            _send(waiting.container, asked, workspace)
        else:
            assert isinstance(workspace.mount, Overlay)
            slots.write_files(slot.files, asked.files)
            slot.lay(workspace.mount, workspace.git.objects if workspace.git else None)
        return waiting.container

    def start(container: Any) -> Iterable[Block]:
        getattr(waiting.stream, "_sock", waiting.stream).sendall(script(asked))
        return _blocks(waiting.stream)

    def collect(container: Any) -> Mapping[str, bytes]:
        return _outputs(_fetch(container, workspace) if slot is None else _read(slot), asked)

    return Job(create, start, collect, dispose=lambda _: waiting.discard())


def has_begun(slot: Slot) -> bool:
    """Whether the command of a container that waited has begun."""
    return STARTED in _read(slot)


def script(asked: CommandPlan) -> bytes:
    """Return what a shell is told: one compound command, of which a part is none. It says that it began, then goes."""
    variables = "".join(f"export {name}={shlex.quote(value)}; " for name, value in asked.env.items())
    program = shlex.quote(asked.argv[0])
    parts = [
        f": > {FILES}/{STARTED}; cd {shlex.quote(asked.cwd)} || exit 1; {variables}",
        f"command -v {program} > /dev/null 2>&1 || {{ : > {FILES}/{MISSING}; exit 127; }}; ",
        f"exec {shlex.join(asked.argv)} < /dev/null; ",
    ]
    return f"{{ {''.join(parts)}}}\n".encode()


def resumed(engine: Any, record: Record, workspace: Workspace, slot: Slot | None, asked: CommandPlan) -> Job:
    """Return the job of an attempt whose container outlived its server: followed from its first line on."""

    def collect(container: Any) -> Mapping[str, bytes]:
        if slot is not None:
            found = _read(slot)
        elif isinstance(workspace.mount, Overlay):
            found = slots.read_files(workspace.place / "files", _WANTED, archives.MOST_BYTES)
        else:
            found = _fetch(container, workspace)
        return _outputs(found, asked) if record.waited else _outputs_of(found)

    def remove(container: Any) -> None:
        dispose(container)
        if slot is not None:
            slot.clear()
        elif isinstance(workspace.mount, Overlay):
            removed(lambda: engine.volumes.get(volume_of(workspace)).remove(force=True))

    return Job(lambda: engine.containers.get(record.container), logged, collect, remove, older=record.seconds)


def _outputs(found: Mapping[str, bytes], asked: CommandPlan) -> Mapping[str, bytes]:
    if STARTED not in found:
        raise never_started()
    if MISSING in found:
        raise Invalid(f"The container cannot start: {asked.argv[0]!r} is no program of its image.")
    return {OUTPUT_FILE: found[_OUTPUT]} if _OUTPUT in found else {}


@dataclass(frozen=True)
class Cold:
    """A container that is made for one attempt: `settings` are those of the engine; `network` sees to what it is on."""

    engine: Any
    settings: Mapping[str, Any]
    labels: Mapping[str, str]
    network: Callable[[], None] = lambda: None

    def job(self, asked: CommandPlan, workspace: Workspace) -> Job:
        """Return the job of an attempt in it."""
        if isinstance(workspace.mount, Overlay):
            return self._mounted(asked, workspace, workspace.mount)
        return self.filled(
            lambda container: _send(container, asked, workspace),
            lambda container: _outputs_of(_fetch(container, workspace, (_OUTPUT,))),
        )

    def filled(self, fill: Callable[[Any], None], collect: Callable[[Any], Mapping[str, bytes]]) -> Job:
        """Return the job of one that is filled before its start, and read after its end."""

        def create() -> Any:
            self.network()
            container = self.engine.containers.create(**self.settings)
            try:
                fill(container)
            except BaseException:
                dispose(container)
                raise
            return container

        return Job(create, _started, collect, dispose)

    def _mounted(self, asked: CommandPlan, workspace: Workspace, mount: Overlay) -> Job:
        """Return the job of a container in which dockerd mounts the workspace, and a directory of private files.

        Archives would be simpler for the files, but each makes dockerd mount and unmount all volumes, and a volatile
        overlay mounts only once.
        """
        name = volume_of(workspace)
        paths = f"{slots.overlay_options(mount)},nodev,nosuid"
        private = workspace.place / "files"
        volumes = {
            name: {"bind": WORKSPACE, "mode": "rw,nocopy"},  # a copy would mount it once too often
            str(private): {"bind": FILES, "mode": "rw"},
        }
        if workspace.git:
            volumes[str(workspace.git.objects)] = {"bind": workspace.git.at, "mode": "ro"}

        def create() -> Any:
            self.network()
            options = {"type": "overlay", "device": "overlay", "o": paths}
            self.engine.volumes.create(name=name, driver="local", driver_opts=options, labels=dict(self.labels))
            slots.write_files(private, asked.files)
            return self.engine.containers.create(**self.settings, volumes=volumes)

        return Job(
            create,
            _started,
            lambda _: _outputs_of(slots.read_files(private, _WANTED, archives.MOST_BYTES)),
            partial(_dispose_all, self.engine, name),
        )


def volume_of(workspace: Workspace) -> str:
    """Return the name of the volume as which dockerd mounts a workspace."""
    return f"stepwell-{workspace.id}"


def _started(container: Any) -> Iterator[Block]:
    """Start it, and follow its output from before the start: no line is lost."""
    stream = container.attach_socket(params=ATTACHED)
    container.start()
    return _blocks(stream)


def _blocks(stream: Any) -> Iterator[Block]:
    """Give what a container puts out, as it comes."""
    from docker.utils.socket import frames_iter

    try:
        yield from frames_iter(stream, tty=False)  # type: ignore[no-untyped-call]
    finally:
        stream.close()


def _dispose_all(engine: Any, volume: str, container: Any) -> None:
    """Remove a container and its volume; dockerd unmounts the workspace with them."""
    dispose(container)
    removed(lambda: engine.volumes.get(volume).remove(force=True))


def dispose(container: Any) -> None:
    """Remove a container, running or not; never raises."""
    if container is not None:
        removed(lambda: _remove(container))


def _remove(container: Any) -> None:
    import docker.errors

    try:
        container.remove(force=True, v=True)
    except docker.errors.APIError as error:
        if "already in progress" not in str(error.explanation):
            raise
        container.wait(condition="removed", timeout=_REMOVED_SECONDS)  # by somebody else; its volume is free only then


def removed(remove: Callable[[], None]) -> None:
    """Remove something of the engine's, which may be gone already; never raises.

    What an engine that is away keeps is removed after the next thing that can be.
    """
    if not _tried(remove):
        return
    with suppress(IndexError):
        while _tried(_owed.popleft()):
            continue


def _tried(remove: Callable[[], None]) -> bool:
    """Say whether an engine has answered; who did not is asked again."""
    import docker.errors

    try:
        remove()
    except docker.errors.NotFound:
        pass  # never made, or removed by somebody else
    except docker.errors.APIError as error:
        log.warning("A container, volume or network was left behind, until the next start: %s", error)
    except OSError as error:
        log.warning("A container, volume or network is left behind, until the engine is back: %s", error)
        _owed.append(remove)
        return False
    return True


def _send(container: Any, asked: CommandPlan, workspace: Workspace) -> None:
    """Bring private files and the workspace in."""
    files = {FILES[1:]: archives.folder(0o1777)}
    files |= {f"{FILES[1:]}/{name}": archives.file(content, 0o444) for name, content in asked.files.items()}
    archives.send(container, files)
    archives.send_folder(container, workspace.upper, WORKSPACE[1:], workspace.place)


def _fetch(container: Any, workspace: Workspace, names: Collection[str] = _WANTED) -> dict[str, bytes]:
    """Fetch the workspace, and the files that a command or its shell put beside it."""
    archives.fetch_folder(container, WORKSPACE, workspace.upper, workspace.place)
    return archives.fetch_files(container, FILES, names)


def _read(slot: Slot) -> dict[str, bytes]:
    return slots.read_files(slot.files, _WANTED, archives.MOST_BYTES)


def _outputs_of(found: Mapping[str, bytes]) -> dict[str, bytes]:
    return {OUTPUT_FILE: found[_OUTPUT]} if _OUTPUT in found else {}
