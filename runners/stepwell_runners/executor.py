"""The executor of steps: each attempt is a transaction on the workspace, in an isolate or in a container.

    plan → tree, tools → workspace → command → every process dead → collect → commit → Outcome

Nothing of an attempt is kept unless it passed and its layer is on disk. Whatever the command does is an Outcome; so are
refusals, which say that retrying cannot help, and a host that took the attempt away, which is tried again, not counted.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from stepwell.engine.seams import Attempt, Outcome, Output, Prepared
from stepwell.errors import Conflict
from stepwell.store.blobs import BlobFiles
from stepwell.store.caches import CacheFiles
from stepwell.store.removals import removals_held
from stepwell_runners import outcomes
from stepwell_runners.build_context import image_plan
from stepwell_runners.caching import Caching
from stepwell_runners.collected import Bound, Collector
from stepwell_runners.command_plan import CommandPlan, NetworkPolicy, plan
from stepwell_runners.connections import Connections
from stepwell_runners.container_jobs import WaitingContainer
from stepwell_runners.containers import DEFAULT_KEEP, WARM, Containers
from stepwell_runners.firewall import networks_of
from stepwell_runners.kits import Kit, Kits
from stepwell_runners.moments import Moments
from stepwell_runners.opening import Isolates, Opener
from stepwell_runners.outgrown import DiskWatch
from stepwell_runners.reading import read_text
from stepwell_runners.reduce import Stack
from stepwell_runners.reusing import Reusing
from stepwell_runners.run_forks import GIT_ENVIRONMENT, RunForks
from stepwell_runners.settling import Ending, Settler
from stepwell_runners.setups import Setups
from stepwell_runners.shelf import DEFAULT_LIMIT as SHELF_LIMIT
from stepwell_runners.shelf import Shelf
from stepwell_runners.snapshot_notes import Keep
from stepwell_runners.streaming import DEFAULT_BOUNDS, Bounds, Place, Stuck, watch
from stepwell_runners.threads import entered, finished
from stepwell_runners.toolchains import Toolchains
from stepwell_runners.trees import Form as TreeForm
from stepwell_runners.trees import Trees
from stepwell_runners.warm_containers import WarmContainers
from stepwell_runners.workspaces import Workspaces

DEFAULT_ARTIFACTS = Bound()
DEFAULT_CACHE_BYTES = 10 << 30


class LocalExecutor:
    """Implements Executor on this host. Blocking work on files happens in threads."""

    def __init__(
        self,
        isolates: Isolates,
        trees: Trees,
        workspaces: Workspaces,
        shelf: Shelf,
        containers: Containers,
        *,
        forks: RunForks,
        collector: Collector,
        caching: Caching,
        reusing: Reusing,
        bounds: Bounds = DEFAULT_BOUNDS,
        network: NetworkPolicy = "any",
    ) -> None:
        self._isolates = isolates
        self._trees = trees
        self._workspaces = workspaces
        self._shelf = shelf
        self._disk = DiskWatch()
        self._kits = Kits(shelf, Toolchains(shelf), Setups(shelf, isolates, bounds, network, self._disk))
        self._network = network
        self._containers = containers
        self._forks = forks
        self._caching = caching
        self._reusing = reusing
        self._opener = Opener(isolates, trees, workspaces, containers, forks=forks, caching=caching)
        self._settler = Settler(workspaces, collector, caching)
        self._bounds = bounds

    @classmethod
    def at(
        cls,
        state: Path,
        isolates: Isolates,
        trees: Trees | None = None,
        *,
        docker_host: str | None = None,
        runtime: str | None = None,
        warm_containers: int = WARM,
        snapshots: Keep = DEFAULT_KEEP,
        bounds: Bounds = DEFAULT_BOUNDS,
        network: NetworkPolicy = "any",
        tools: int = SHELF_LIMIT,
        artifacts: Bound = DEFAULT_ARTIFACTS,
        cache_bytes: int = DEFAULT_CACHE_BYTES,
        image_builds: bool = True,
        containers_reach: str = "",
    ) -> "LocalExecutor":
        """Make one with everything below a state directory; `tools` are the bytes that installed tools may take."""
        trees = trees or Trees(state)
        workspaces = Workspaces(state, shown=trees.shown)
        containers = Containers(
            state,
            docker_host,
            runtime,
            warm_containers=warm_containers,
            keep=snapshots,
            disk=bounds.disk,
            builds=image_builds,
            reach=networks_of(containers_reach),
        )
        rooms = (trees, workspaces, Shelf(state / "tools", tools), containers)
        blobs = BlobFiles(state / "blobs")
        collector, reusing = Collector(blobs, artifacts), Reusing(state, workspaces, blobs)
        caching = Caching(CacheFiles(state / "caches", cache_bytes))
        return cls(
            isolates, *rooms, forks=RunForks(state), collector=collector, caching=caching, reusing=reusing,
            bounds=bounds, network=network,
        )  # fmt: skip

    @property
    def moments(self) -> Moments:
        """Reads the files that steps stood on and left."""
        return Moments(self._trees, self._workspaces)

    @property
    def warm(self) -> WarmContainers[WaitingContainer]:
        """The containers that wait for attempts."""
        return self._containers.pool

    def first_outputs(self) -> Sequence[float]:
        """Return the seconds that the last container steps took to their first output, sorted."""
        return self._containers.first_outputs()

    async def recover(self, committed: Callable[[str], bool], ended: Callable[[str], bool]) -> None:
        """Remove what a crash left behind."""
        survivors = await self._containers.recover(ended)
        opened = [one.opened() for one in survivors]
        places = {workspace.place for workspace in opened}
        beneath = {lower for workspace in opened for lower in workspace.lowers}
        await asyncio.to_thread(self._workspaces.recover, committed, places)
        await asyncio.to_thread(self._forks.recover, ended, {one.run for one in survivors})
        await asyncio.to_thread(self._trees.recover, beneath)
        await asyncio.to_thread(self._shelf.recover)
        await asyncio.to_thread(self._caching.recover)

    async def close(self) -> None:
        """Give back what stands ready. Called when no attempt is under way and none follows."""
        await self._containers.close()

    async def drop_snapshots(self) -> None:
        """Remove everything that `setup=` has made; it is made again when a step asks."""
        await self._containers.drop_snapshots()

    def forget_repository(self, scope: str, repository: str) -> bool:
        """Remove what is kept for a repository whose runs are gone. Blocks; False when some must be asked for again."""
        self._containers.forget_repository({scope, f"{scope.partition('/')[0]}/{repository}"})
        self._forks.forget_repository(repository)
        return self._trees.forget(repository)

    async def filled(self) -> None:
        """Wait until what is made ahead stands ready."""
        await self._containers.pool.filled()

    async def forget(self, run: str) -> None:
        """Drop fork and pin of a finished run; its layers stay."""
        await self.abandon(run)
        self._forks.stay(run)
        await asyncio.to_thread(self._forks.forget, run)

    async def abandon(self, run: str, key: str | None = None) -> None:
        """End what an earlier server had begun for a run, or one of its steps, and no attempt has taken over."""
        for workspace in await self._containers.abandon(run, key):
            await asyncio.to_thread(self._workspaces.discard, workspace)

    async def missing(self, layers: Sequence[str]) -> list[str]:
        """Name the layers that are there no more."""
        return await asyncio.to_thread(self._workspaces.missing, layers)

    async def drop(self, layers: Sequence[str]) -> None:
        """Remove layers on which no run stands; not while a backup is made, then they go at the next start."""
        with suppress(Conflict), removals_held(self._workspaces.state):
            await self._drop(layers)

    async def _drop(self, layers: Sequence[str]) -> None:
        for layer in layers:
            await asyncio.to_thread(self._workspaces.drop, layer)

    async def erase(self, runs: Sequence[str], layers: Sequence[str]) -> None:
        """Remove what is left of runs: forks and pins, these layers."""
        for run in runs:
            await self.abandon(run)
            await asyncio.to_thread(self._forks.forget, run)
        await self._drop(layers)  # whoever removes runs has seen to it that no backup is made

    async def execute(self, attempt: Attempt, prepared: Prepared, output: Output) -> Outcome:
        """Run one attempt; see the contract of Executor."""
        started = time.monotonic()
        try:
            if attempt.kind == "read":
                return await asyncio.to_thread(self._read, attempt)
            if attempt.kind == "image":
                return await self._build(attempt, prepared, output)
            self._forks.enter(attempt.run)
            try:
                return await self._run(attempt, prepared, output)
            finally:
                self._forks.leave(attempt.run)
        except Exception as error:
            return replace(outcomes.of_error(error), seconds=time.monotonic() - started)

    def _read(self, attempt: Attempt) -> Outcome:
        with self._trees.held(attempt.code.tree) as tree:
            stack = Stack(self._workspaces.lowers(attempt.base, tree))
            return Outcome(True, read_text(stack, attempt.options["path"]))

    async def _build(self, attempt: Attempt, prepared: Prepared, output: Output) -> Outcome:
        asked = image_plan(attempt, prepared)
        async with entered(self._trees.held(attempt.code.tree, "lasting")) as tree:
            stack = Stack(self._workspaces.lowers(attempt.base, tree))
            return await self._containers.build(asked, stack, output, self._bounds)

    async def _run(self, attempt: Attempt, prepared: Prepared, output: Output) -> Outcome:
        asked = plan(attempt, prepared, self._network, self._bounds.memory)
        if attempt.code.tree is not None:
            asked = replace(asked, env={**GIT_ENVIRONMENT, **asked.env})
        # A container may outlive what serves a tree; a copy reads all.
        form: TreeForm = "lasting" if asked.image or not self._isolates.overlays else "any"
        async with entered(self._trees.held(attempt.code.tree, form)) as tree:
            return await self._on(attempt, prepared, asked, output, tree)

    async def _on(
        self, attempt: Attempt, prepared: Prepared, asked: CommandPlan, output: Output, tree: Path
    ) -> Outcome:
        if not asked.reuse:
            return await self._fresh(attempt, prepared, asked, output, tree=tree)
        key = await asyncio.to_thread(self._key, attempt, asked, tree, output)
        if key and prepared.reuses:
            adopting = asyncio.to_thread(self._reusing.adopt, attempt, asked, tree, key)
            if (reused := await finished(adopting, self._take_back)) is not None:
                return reused
        outcome = await self._fresh(attempt, prepared, asked, output, tree=tree)
        if key is None and asked.image and outcome.ok:  # now its image is here
            key = await asyncio.to_thread(self._key, attempt, asked, tree, output)
        if key:
            try:
                why_not = await asyncio.to_thread(self._reusing.offer, attempt, asked, tree, key, outcome)
            except OSError as error:
                why_not = error.strerror or str(error)
            if why_not:
                output.note(f"Later runs cannot reuse this step: {why_not}.")
        return outcome

    def _key(self, attempt: Attempt, asked: CommandPlan, tree: Path, output: Output) -> str | None:
        image = self._containers.images.known(asked.image, asked.asker) if asked.image else ""
        return None if image is None else self._reusing.key_of(attempt, asked, tree, image, output.note)

    async def _fresh(
        self, attempt: Attempt, prepared: Prepared, asked: CommandPlan, output: Output, *, tree: Path
    ) -> Outcome:
        connections = Connections(output.note)
        if asked.network is not None and not asked.image:
            asked = replace(asked, network=replace(asked.network, seen=connections.seen))
        stack = Stack(self._workspaces.lowers(attempt.base, tree)) if asked.setup else Stack(())
        started = time.monotonic()
        try:
            async with self._kits.held(attempt, asked, stack, output, connections.seen) as kit:
                outcome = await self._attempt(
                    attempt, prepared, asked, output, tree=tree, kit=kit, connections=connections
                )
        except Exception as error:
            outcome = replace(outcomes.of_error(error), seconds=time.monotonic() - started)
        return replace(outcome, connections=connections.facts())

    async def _attempt(
        self,
        attempt: Attempt,
        prepared: Prepared,
        asked: CommandPlan,
        output: Output,
        *,
        tree: Path,
        kit: Kit,
        connections: Connections,
    ) -> Outcome:
        begun = await self._containers.resume(asked, attempt, output) if asked.image else None
        if begun is None:
            await self.abandon(attempt.run, attempt.key)
        seconds = asked.timeout - begun[1].older if begun else asked.timeout
        workspace, process = begun or await self._opener.open(attempt, asked, tree, kit, output)
        try:
            place = Place(self._disk, attempt.tenant, workspace.upper)
            exit_, timed_out = await watch(process, output, max(seconds, 0.0), self._bounds, place)
            connections.finish()
            await asyncio.to_thread(self._trees.check, tree)
            ending = Ending(attempt, asked, workspace, exit_, timed_out, prepared.masks, [])
            outcome = await finished(asyncio.to_thread(self._settler.settle, ending), self._take_back)
        except Stuck:
            raise  # its files may still be written to: they wait for the next start
        except BaseException:
            await asyncio.shield(asyncio.to_thread(self._opener.discard, workspace))
            raise
        if workspace.held:
            workspace.held.close()
        for note in ending.notes:
            output.note(note)
        return outcome

    def _take_back(self, outcome: Outcome | None) -> None:
        """Undo the commit of an attempt that was cancelled meanwhile."""
        if outcome is not None and outcome.layer is not None:
            self._workspaces.drop(outcome.layer)
