"""How an attempt begins: its workspace is opened, and its command starts in it.

files of the commit, layers of the base → caches, `.git` → workspace → isolate or container
"""

import asyncio
from pathlib import Path
from typing import Protocol

from stepwell.engine.seams import Attempt, Output
from stepwell.errors import TryLater
from stepwell_runners.absent import Absences
from stepwell_runners.caching import Caching
from stepwell_runners.command_plan import OUTPUT_FILE, CommandPlan
from stepwell_runners.containers import Containers
from stepwell_runners.kits import Kit
from stepwell_runners.reduce import Stack
from stepwell_runners.run_forks import OBJECTS, GitView, RunForks, branch_of
from stepwell_runners.spec import CommandSpec, Limits, ToolDir
from stepwell_runners.streaming import Process
from stepwell_runners.threads import finished
from stepwell_runners.trees import Trees, parse_reference
from stepwell_runners.workspaces import Form, Workspace, Workspaces


class Isolates(Protocol):
    """What the executor needs of isolates."""

    @property
    def walled(self) -> bool: ...

    @property
    def overlays(self) -> bool: ...

    @property
    def divides_processors(self) -> bool: ...

    async def command(self, spec: CommandSpec) -> Process: ...


class Opener:
    """Opens workspaces and starts commands in them, in isolates or in containers."""

    def __init__(
        self,
        isolates: Isolates,
        trees: Trees,
        workspaces: Workspaces,
        containers: Containers,
        *,
        forks: RunForks,
        caching: Caching,
    ) -> None:
        self._isolates = isolates
        self._trees = trees
        self._workspaces = workspaces
        self._containers = containers
        self._forks = forks
        self._caching = caching
        self._absences = Absences(forks.repositories)

    async def open(
        self, attempt: Attempt, asked: CommandPlan, tree: Path, kit: Kit, output: Output
    ) -> tuple[Workspace, Process]:
        """Open a workspace and start the attempt's command in it.

        Again, in a fresh one, when the host had no room or the zygote died meanwhile: a volatile overlay mounts once.
        """
        if asked.image:
            await self._containers.reach()
        form = self._form(asked)
        while True:
            opening = asyncio.to_thread(self._open_workspace, attempt, asked, tree, form, output)
            workspace = await finished(opening, self.discard)
            for note in workspace.held.notes if workspace.held else ():
                output.note(note)
            try:
                return workspace, await self._start(attempt, asked, workspace, kit, output)
            except BaseException as error:
                await asyncio.shield(asyncio.to_thread(self.discard, workspace))
                if not isinstance(error, TryLater):
                    raise
                pause = error.retry_after
            await asyncio.sleep(pause)

    def discard(self, workspace: Workspace) -> None:
        """Remove a workspace of which nothing is kept. Blocks."""
        self._workspaces.discard(workspace)
        if workspace.held:
            workspace.held.close()

    def _open_workspace(
        self, attempt: Attempt, asked: CommandPlan, tree: Path, form: Form, output: Output
    ) -> Workspace:
        """Make the attempt's workspace, with `.git` unless it has no commit or is sent to a container elsewhere."""
        git = None
        if attempt.code.tree is not None:
            self._absences.tell(attempt.run, *parse_reference(attempt.code.tree), output.note)
        if attempt.code.tree is not None and not (asked.image and form == "copy"):
            git = self._git(attempt, attempt.code.tree, tree, lasting=bool(asked.image) or form == "copy")
        held = None
        if asked.caches:
            base = Stack(self._workspaces.lowers(attempt.base, tree))
            held = self._caching.restore(asked.caches, asked.repository, asked.cache_rights, base)
        try:
            return self._workspaces.open(
                attempt.run, attempt.key, attempt.base, tree, form, git=git, beside=attempt.layers, held=held
            )
        except BaseException:
            if held:
                held.close()
            raise

    def _git(self, attempt: Attempt, reference: str, tree: Path, *, lasting: bool) -> GitView:
        repository, commit = parse_reference(reference)
        parts = self._workspaces.captured(attempt.base, commit)
        index, beside = (self._trees.index_made(tree), None) if parts or lasting else self._trees.index(tree)
        branch, walled = branch_of(attempt.metadata), self._isolates.walled
        return self._forks.ready(
            attempt.run, repository, commit, branch, index=index, walled=walled, beside=beside, parts=parts
        )  # fmt: skip

    def _form(self, asked: CommandPlan) -> Form:
        if asked.image:
            return self._containers.form
        return "overlay" if self._isolates.overlays else "copy"

    async def _start(
        self, attempt: Attempt, asked: CommandPlan, workspace: Workspace, kit: Kit, output: Output
    ) -> Process:
        if asked.image:
            return await self._containers.start(asked, attempt, workspace, output)
        if asked.cpu is not None and not self._isolates.divides_processors:
            output.note("cpu= has no effect: this host gives isolates no cgroup for cpu. Use image=, or see doctor.")
        env = kit.environment(asked.env, self._isolates.walled)
        shown = list(kit.shown)
        if workspace.git and self._isolates.walled:
            shown.append(ToolDir(workspace.git.objects, OBJECTS))
        spec = CommandSpec(
            tenant=attempt.tenant,
            argv=asked.argv,
            env=env,
            cwd=asked.cwd,
            workspace=workspace.mount,
            tools=tuple(shown),
            network=asked.network,
            limits=Limits(
                asked.memory or Limits.memory, asked.processes or Limits.processes, processors=asked.cpu or 0.0
            ),
            files=asked.files,
            collect=(OUTPUT_FILE,),
        )
        return await self._isolates.command(spec)
