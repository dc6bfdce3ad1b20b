"""Containers: heavy steps, through the Docker Engine API.

An attempt's container is created, started once, followed and removed by one thread, and its output comes through a
pipe like an isolate's. With root and a local engine the workspace is a volume of type overlay that dockerd itself
mounts: its upper becomes the layer, and it works whatever mount namespace dockerd is in. Otherwise the workspace goes
in as a tar stream and comes out as one.

`setup=` is run once per content key (image, command, contents of `setup_inputs`) and committed as a snapshot.
Everything we make carries a label with the state directory's name; `recover` removes what a crash left, only ours.
"""

import asyncio
import hashlib
import json
import os
import stat
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from stepwell.engine.seams import Output
from stepwell.errors import Invalid, Unavailable
from stepwell_runners import archives
from stepwell_runners.command_plan import OUTPUT_FILE, CommandPlan
from stepwell_runners.container_process import ContainerProcess, Job
from stepwell_runners.layers import File, below
from stepwell_runners.outcomes import SetupFailed
from stepwell_runners.reduce import Stack, open_beneath
from stepwell_runners.spec import FILES, WORKSPACE, Overlay
from stepwell_runners.streaming import watch
from stepwell_runners.workspaces import Form, Workspace

LABEL = "stepwell.state"
SNAPSHOTS = "stepwell-snapshot"
DEFAULT_MEMORY = 4 << 30  # bytes
PROCESSES = 4096
MOST_INPUT_BYTES = 64 << 20  # of setup_inputs: they pass through memory
_ENGINE_TIMEOUT = 60  # seconds for one answer of the engine; waits and streams have none


class Containers:
    """Runs commands in containers of one engine. Lives on one event loop; blocking calls run in threads."""

    def __init__(self, state: Path, host: str | None = None, runtime: str | None = None) -> None:
        self._host = host or os.environ.get("DOCKER_HOST") or "unix:///var/run/docker.sock"
        self._runtime = runtime
        self._label = {LABEL: hashlib.sha256(str(state.resolve()).encode()).hexdigest()[:16]}
        self._used = state / "containers"  # there since the first one was asked for
        self._engine: Any = None
        self._connecting = threading.Lock()
        self._setups: dict[str, asyncio.Lock] = {}
        self._threads = ThreadPoolExecutor(8, "engine")  # a pull takes minutes: it must not hold up anybody else

    @property
    def form(self) -> Form:
        """How a workspace gets in: as an overlay if dockerd sees our files, and we may read what it wrote."""
        return "overlay" if os.geteuid() == 0 and self._host.startswith("unix://") else "copy"

    async def start(self, asked: CommandPlan, workspace: Workspace, output: Output) -> ContainerProcess:
        """Start a command in a container. Raises Unavailable without an engine, Invalid when it cannot be as asked."""
        loop = asyncio.get_running_loop()
        note = _from_thread(output)
        engine, image = await loop.run_in_executor(self._threads, self._ready, asked.image or "", note)
        self._used.touch()
        if asked.setup:
            image = await self._snapshot(engine, image, asked, workspace, output)
        settings = {**self._settings(asked, asked.argv), "image": image, "working_dir": asked.cwd}
        settings["environment"] = dict(asked.env)
        if isinstance(workspace.mount, Overlay):
            job = self._mounted(engine, settings, asked, workspace, workspace.mount)
        else:
            job = Job(
                engine,
                settings,
                fill=lambda container: _send(container, asked, workspace),
                collect=lambda container: _fetch(container, workspace),
            )
        return ContainerProcess(job)

    def _mounted(
        self, engine: Any, settings: dict[str, Any], asked: CommandPlan, workspace: Workspace, mount: Overlay
    ) -> Job:
        """Return the job of a container in which dockerd mounts the workspace, and a directory of private files.

        Archives would be simpler for the files, but each makes dockerd mount and unmount all volumes, and a volatile
        overlay mounts only once.
        """
        name = f"stepwell-{workspace.id}"
        options = {"type": "overlay", "device": "overlay", "o": _mount_options(mount)}
        volume = {"name": name, "driver": "local", "driver_opts": options, "labels": self._label}
        private = workspace.place / "files"
        settings["volumes"] = {
            name: {"bind": WORKSPACE, "mode": "rw,nocopy"},  # a copy would mount it once too often
            str(private): {"bind": FILES, "mode": "rw"},
        }
        if workspace.git:
            settings["volumes"][str(workspace.git.objects)] = {"bind": workspace.git.at, "mode": "ro"}
        return Job(
            engine,
            settings,
            fill=lambda _: _write_private(private, asked),
            collect=lambda _: _read_private(private),
            volume=volume,
        )

    async def recover(self) -> None:
        """Remove containers and volumes that a crash left, if there ever were any and an engine answers.

        Who runs no containers is spared the Docker client: a tenth of a second and some megabytes.
        """
        if self._used.exists():
            await asyncio.to_thread(self._recover)

    def _connect(self) -> Any:
        """Return a client of the engine, which must answer."""
        import docker
        import docker.errors

        with self._connecting:
            try:
                if self._engine is None:
                    self._engine = docker.DockerClient(
                        base_url=self._host, version="auto", timeout=_ENGINE_TIMEOUT, max_pool_size=64
                    )
                else:
                    self._engine.ping()
            except (docker.errors.DockerException, OSError) as error:
                raise Unavailable(
                    f"No container engine answers at {self._host}. Start Docker on this host and let Stepwell's user "
                    "reach it (group docker), or set STEPWELL_DOCKER_HOST to one that runs elsewhere."
                ) from error
            return self._engine

    def _ready(self, image: str, note: Callable[[str], None]) -> tuple[Any, str]:
        """Return the engine and the id of an image, pulled when it is missing."""
        import docker.errors
        from docker.utils import parse_repository_tag

        image = reference_of(image)
        engine = self._connect()
        try:
            return engine, engine.images.get(image).id
        except docker.errors.ImageNotFound:
            note(f"Pulling image {image}")
        except docker.errors.APIError as error:
            raise Invalid(
                f"image has value {image!r}, which the container engine refuses: {error.explanation}"
            ) from error
        try:
            pulled = engine.images.pull(*parse_repository_tag(image))
        except docker.errors.APIError as error:
            raise Invalid(
                f"Image {image!r} is not on this host and cannot be pulled: {error.explanation or error}. "
                "Check its name, or bring it to this host with `docker pull` or `docker load`."
            ) from error
        return engine, pulled.id

    def _settings(self, asked: CommandPlan, argv: tuple[str, ...]) -> dict[str, Any]:
        """Return what every container gets: the command, the bounds, what is taken away."""
        if asked.network is not None and asked.network.hosts is not None:
            raise Invalid(
                "network= with a list of hosts is for isolates. A container has all of it or none: True, False."
            )
        settings: dict[str, Any] = {
            "entrypoint": [argv[0]],
            "command": list(argv[1:]),
            "labels": self._label,
            "network_mode": "bridge" if asked.network else "none",
            "security_opt": ["no-new-privileges"],
            "cap_drop": ["MKNOD", "SETFCAP"],
            "mem_limit": asked.memory or DEFAULT_MEMORY,
            "memswap_limit": asked.memory or DEFAULT_MEMORY,
            "pids_limit": asked.processes or PROCESSES,
            "log_config": {"Type": "none"},  # followed from before its start: nothing is written twice
        }
        if asked.cpu:
            settings["nano_cpus"] = int(asked.cpu * 1e9)
        if self._runtime:
            settings["runtime"] = self._runtime
        return settings

    async def _snapshot(self, engine: Any, image: str, asked: CommandPlan, workspace: Workspace, output: Output) -> str:
        """Return the image in which `setup=` has been run, making it first when it is new."""
        import docker.errors

        inputs = await asyncio.to_thread(_inputs, asked.setup_inputs, workspace.stack)
        key = await asyncio.to_thread(_snapshot_key, image, asked.setup or "", inputs)
        name = f"{SNAPSHOTS}:{key}"
        async with self._setups.setdefault(key, asyncio.Lock()):
            try:
                found: str = (await asyncio.to_thread(engine.images.get, name)).id
                return found
            except docker.errors.ImageNotFound:
                output.note("Setting up (once per image, command and setup_inputs)")
            argv = ("sh", "-c", asked.setup or "")
            settings = {**self._settings(asked, argv), "image": image, "working_dir": WORKSPACE}
            settings |= {"environment": {"CI": "true"}, "network_mode": "bridge"}
            job = Job(
                engine,
                settings,
                lambda container: archives.send(container, inputs),
                lambda container: _commit(container, key),
            )
            exit_, timed_out = await watch(ContainerProcess(job), output, asked.timeout)
            if timed_out or exit_.code != 0:
                raise SetupFailed(f"setup= failed: {'it took too long' if timed_out else exit_.reason}.")
            made: str = (await asyncio.to_thread(engine.images.get, name)).id
            return made

    def _recover(self) -> None:
        try:
            engine = self._connect()
        except Unavailable:
            return  # then nothing of ours runs there either
        ours = {"label": [f"{name}={value}" for name, value in self._label.items()]}
        for container in engine.containers.list(all=True, filters=ours, ignore_removed=True):
            container.remove(force=True, v=True)
        for volume in engine.volumes.list(filters=ours):
            volume.remove(force=True)


def _from_thread(output: Output) -> Callable[[str], None]:
    """Return a way to note from another thread."""
    loop = asyncio.get_running_loop()

    def note(text: str) -> None:
        loop.call_soon_threadsafe(output.note, text)

    return note


def reference_of(image: str) -> str:
    """Return the image's full name. Images are shared by all tenants, but what was set up for one is not for others.

    The engine takes the beginning of an id for a name, so snapshots could be found by trying: a tag rules that out.
    """
    from docker.utils import parse_repository_tag

    repository, tag = parse_repository_tag(image)
    if image.startswith("sha256:") or repository.rpartition("/")[2] == SNAPSHOTS:
        raise Invalid(f'image has value {image!r}. Name an image of a registry, like "python:3.12-slim".')
    return image if tag else f"{repository}:latest"


def _mount_options(mount: Overlay) -> str:
    paths = [str(path) for path in (*mount.lowers, mount.upper, mount.work)]
    if any(bad in path for path in paths for bad in ',:"\\'):
        raise Invalid("Container steps need a state directory whose path has no comma, colon, quote or backslash.")
    lowers = ":".join(paths[:-2])
    return f"lowerdir={lowers},upperdir={paths[-2]},workdir={paths[-1]},volatile,nodev,nosuid"


def _write_private(folder: Path, asked: CommandPlan) -> None:
    """Lay the private files where the container sees them; the directory above is the runner's alone."""
    folder.parent.chmod(0o700)
    folder.mkdir(exist_ok=True)
    folder.chmod(0o1777)
    for name, content in asked.files.items():
        (folder / name).write_bytes(content)
        (folder / name).chmod(0o444)


def _read_private(folder: Path) -> dict[str, bytes]:
    """Return what the command put out; it may have left anything in that place."""
    try:
        descriptor = open_beneath(folder, OUTPUT_FILE.rpartition("/")[2])
    except OSError:
        return {}
    with os.fdopen(descriptor, "rb") as reading:
        is_file = stat.S_ISREG(os.fstat(descriptor).st_mode)
        return {OUTPUT_FILE: reading.read(archives.MOST_BYTES + 1)} if is_file else {}


def _send(container: Any, asked: CommandPlan, workspace: Workspace) -> None:
    """Bring private files and the workspace in."""
    files = {FILES[1:]: archives.folder(0o1777)}
    files |= {f"{FILES[1:]}/{name}": archives.file(content, 0o444) for name, content in asked.files.items()}
    archives.send(container, files)
    archives.send_folder(container, workspace.upper, WORKSPACE[1:], workspace.place)


def _fetch(container: Any, workspace: Workspace) -> dict[str, bytes]:
    """Fetch the workspace, and what the command put out."""
    archives.fetch_folder(container, WORKSPACE, workspace.upper, workspace.place)
    content = archives.fetch_file(container, OUTPUT_FILE)
    return {} if content is None else {OUTPUT_FILE: content}


def _inputs(paths: tuple[str, ...], stack: Stack) -> dict[str, archives.Entry]:
    """Return the files of `setup_inputs`, by their place in the container."""
    found = {WORKSPACE[1:]: archives.folder(0o755)}
    room = MOST_INPUT_BYTES
    for path in paths:
        tidy = "/".join(part for part in path.split("/") if part not in ("", "."))
        here = [inner for inner in below(stack, tidy) if isinstance(stack.node(inner), File)]
        if not here:
            raise Invalid(f"setup_inputs names {path!r}, which is not a regular file or a directory of the workspace.")
        for inner in here:
            place = stack.place(inner)
            assert place is not None
            status = place.lstat()
            room -= status.st_size
            if room < 0:
                raise Invalid(f"setup_inputs names more than {MOST_INPUT_BYTES >> 20} MiB. Name what the setup reads.")
            found[f"{WORKSPACE[1:]}/{inner}"] = archives.file(place.read_bytes(), status.st_mode & 0o777)
    return found


def _snapshot_key(image: str, setup: str, inputs: dict[str, archives.Entry]) -> str:
    digests = [(name, entry.mode, hashlib.sha256(entry.content or b"").hexdigest()) for name, entry in inputs.items()]
    return hashlib.sha256(json.dumps([image, setup, sorted(digests)]).encode()).hexdigest()[:32]


def _commit(container: Any, key: str) -> dict[str, bytes]:
    if container.attrs["State"]["ExitCode"] == 0:
        container.commit(repository=SNAPSHOTS, tag=key)
    return {}
