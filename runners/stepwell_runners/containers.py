"""Containers: heavy steps, through the Docker Engine API.

An attempt's container is created, started once, followed and removed by one thread, and its output comes through a
pipe like an isolate's. A container that waits is taken when there is one of its kind, see warm_containers; how a
workspace gets in, see container_jobs. `setup=` is run once and kept as a snapshot, see snapshots.

Everything we make carries a label with the state directory's name; `recover` removes what a crash left, only ours.
"""

import asyncio
import hashlib
import logging
import os
import secrets
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from stepwell.engine.seams import Attempt, Outcome, Output
from stepwell.errors import Unavailable
from stepwell_runners.build_context import ImagePlan
from stepwell_runners.command_plan import CommandPlan, ServicePlan
from stepwell_runners.container_jobs import (
    ATTACHED,
    Cold,
    WaitingContainer,
    can_wait,
    dispose,
    has_begun,
    removed,
    resumed,
    volume_of,
    warm,
)
from stepwell_runners.container_process import Block, ContainerProcess, Job
from stepwell_runners.container_settings import ContainerSettings, kind_of
from stepwell_runners.firewall import Opening
from stepwell_runners.image_builds import ImageBuilds
from stepwell_runners.images import Images
from stepwell_runners.networks import Network, Networks
from stepwell_runners.reduce import Stack
from stepwell_runners.services import Beside, Service
from stepwell_runners.slots import Slots
from stepwell_runners.snapshot_notes import Keep, SnapshotNotes
from stepwell_runners.snapshots import Base, Snapshots
from stepwell_runners.streaming import Bounds
from stepwell_runners.survivors import Record, recorded
from stepwell_runners.warm_containers import CannotWait, Kind, WarmContainers
from stepwell_runners.workspaces import Form, Workspace

log = logging.getLogger(__name__)

LABEL = "stepwell.state"
WARM = 4  # containers that wait
DEFAULT_KEEP = Keep()
_TIMED = 200  # attempts whose time to the first output is remembered
_ENGINE_TIMEOUT = 60  # seconds for one answer of the engine; waits and streams have none


class Containers:
    """Runs commands in containers of one engine. Lives on one event loop; blocking calls run in threads."""

    def __init__(
        self,
        state: Path,
        host: str | None = None,
        runtime: str | None = None,
        *,
        warm_containers: int = WARM,
        keep: Keep = DEFAULT_KEEP,
        disk: int | None = None,
        builds: bool = True,
        reach: tuple[Opening, ...] | None = (),
    ) -> None:
        """`reach` are places that are not public which containers with a network may reach, None for all."""
        self._host = host_of(host)
        self._disk = disk
        name = hashlib.sha256(str(state.resolve()).encode()).hexdigest()[:16]
        self._label = {LABEL: name}
        self._networks = Networks(name, self._label, self._host.startswith("unix://"), reach)
        self._settings = ContainerSettings(self._label, self._networks.shared.name, runtime, state)
        self._work = state / "work"
        self._survivors: dict[tuple[str, str], Record] = {}
        self._used = state / "containers"  # there since the first one was asked for; holds `_secret`
        self._engine: Any = None
        self._remaps = False  # owners of files, between the host and containers
        self._connecting = threading.Lock()
        self._threads = ThreadPoolExecutor(8, "engine")  # a pull takes minutes: it must not hold up anybody else
        self._snapshots = Snapshots(self._label, SnapshotNotes(state), keep, self._secret, disk)
        self.images = Images(self._connect, self._host, self._label, self._secret)
        self._builds = ImageBuilds(
            self._connect, self._host, self.images, state=state, labels=self._label, keep=keep, allowed=builds
        )
        self._slots = Slots(state)
        self.pool = WarmContainers(self._boot, self._threads, size=warm_containers)
        self._first_outputs: deque[float] = deque(maxlen=_TIMED)

    @property
    def form(self) -> Form:
        """How a workspace gets in: as an overlay if dockerd sees our files, and we may read what it wrote.

        Known when the engine has been asked, see `reach`: with user namespaces a container may not write our files.
        """
        ours = os.geteuid() == 0 and self._host.startswith("unix://") and not self._remaps
        return "overlay" if ours else "copy"

    async def reach(self) -> None:
        """Ask the engine what it is like, once. Raises Unavailable without one."""
        if self._engine is None:
            await asyncio.get_running_loop().run_in_executor(self._threads, self._connect)

    def _use(self) -> None:
        """Note that this state directory has something on the engine."""
        if not self._used.exists() or not self._used.stat().st_size:
            fresh = self._used.with_suffix(".new")
            fresh.touch(0o600)
            fresh.write_text(secrets.token_hex(16))
            fresh.rename(self._used)

    def _secret(self) -> str:
        """Return a part of what snapshots and private images are called, so that no Dockerfile can name one."""
        return self._used.read_text()

    async def build(self, asked: ImagePlan, stack: Stack, output: Output, bounds: Bounds) -> Outcome:
        """Build an image; see ImageBuilds."""
        self._use()
        return await self._builds.build(asked, stack, output, bounds)

    async def start(
        self, asked: CommandPlan, attempt: Attempt, workspace: Workspace, output: Output
    ) -> ContainerProcess:
        """Start a command in a container. Raises Unavailable without an engine, Invalid when it cannot be as asked."""
        loop = asyncio.get_running_loop()
        note, heard = _from_thread(output), self._timed()
        self._use()
        engine, image = await loop.run_in_executor(
            self._threads, self.images.ready, asked.image or "", asked.asker, note
        )
        kind, is_new = kind_of(asked, attempt.tenant, image), False
        if asked.setup:
            outside = partial(self._settings.alone, replace(kind, network=True))
            base = Base(engine, kind.image, outside, attempt.scope, partial(self._networks.shared.make, engine))
            snapshot = await self._snapshots.ready(base, asked, workspace.stack, output)
            kind, is_new = replace(kind, image=snapshot.image), snapshot.is_new
        if asked.services:
            images = [await self._image_of(one, kind, asked, note) for one in asked.services]
            network = self._networks.of(engine, workspace, reaches_out=kind.network)
            cold = self._cold(engine, kind, asked, workspace, network)
            services = [
                Service(one, network.joined(self._settings.of(replace(kind, image=image), one.argv), one, workspace),
                        workspace if one.argv else None, output.beside(one.name), self._disk)
                for one, image in zip(asked.services, images, strict=True)
            ]  # fmt: skip
            return ContainerProcess(replace(Beside(network, services, note).job(cold), disk=self._disk, heard=heard))
        job = _remembered(self._cold(engine, kind, asked, workspace), attempt, workspace)
        job = replace(job, disk=self._disk, heard=heard)
        if not can_wait(asked, workspace):
            return ContainerProcess(job)
        waiting = await self.pool.take(kind)
        if is_new:  # whoever pushes again may do so at once, and after a setup nobody counts milliseconds
            self.pool.refill(at_once=True)
        if waiting is not None:
            job = replace(warm(waiting, asked, workspace), disk=self._disk, heard=heard)
            job = _remembered(job, attempt, workspace, waiting)
        return ContainerProcess(self._pooled(job, kind))

    async def resume(
        self, asked: CommandPlan, attempt: Attempt, output: Output
    ) -> tuple[Workspace, ContainerProcess] | None:
        """Follow on in the container that an earlier attempt of the step has left running, if there is one."""
        record = self._survivors.get((attempt.run, attempt.key))
        if record is None or not record.is_of(attempt):
            return None
        engine = await asyncio.get_running_loop().run_in_executor(self._threads, self._connect)
        workspace, slot = record.opened(), self._slots.slot(record.slot) if record.slot else None
        del self._survivors[attempt.run, attempt.key]
        output.note("The server was restarted meanwhile. The command goes on in its container; all it printed follows.")
        return workspace, ContainerProcess(replace(resumed(engine, record, workspace, slot, asked), disk=self._disk))

    async def abandon(self, run: str, key: str | None = None) -> list[Workspace]:
        """Remove what survived of a run, or of one step, that wants it no more; give the workspaces to remove too."""
        wanted = [one for one in self._survivors if one[0] == run and key in (None, one[1])]
        mine = [self._survivors.pop(one) for one in wanted]
        if mine:
            await asyncio.to_thread(self._remove, mine)
        return [record.opened() for record in mine]

    def _remove(self, records: list[Record]) -> None:
        engine = self._connect()
        for record in records:
            for container in engine.containers.list(all=True, filters={"id": record.container}):
                dispose(container)
            removed(partial(self._remove_volume, engine, volume_of(record.opened())))
            if record.slot:
                self._slots.slot(record.slot).clear()

    @staticmethod
    def _remove_volume(engine: Any, name: str) -> None:
        engine.volumes.get(name).remove(force=True)

    def _cold(
        self, engine: Any, kind: Kind, asked: CommandPlan, workspace: Workspace, network: Network | None = None
    ) -> Job:
        """Return the job of a container that is made for this attempt alone, on this network if any."""
        own: dict[str, Any] = {"working_dir": asked.cwd, "environment": dict(asked.env)}
        if network is not None:
            settings = {**self._settings.of(kind, asked.argv), "network_mode": None, "network": network.name}
            return Cold(engine, settings | own, self._label).job(asked, workspace)
        settings = self._settings.alone(kind, asked.argv)
        if not kind.network:
            return Cold(engine, settings | own, self._label).job(asked, workspace)
        shared = partial(self._networks.shared.make, engine)
        return Cold(engine, settings | own, self._label, shared).job(asked, workspace)

    async def _image_of(self, service: ServicePlan, kind: Kind, asked: CommandPlan, note: Callable[[str], None]) -> str:
        """Return the id of a service's image: its own, or the step's as `setup=` left it."""
        if service.image is None:
            return kind.image
        loop = asyncio.get_running_loop()
        found = await loop.run_in_executor(self._threads, self.images.ready, service.image, asked.asker, note)
        return found[1]

    def _timed(self) -> Callable[[], None]:
        """Return what is to be called at an attempt's first output: its time is counted from now on."""
        tell, started = _telling(), time.monotonic()
        return lambda: tell(self._first_outputs.append, time.monotonic() - started)

    def first_outputs(self) -> Sequence[float]:
        """Return the seconds that the last attempts took to their first output, sorted."""
        return sorted(self._first_outputs)

    def _pooled(self, job: Job, kind: Kind) -> Job:
        """Return a job that tells the pool when its container runs, and when it is gone."""
        tell = _telling()

        def dispose(container: Any) -> None:
            job.dispose(container)
            tell(self.pool.left, kind)

        return replace(job, dispose=dispose, began=lambda: tell(self.pool.refill))

    def _boot(self, kind: Kind) -> WaitingContainer | None:
        """Make a container that waits; None when its image has no shell: then steps of that kind start cold."""
        import docker.errors

        engine = self._connect()
        name = f"stepwell-{secrets.token_hex(6)}"
        settings = {**self._settings.alone(kind, ("sh",)), "name": name, "working_dir": "/", "stdin_open": True}
        waiting = WaitingContainer()
        if kind.network:
            self._networks.shared.make(engine)
        try:
            if self.form == "overlay":
                waiting.slot = self._slots.make(name)
                settings["volumes"] = waiting.slot.volumes
            waiting.container = engine.containers.create(**settings)
            waiting.stream = waiting.container.attach_socket(params={"stdin": 1, **ATTACHED})
            waiting.container.start()
            waiting.container.reload()
            if waiting.slot and not waiting.slot.is_seen_by(waiting.container.attrs["State"]["Pid"]):
                raise CannotWait(f"The engine at {self._host} does not see what this server mounts.")
        except docker.errors.APIError:
            waiting.discard()
            return None
        except BaseException:
            waiting.discard()
            if waiting.container is None:  # the engine may have made it, and have gone away before it said so
                removed(lambda: engine.containers.get(name).remove(force=True))
            raise
        return waiting

    async def close(self) -> None:
        """Remove the containers that wait, and their network. No attempt is made any more."""
        await self.pool.stop()
        await asyncio.to_thread(self._slots.close)
        if self._engine is not None:
            await asyncio.to_thread(self._networks.shared.remove, self._engine)

    async def drop_snapshots(self) -> None:
        """Remove all snapshots that were made for this state directory."""
        if self._used.exists():
            await asyncio.to_thread(lambda: self._snapshots.drop(self._connect()))

    def forget_repository(self, scopes: Collection[str]) -> None:
        """Remove the images made for a repository that is gone; those of an engine that is away when it is back.

        Blocks. What a container still uses goes with the next collection.
        """
        kinds = (self._snapshots, self._builds)
        if sum(kind.let_go(scopes) for kind in kinds):
            try:
                engine = self._connect()
            except Unavailable as error:
                log.warning("Images of a deleted repository go when the container engine is back: %s", error)
                return
            for kind in kinds:
                kind.collect(engine)

    async def recover(self, ended: Callable[[str], bool] = lambda run: False) -> Sequence[Record]:
        """Remove containers, volumes and networks that a crash left, if there ever were any and an engine answers.

        Kept, and given, are those whose command goes on for a run that has not ended: see `resume`. Who runs no
        containers is spared the Docker client: a tenth of a second and some megabytes.
        """
        await asyncio.to_thread(self._builds.recover)
        if self._used.exists():
            await asyncio.to_thread(self._recover, ended)
        return list(self._survivors.values())

    def _connect(self) -> Any:
        """Return a client of the engine, which must answer."""
        import docker
        import docker.errors

        with self._connecting:
            try:
                if self._engine is None:
                    engine = docker.DockerClient(
                        base_url=self._host, version="auto", timeout=_ENGINE_TIMEOUT, max_pool_size=64
                    )
                    self._remaps = "name=userns" in (engine.info().get("SecurityOptions") or ())
                    self._engine = engine
                else:
                    self._engine.ping()
            except (docker.errors.DockerException, OSError) as error:
                raise Unavailable(
                    f"No container engine answers at {self._host}. Start Docker on this host and let Stepwell's user "
                    "reach it (group docker), or set STEPWELL_DOCKER_HOST to one that runs elsewhere."
                ) from error
            return self._engine

    def _recover(self, ended: Callable[[str], bool]) -> None:
        try:
            engine = self._connect()
        except Unavailable:
            return  # then nothing of ours runs there either
        ours = {"label": [f"{name}={value}" for name, value in self._label.items()]}
        there = engine.containers.list(all=True, filters=ours, ignore_removed=True)
        begun = {container.id for container in there if container.status != "created"}
        kept = [one for one in recorded(self._work) if one.container in begun and not ended(one.run)]
        kept = [one for one in kept if not one.slot or has_begun(self._slots.slot(one.slot))]
        volumes = {volume_of(one.opened()) for one in kept}
        for container in there:
            if container.id not in {one.container for one in kept}:
                dispose(container)
        for volume in engine.volumes.list(filters=ours):
            if volume.name not in volumes:
                removed(partial(volume.remove, force=True))
        self._networks.recover(engine, keep_shared=bool(kept))
        self._slots.recover({one.slot for one in kept if one.slot})
        self._survivors = {(one.run, one.key): one for one in kept}
        self._snapshots.collect(engine)
        self._builds.collect(engine)


def _remembered(job: Job, attempt: Attempt, workspace: Workspace, waiting: WaitingContainer | None = None) -> Job:
    """Return a job that is written down before its command begins. Caches are held by this process alone."""
    if workspace.held is not None:
        return job
    slot = waiting.slot.place.name if waiting and waiting.slot else ""

    def start(container: Any) -> Iterable[Block]:
        record = Record.of(attempt, workspace, container.id, waited=waiting is not None, slot=slot)
        record.write(workspace.place)
        return job.start(container)

    return replace(job, start=start)


def host_of(host: str | None) -> str:
    """Return where the engine is: as said, as DOCKER_HOST says, or on this host's usual socket."""
    return host or os.environ.get("DOCKER_HOST") or "unix:///var/run/docker.sock"


def _telling() -> Callable[..., None]:
    """Return a way to have the loop call something, from another thread; nothing happens when it is closed."""
    loop = asyncio.get_running_loop()

    def tell(what: Callable[..., None], *arguments: Any) -> None:
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(what, *arguments)

    return tell


def _from_thread(output: Output) -> Callable[[str], None]:
    """Return a way to note from another thread."""
    loop = asyncio.get_running_loop()

    def note(text: str) -> None:
        loop.call_soon_threadsafe(output.note, text)

    return note
