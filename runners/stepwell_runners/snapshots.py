"""Snapshots: what `setup=` leaves of an image, made once per content key and kept by the engine as an image.

The key is made of the image, the command and the contents of `setup_inputs`; a repository's snapshots are its own. A
setup that fails leaves nothing. Those that are not used for long, and more than the operator allows, are removed.
"""

import asyncio
import hashlib
import json
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from stepwell.engine.seams import Output
from stepwell_runners import archives
from stepwell_runners.command_plan import CommandPlan
from stepwell_runners.container_jobs import Cold
from stepwell_runners.container_process import ContainerProcess
from stepwell_runners.images import SNAPSHOTS
from stepwell_runners.outcomes import SetupFailed
from stepwell_runners.reduce import Stack
from stepwell_runners.setup_inputs import input_files
from stepwell_runners.snapshot_notes import Keep, SnapshotNotes, collect, images
from stepwell_runners.spec import WORKSPACE
from stepwell_runners.streaming import watch


@dataclass(frozen=True)
class Base:
    """What is set up: an image by its id, for a repository, in a container with these settings for a command.

    `network` sees to the network that it is on.
    """

    engine: Any
    image: str
    settings: Callable[[tuple[str, ...]], dict[str, Any]]
    scope: str
    network: Callable[[], None]


@dataclass(frozen=True)
class Snapshot:
    """The id of an image; `is_new` when its setup has just been run."""

    image: str
    is_new: bool


class Snapshots:
    """Makes snapshots, each once however many ask. Lives on one event loop; blocking calls run in threads."""

    def __init__(
        self,
        labels: Mapping[str, str],
        notes: SnapshotNotes,
        keep: Keep,
        secret: Callable[[], str],
        disk: int | None = None,
    ) -> None:
        self._disk = disk
        self._secret = secret
        self._labels = labels
        self._notes = notes
        self._keep = keep
        self._setups: dict[str, asyncio.Lock] = {}

    async def ready(self, base: Base, asked: CommandPlan, stack: Stack, output: Output) -> Snapshot:
        """Return the image in which `setup=` has been run, making it first when it is new."""
        import docker.errors

        inputs = await asyncio.to_thread(_inputs, asked.setup_inputs, stack)
        key = await asyncio.to_thread(
            _snapshot_key, f"{self._secret()} {base.image}", base.scope, asked.setup or "", inputs
        )
        async with self._setups.setdefault(key, asyncio.Lock()):
            try:
                return Snapshot(await asyncio.to_thread(self._found, base, asked, key, new=False), is_new=False)
            except docker.errors.ImageNotFound:
                output.note("Setting up (once per image, command and setup_inputs)")
            own = {"working_dir": WORKSPACE, "environment": {"CI": "true"}}
            settings = {**base.settings(("sh", "-c", asked.setup or "")), **own}
            cold = Cold(base.engine, settings, self._labels, base.network)
            job = cold.filled(
                lambda container: archives.send(container, inputs),
                lambda container: _commit(container, key),
            )
            process = ContainerProcess(replace(job, disk=self._disk))
            exit_, timed_out = await watch(process, output, asked.timeout)
            if timed_out or exit_.code != 0:
                raise SetupFailed(f"setup= failed: {'it took too long' if timed_out else exit_.reason}.")
            made = await asyncio.to_thread(self._found, base, asked, key, new=True)
        await asyncio.to_thread(self.collect, base.engine, except_for=key)
        return Snapshot(made, is_new=True)

    def _found(self, base: Base, asked: CommandPlan, key: str, *, new: bool) -> str:
        """Return the id of the image of this key, and note its use."""
        found = base.engine.images.get(f"{SNAPSHOTS}:{key}")
        if new or not self._notes.used(key):
            self._notes.made(key, base.scope, asked.setup or "", _size_of(found, base))
        return str(found.id)

    def collect(self, engine: Any, except_for: str = "") -> None:
        """Remove what was not used for long, or is too much; blocks. What a container still uses stays for now."""
        collect(engine, SNAPSHOTS, self._labels, notes=self._notes, keep=self._keep, except_for=except_for)

    def let_go(self, scopes: Collection[str]) -> bool:
        """Have the next `collect` remove those of repositories that are gone; whether there are any. Blocks."""
        return self._notes.let_go(scopes)

    def drop(self, engine: Any) -> None:
        """Remove all of ours; blocks."""
        import docker.errors

        for image in images(engine, SNAPSHOTS, self._labels):
            with suppress(docker.errors.ImageNotFound):  # somebody else was faster
                engine.images.remove(image.id, force=True)
        for note in self._notes.all():
            self._notes.forget(note.key)


def _size_of(image: Any, base: Base) -> int:
    """Return the bytes that a snapshot adds to its image."""
    return max(0, int(image.attrs.get("Size", 0)) - int(base.engine.images.get(base.image).attrs.get("Size", 0)))


def _inputs(paths: tuple[str, ...], stack: Stack) -> dict[str, archives.Entry]:
    """Return the files of `setup_inputs`, by their place in the container."""
    found = {WORKSPACE[1:]: archives.folder(0o755)}
    for name, place in input_files(paths, stack):
        found[f"{WORKSPACE[1:]}/{name}"] = archives.file(place.read_bytes(), place.lstat().st_mode & 0o777)
    return found


def _snapshot_key(image: str, scope: str, setup: str, inputs: dict[str, archives.Entry]) -> str:
    digests = [(name, entry.mode, hashlib.sha256(entry.content or b"").hexdigest()) for name, entry in inputs.items()]
    return hashlib.sha256(json.dumps([image, scope, setup, sorted(digests)]).encode()).hexdigest()[:32]


def _commit(container: Any, key: str) -> dict[str, bytes]:
    if container.attrs["State"]["ExitCode"] == 0:
        container.commit(repository=SNAPSHOTS, tag=key)
    return {}
