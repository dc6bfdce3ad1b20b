"""Snapshots: what `setup=` leaves of an image, made once per content key and kept by the engine as an image.

The key is made of the image, the command and the contents of `setup_inputs`; a repository's snapshots are its own. A
setup that fails leaves nothing.
"""

import asyncio
import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from stepwell.engine.seams import Output
from stepwell.errors import Invalid
from stepwell_runners import archives
from stepwell_runners.command_plan import CommandPlan
from stepwell_runners.container_jobs import Cold
from stepwell_runners.container_process import ContainerProcess
from stepwell_runners.layers import File, below
from stepwell_runners.outcomes import SetupFailed
from stepwell_runners.reduce import Stack
from stepwell_runners.spec import WORKSPACE
from stepwell_runners.streaming import watch

SNAPSHOTS = "stepwell-snapshot"
MOST_INPUT_BYTES = 64 << 20  # of setup_inputs: they pass through memory


@dataclass(frozen=True)
class Base:
    """What is set up: an image by its id, for a repository, in a container with these settings for a command."""

    engine: Any
    image: str
    settings: Callable[[tuple[str, ...]], dict[str, Any]]
    scope: str


class Snapshots:
    """Makes snapshots, each once however many ask. Lives on one event loop; blocking calls run in threads."""

    def __init__(self, labels: Mapping[str, str]) -> None:
        self._labels = labels
        self._setups: dict[str, asyncio.Lock] = {}

    async def ready(self, base: Base, asked: CommandPlan, stack: Stack, output: Output) -> str:
        """Return the id of the image in which `setup=` has been run, making it first when it is new."""
        import docker.errors

        inputs = await asyncio.to_thread(_inputs, asked.setup_inputs, stack)
        key = await asyncio.to_thread(_snapshot_key, base.image, base.scope, asked.setup or "", inputs)
        name = f"{SNAPSHOTS}:{key}"
        async with self._setups.setdefault(key, asyncio.Lock()):
            try:
                found: str = (await asyncio.to_thread(base.engine.images.get, name)).id
                return found
            except docker.errors.ImageNotFound:
                output.note("Setting up (once per image, command and setup_inputs)")
            own = {"working_dir": WORKSPACE, "environment": {"CI": "true"}, "network_mode": "bridge"}
            cold = Cold(base.engine, {**base.settings(("sh", "-c", asked.setup or "")), **own}, self._labels)
            job = cold.filled(
                lambda container: archives.send(container, inputs),
                lambda container: _commit(container, key),
            )
            exit_, timed_out = await watch(ContainerProcess(job), output, asked.timeout)
            if timed_out or exit_.code != 0:
                raise SetupFailed(f"setup= failed: {'it took too long' if timed_out else exit_.reason}.")
            made: str = (await asyncio.to_thread(base.engine.images.get, name)).id
            return made

    def drop(self, engine: Any) -> None:
        """Remove all of ours; blocks."""
        for image in engine.images.list(filters={"label": [f"{name}={value}" for name, value in self._labels.items()]}):
            engine.images.remove(image.id, force=True)


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


def _snapshot_key(image: str, scope: str, setup: str, inputs: dict[str, archives.Entry]) -> str:
    digests = [(name, entry.mode, hashlib.sha256(entry.content or b"").hexdigest()) for name, entry in inputs.items()]
    return hashlib.sha256(json.dumps([image, scope, setup, sorted(digests)]).encode()).hexdigest()[:32]


def _commit(container: Any, key: str) -> dict[str, bytes]:
    if container.attrs["State"]["ExitCode"] == 0:
        container.commit(repository=SNAPSHOTS, tag=key)
    return {}
