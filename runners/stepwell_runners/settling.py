"""What becomes of an attempt's files when its last process is dead: kept as layer, artifacts and caches, or not at all.

    git → change → artifacts, reports → caches moved out → layer committed → caches saved

A cache is saved after the layer is committed: what conflicts with a parallel step has not passed.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from stepwell.engine.seams import Attempt, Outcome
from stepwell_runners import collected, outcomes
from stepwell_runners.caching import Caching, Ready, strip
from stepwell_runners.caching import Left as LeftCaches
from stepwell_runners.collected import Collected, Collector, TooMuchCollected, Unreadable, View, shown
from stepwell_runners.command_plan import CommandPlan, read_outputs
from stepwell_runners.git_capture import Left, capture
from stepwell_runners.layers import Layer, reduce
from stepwell_runners.reduce import Stack
from stepwell_runners.spec import Directory, Exit
from stepwell_runners.trees import parse_reference
from stepwell_runners.workspaces import Change, Committed, Workspace, Workspaces

_FULL = 1 << 20  # bytes left on a file system that counts as full


@dataclass(frozen=True)
class Ending:
    """An attempt whose processes are all dead; `notes` gather what its log shall say."""

    attempt: Attempt
    asked: CommandPlan
    workspace: Workspace
    exit: Exit
    timed_out: bool
    masks: tuple[str, ...]
    notes: list[str]

    @property
    def passed(self) -> bool:
        code = self.exit.code
        if self.timed_out or self.exit.lost or self.exit.exceeded is not None:
            return False
        return code == 0 or (code is not None and not self.asked.check)


class Settler:
    """Settles attempts. Methods block; call them from a thread."""

    def __init__(self, workspaces: Workspaces, collector: Collector, caching: Caching) -> None:
        self._workspaces = workspaces
        self._collector = collector
        self._caching = caching

    def settle(self, ending: Ending) -> Outcome:
        """Keep or discard what the command did."""
        asked, workspace, exit_ = ending.asked, ending.workspace, ending.exit
        change, found = None, Collected()
        if ending.passed and asked.keep:
            self._capture(ending)
        full = not ending.passed and _is_full(workspace.place)
        if (ending.passed and (asked.keep or asked.caches)) or (asked.collected and not full):
            change = self._workspaces.change(workspace)
        if asked.collected and change is not None:
            found = self._collect(ending, change)
            ending.notes.extend(found.notes)
        if not ending.passed:
            self._workspaces.discard(workspace)
            failed = outcomes.of_exit(exit_, asked.timeout if ending.timed_out else None, full)
            return replace(failed, collected=found.facts)
        kept = self._commit(ending, change, found)
        for step in sorted({step for _, step in kept.overlaps}):
            paths = [path for path, other in kept.overlaps if other == step]
            ending.notes.append(f"The parallel step {step!r} wrote {_some(paths)} too: the one asked for last wins.")
        outputs = read_outputs(b"".join(exit_.collected.values()), ending.masks, ending.notes.append)
        value = {"exit_code": exit_.code, "seconds": round(exit_.seconds, 3), "outputs": outputs}
        return Outcome(True, value, None, exit_.code, exit_.seconds, kept.layer, found.facts)

    def _capture(self, ending: Ending) -> None:
        """Keep what the command did in git beside its layer to be. Raises Invalid."""
        workspace, reference = ending.workspace, ending.attempt.code.tree
        if workspace.git is None or reference is None:
            return
        is_copy = isinstance(workspace.mount, Directory)
        left = Left(workspace.upper, is_copy, workspace.git, parse_reference(reference)[1], ending.attempt.name)
        _, note = capture(left, workspace.captured)
        ending.notes.extend([note] if note else [])

    def _commit(self, ending: Ending, change: Change | None, found: Collected) -> Committed:
        """Commit the layer, less what is collected and cached, and then save the caches."""
        workspace, held = ending.workspace, ending.workspace.held
        layer, ready = Layer(), list[Ready]()
        if change is not None and held is not None:
            ready, notes = self._caching.prepare(
                held, LeftCaches(change.upper, workspace.upper, workspace.stack, ending.attempt.run)
            )
            ending.notes.extend(notes)
        if change is not None and ending.asked.keep:
            if change.upper.lost:
                ending.notes.append(_told_lost(change.upper.lost))
            layer = strip(change.layer, held.roots if held else (), workspace.stack)
            ending.notes.extend(_told_reverted(found.files, layer, workspace.stack))
            layer = collected.without(layer, found.files, workspace.stack)
        try:
            kept = self._workspaces.commit(workspace, layer)
        except BaseException:
            self._caching.drop(ready)
            raise
        if held is not None:
            ending.notes.extend(self._caching.save(held, ready))
        return kept

    def _collect(self, ending: Ending, change: Change) -> Collected:
        """Keep the named files; of a failed attempt only if they are within bounds, for its failure is what counts."""
        workspace = ending.workspace
        layer, stack = change.layer, workspace.stack
        if workspace.over:
            stack = Stack([*workspace.over, *workspace.lowers])
            layer = reduce(change.upper, stack)
        view = View(layer, workspace.upper, stack)
        try:
            return self._collector.collect(ending.attempt.run, ending.asked.collected, view, ending.masks)
        except (TooMuchCollected, Unreadable) as error:
            if ending.passed:
                raise
            return Collected(notes=[str(error)])


def _is_full(place: Path) -> bool:
    status = os.statvfs(place)
    return status.f_bavail * status.f_frsize < _FULL or (status.f_files > 0 and status.f_favail == 0)


def _told_lost(lost: Sequence[tuple[str, str]]) -> str:
    named = _some([f"{shown(path)} ({what})" for path, what in lost])
    return f"Not kept: {named}. A workspace has files, directories and links, without setuid and setgid."


def _told_reverted(files: Sequence[str], layer: Layer, base: Stack) -> list[str]:
    """Say which files were there before and changed: what is collected goes no further."""
    paths = [shown(path) for path in files if path in layer.written and base.node(path) is not None]
    if not paths:
        return []
    beside = "what artifacts= and junit= name is kept beside the workspace"
    return [f"Later steps see {_some(paths)} as before this step: {beside}."]


def _some(paths: list[str]) -> str:
    return ", ".join(paths[:5]) + (f" and {len(paths) - 5} more" if len(paths) > 5 else "")
