"""Snapshots: what `setup=` leaves of an image, made once per content key and kept by the engine as an image.

The key is made of the settings that the container is made with – image, command, limits, network – and the contents of
`setup_inputs`. A repository's snapshots are its own; so are a branch's, but for the default branch's, which others take
too, see docs/decisions/setups-of-branches.md. A setup that fails leaves nothing. Those that are not used for long, and
more than the operator allows, are removed.
"""

import asyncio
import hashlib
import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any
from weakref import WeakValueDictionary

from stepwell.engine.seams import Output
from stepwell_runners import archives
from stepwell_runners.command_plan import CommandPlan
from stepwell_runners.container_jobs import Cold
from stepwell_runners.container_process import ContainerProcess
from stepwell_runners.images import SNAPSHOTS
from stepwell_runners.outcomes import SetupFailed
from stepwell_runners.reduce import Stack
from stepwell_runners.setup_inputs import ONCE, input_files
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


@dataclass(frozen=True)
class _Wanted:
    """A setup that is asked for; `keys` are those under which it may be, the last one that under which it is made."""

    inputs: dict[str, archives.Entry]
    settings: dict[str, Any]
    keys: Sequence[str]


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
        self._setups: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def ready(self, base: Base, asked: CommandPlan, stack: Stack, output: Output) -> Snapshot:
        """Return the image in which `setup=` has been run, making it first when it is new."""
        wanted = await asyncio.to_thread(self._wanted, base, asked, stack)
        for key in wanted.keys:
            async with self._setups.setdefault(key, asyncio.Lock()):
                if found := await asyncio.to_thread(self._there, base, asked, key):
                    return Snapshot(found, is_new=False)
                if key == wanted.keys[-1]:
                    await self._make(base, asked, wanted, output)
                    made = await asyncio.to_thread(self._found, base, asked, key, new=True)
        await asyncio.to_thread(self.collect, base.engine, except_for=wanted.keys[-1])
        return Snapshot(made, is_new=True)

    def _wanted(self, base: Base, asked: CommandPlan, stack: Stack) -> "_Wanted":
        inputs = _inputs(asked.setup_inputs, stack)
        own = {"working_dir": WORKSPACE, "environment": {"CI": "true"}}
        settings = {**base.settings(("sh", "-c", asked.setup or "")), **own}
        return _Wanted(inputs, settings, _keys([self._secret(), settings, base.scope], asked.setup_makers, inputs))

    async def _make(self, base: Base, asked: CommandPlan, wanted: "_Wanted", output: Output) -> None:
        output.note(f"Setting up ({ONCE})")
        job = Cold(base.engine, wanted.settings, self._labels, base.network).filled(
            lambda container: archives.send(container, wanted.inputs),
            lambda container: _commit(container, wanted.keys[-1]),
        )
        process = ContainerProcess(replace(job, disk=self._disk))
        exit_, timed_out = await watch(process, output, asked.timeout)
        if timed_out or exit_.code != 0:
            raise SetupFailed(f"setup= failed: {'it took too long' if timed_out else exit_.reason}.")

    def _there(self, base: Base, asked: CommandPlan, key: str) -> str | None:
        import docker.errors

        try:
            return self._found(base, asked, key, new=False)
        except docker.errors.ImageNotFound:
            return None

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


def _keys(about: Sequence[Any], makers: Iterable[str], inputs: dict[str, archives.Entry]) -> list[str]:
    """Return the key for each of those whose setup it may be."""
    digests = [(name, entry.mode, hashlib.sha256(entry.content or b"").hexdigest()) for name, entry in inputs.items()]
    texts = (json.dumps([*about, maker, sorted(digests)], sort_keys=True) for maker in makers)
    return [hashlib.sha256(text.encode()).hexdigest()[:32] for text in texts]


def _commit(container: Any, key: str) -> dict[str, bytes]:
    if container.attrs["State"]["ExitCode"] == 0:
        container.commit(repository=SNAPSHOTS, tag=key)
    return {}
