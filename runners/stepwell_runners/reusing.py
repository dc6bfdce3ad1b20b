"""Reuse: a step whose inputs are those of an earlier one that passed takes its result, layer, files and log instead.

The key is a hash of everything that the author says the step depends on: the contents of the files that `reuse=` names,
as the step would see them, its name, command and options, its image's id, the interpreter and the kind of machine. What
only bounds or repeats the work is left out. Steps with secrets or an environment act on the world and are never reused.

All that is adopted becomes the run's own: the layer under a new name, its files as links; blobs as links; the log as a
copy. So it stays as long as this run does, whatever becomes of the other. The layer is adopted only if nothing stands
otherwise where it wrote or deleted: else it would undo what a later commit did to a file that `reuse=` forgot to name.
"""

import hashlib
import json
import platform
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from stepwell.engine.seams import Attempt, Outcome
from stepwell.errors import Unavailable
from stepwell.store.blobs import BlobFiles
from stepwell.store.log_files import LogName, copy_log
from stepwell.store.reuses import Reusable, ReuseFiles
from stepwell_runners.caching import hash_files
from stepwell_runners.collected import find_files
from stepwell_runners.command_plan import CommandPlan
from stepwell_runners.layers import Folder, Layer, parents
from stepwell_runners.reduce import Stack
from stepwell_runners.workspaces import Workspaces

SCHEME = 1
"""Of keys; another one begins anew."""
_BESIDE = frozenset({"timeout", "retries", "memory", "processes", "cpu", "cache"})
"""Options that do not change what a step comes to."""


class Reusing:
    """Adopts and offers the work of steps. Methods block; call them from a thread."""

    def __init__(self, state: Path, workspaces: Workspaces, blobs: BlobFiles) -> None:
        self._files = ReuseFiles(state / "reuse")
        self._logs = state / "logs"
        self._workspaces = workspaces
        self._blobs = blobs
        self._hash = lru_cache(maxsize=512)(self._hash_now)

    def key_of(
        self, attempt: Attempt, asked: CommandPlan, tree: Path, image: str, note: Callable[[str], None]
    ) -> str | None:
        """Return the key of a step that stands on a tree; None when one of its patterns matches nothing."""
        hashes = {pattern: self._hash(attempt.base, tree, pattern) for pattern in asked.reuse}
        empty = [pattern for pattern, found in hashes.items() if not found]
        if empty:
            stack = Stack(self._workspaces.lowers(attempt.base, tree))
            folder = next((one.rstrip("/") for one in empty if isinstance(stack.node(one.rstrip("/")), Folder)), None)
            remedy = "Check the pattern." if folder is None else f'For all files below a folder write "{folder}/**".'
            note(f"reuse= names no file by {', '.join(map(repr, empty))}, so the step runs. {remedy}")
            return None
        told = [
            SCHEME, attempt.name, options_of(attempt.options), sorted(hashes.items()), image,
            [self._hash(attempt.base, tree, pattern) for pattern in asked.setup_inputs],
            list(sys.version_info[:3]), platform.machine(),
        ]  # fmt: skip
        return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()

    def _hash_now(self, base: tuple[str, ...], tree: Path, pattern: str) -> str:
        """Hash what a pattern names; "" when that is nothing."""
        stack = Stack(self._workspaces.lowers(base, tree))
        files = find_files([pattern], stack)
        return hash_files(files) if files else ""

    def adopt(self, attempt: Attempt, asked: CommandPlan, tree: Path, key: str) -> Outcome | None:
        """Take over what a step with this key left, if there is one. Raises WorkspaceConflict, OSError."""
        hints = (self._files.find(asked.repository, asked.cache_rights.reads, one) for one in _places(attempt, key))
        found = next((hint for hint in hints if hint is not None and hint.run != attempt.run), None)
        if found is None:
            return None
        stack = Stack(self._workspaces.lowers(attempt.base, tree))
        try:
            layer = self._workspaces.load(found.layer) if found.layer else None
            if layer is not None and touched(layer, stack) != found.touched:
                return None
            if found.collected and self._blobs.expired_at(found.run) is not None:
                return None  # its artifacts went before it
            if found.collected:
                self._blobs.adopt(attempt.run, found.run, [], [str(found.collected["id"])])
            adopted = None
            if found.layer:
                adopted = self._workspaces.adopt(found.layer, attempt, tree).layer
        except (Unavailable, FileNotFoundError):  # it went with its run, or after its time
            return None
        own = LogName(attempt.run, attempt.key, attempt.number)
        copy_log(self._logs, LogName(found.run, found.step, found.attempt), own)
        mine = replace(found, run=attempt.run, step=attempt.key, attempt=attempt.number, layer=adopted)
        self._offer(attempt, asked, key, mine)
        reused = {"run": found.origin, "number": found.number}
        return Outcome(
            True, found.value, exit_code=found.exit_code, layer=adopted, collected=found.collected, reused=reused
        )

    def offer(self, attempt: Attempt, asked: CommandPlan, tree: Path, key: str, outcome: Outcome) -> str:
        """Let later runs have what a step came to that passed; else say why not, of one that did. Raises OSError."""
        if not outcome.ok:
            return ""
        if outcome.exit_code != 0:
            return f"it ended with exit code {outcome.exit_code}, and only what ended with 0 is reused"
        if outcome.layer and self._workspaces.captured_of(outcome.layer):
            return "it moved branches or tags, which are of this run"
        stack = Stack(self._workspaces.lowers(attempt.base, tree))
        where = touched(self._workspaces.load(outcome.layer), stack) if outcome.layer else ""
        made = Reusable(
            attempt.run, attempt.key, attempt.number, attempt.run, attempt.run_number, outcome.value,
            outcome.exit_code, outcome.layer, where, outcome.collected,
        )  # fmt: skip
        self._offer(attempt, asked, key, made)
        return ""

    def _offer(self, attempt: Attempt, asked: CommandPlan, key: str, made: Reusable) -> None:
        if asked.cache_rights.writes is not None:
            for place in _places(attempt, key):
                self._files.keep(asked.repository, asked.cache_rights.writes, place, made)


def _places(attempt: Attempt, key: str) -> list[str]:
    """Return where the hint of a step is, that of its own place in a run first.

    Of two steps with one key in a run, the first moves the common hint to this run, which the second cannot follow.
    """
    number = attempt.key.rpartition("#")[2]
    return [key] if number == "1" else [f"{key}#{number}", key]


def options_of(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options that say what a step does."""
    return {name: value for name, value in options.items() if name not in _BESIDE and value is not None}


def touched(layer: Layer, base: Stack) -> str:
    """Hash what stands in `base` where `layer` writes or deletes, and which directories lead there."""
    total = hashlib.sha256()
    paths = sorted({*layer.written, *layer.deleted})
    for above in sorted({above for path in paths for above in parents(path)}):
        node = base.node(above)
        total.update(repr((above, node is None or isinstance(node, Folder))).encode("utf-8", "surrogateescape"))
    for path in paths:
        node = base.node(path)
        told = "-" if node is None else f"d{node.mode}" if isinstance(node, Folder) else hash_files(_one(path, base))
        total.update(repr((path, told)).encode("utf-8", "surrogateescape"))
    return total.hexdigest()


def _one(path: str, base: Stack) -> list[tuple[str, Path]]:
    place = base.place(path)
    return [(path, place)] if place is not None else []
