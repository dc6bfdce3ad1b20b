"""Moments: the files that a step stood on and those that it left, for whoever may write to its repository.

Writing is asked for, not reading: a step may have written a secret that it was given into its workspace.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

from stepwell.errors import Conflict, NotFound, Unavailable

if TYPE_CHECKING:
    from stepwell.ci.runs import Runs
    from stepwell.engine.state import StepState
    from stepwell.tenants.actors import Actor

When = Literal["before", "after"]
Kind = Literal["added", "changed", "removed", "mode"]


@dataclass(frozen=True)
class Moment:
    """Where to find the files of a step: the tree of its commit, the layers it stood on, and its own if it left any."""

    tree: str | None
    base: tuple[str, ...]
    layer: str | None


@dataclass(frozen=True)
class FileChange:
    """What a step did to a path, that of a directory with "/" at its end; sizes in bytes.

    `diff` is unified, its lines end with a newline alone; `why` says why there is none.
    """

    path: str
    kind: Kind
    before: int | None
    after: int | None
    diff: str = ""
    why: str = ""


@dataclass(frozen=True)
class Changes:
    """What a step did to its workspace, by path: the first of `total`; `why` says why nothing of it was kept."""

    items: Sequence[FileChange] = ()
    total: int = 0
    why: str = ""

    @property
    def more(self) -> int:
        """How many are not listed."""
        return self.total - len(self.items)


class MomentFiles(Protocol):
    """Reads the files of moments on the host that has them; methods block.

    `missing` names layers that are not kept any more; the others raise Unavailable when one goes meanwhile, and
    NotFound when the commit is gone. `changes` is bounded in time, and raises TryLater when asked for too many at once.
    `archive` gives a tar file piece by piece.
    """

    def missing(self, moment: Moment) -> Sequence[str]: ...

    def changes(self, moment: Moment) -> Changes: ...

    def archive(self, moment: Moment, when: When) -> Iterator[bytes]: ...


ENDED: Mapping[str, str] = {
    "passed": "passed",
    "failed": "failed",
    "skipped": "was skipped",
    "cancelled": "was cancelled",
}
"""States of a step that is over, in words."""


def why_dropped(state: str, options: Mapping[str, Any]) -> str:
    """Say why what a step wrote was not kept; "" of one that passed and keeps it."""
    if state != "passed":
        return f"It {ENDED[state]}, so what it wrote was not kept."
    return "" if options.get("keep", True) else "It has keep=False, so what it wrote was not kept."


class Moments:
    """Finds the moments of runs. Blocks; for any thread but the engine's."""

    def __init__(self, runs: "Runs", files: MomentFiles | None) -> None:
        self._runs = runs
        self._files = files

    def changes(self, actor: "Actor", run_id: str, key: str) -> Changes:
        """Return what a step changed in its workspace. Raises NotFound, Unavailable, Conflict while it is not over."""
        moment, step = self._find(actor, run_id, key, "after")
        if moment.layer is None:
            return Changes(why=why_dropped(step.state, step.options))
        return self._reader(moment).changes(moment)

    def archive(self, actor: "Actor", run_id: str, key: str, when: When) -> Iterator[bytes]:
        """Return the workspace before or after a step as a tar file. Raises as `changes` does."""
        moment, _ = self._find(actor, run_id, key, when)
        return self._reader(moment).archive(moment, when)

    def _find(self, actor: "Actor", run_id: str, key: str, when: When) -> tuple[Moment, "StepState"]:
        run, step = self._runs.permitted_step(actor, run_id, key)
        if step.kind != "run":
            raise NotFound(f"Step {key!r} is no step.run: it has no workspace.")
        if when == "after" and step.state not in ENDED:
            raise Conflict(
                f"Step {step.name!r} is {step.state}, not over: what it leaves is not there yet. "
                "Ask for the files before it (--before, or when=before), or again when it has ended."
            )
        repository, commit = run.metadata.get("repository"), run.metadata.get("commit")
        tree = f"{repository}:{commit}" if repository and commit else None
        return Moment(tree, step.base, step.layer), step

    def _reader(self, moment: Moment) -> MomentFiles:
        if self._files is None:
            raise Unavailable("This server does not keep the files of steps.")
        if self._files.missing(moment):
            raise NotFound(
                "The files of this step are not kept any more: those of ended runs go after STEPWELL_KEEP_LAYERS_DAYS. "
                "Run it again to have them."
            )
        return self._files
