"""What changed since the last green run: commits, paths, interpreter, and the steps side by side."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from stepwell.ci.comparison import StepChange, compare, first_difference
from stepwell.ci.green import last_green
from stepwell.ci.history import History
from stepwell.ci.views import RunSummary, RunView, StepView
from stepwell.engine.entries import Entry
from stepwell.errors import NotFound
from stepwell.repos.objects import Changes as Paths
from stepwell.repos.objects import CommitInfo
from stepwell.repos.reader import Reader
from stepwell.repos.repositories import Repositories
from stepwell.tenants.actors import Actor
from stepwell.tenants.scope import Scope

COMMITS = 50
"""So many commits are listed; all are counted."""
PATHS = 300
NO_PATHS = Paths(())


class _Runs(Protocol):
    def get(self, actor: Actor, run_id: str) -> RunView: ...
    def journal(self, actor: Actor, run_id: str, after: int = 0, limit: int = 1000) -> list[Entry]: ...


@dataclass(frozen=True)
class Commits:
    """Commits of the newer run that the older had not, newest first; `gone`: the older one is not there any more."""

    listed: tuple[CommitInfo, ...] = ()
    count: int = 0
    paths: Paths = NO_PATHS
    gone: bool = False


@dataclass(frozen=True)
class ChangesSince:
    """A run beside the last one before it that passed."""

    green: RunSummary
    green_steps: tuple[StepView, ...]
    commits: Commits
    python: tuple[str, str]  # interpreters, then and now; "" where none was recorded
    steps: tuple[StepChange, ...]
    first: StepChange | None


class GreenChanges:
    """Compares runs with the last green one."""

    def __init__(self, history: History, scope: Scope, repositories: Repositories, runs: _Runs) -> None:
        self._history = history
        self._scope = scope
        self._repositories = repositories
        self._runs = runs

    def of(self, actor: Actor, view: RunView) -> ChangesSince | None:
        """Compare a run that the actor may see; None for a plan, and when no run of its pipeline passed before it.

        The last green run of the same branch is taken; on a branch that has none, that of the default branch.
        """
        run = view.summary
        if run.plan:
            return None
        green = last_green(self._history, self._scope, actor, run)
        if green is None:
            return None
        repository = self._scope.repository(actor, run.tenant, run.repository)
        before = self._runs.get(actor, green.id).steps
        steps = compare(before, view.steps)
        commits = commits_between(self._repositories.reader(repository.id), green.sha, run.sha)
        python = (self._python(actor, green.id), self._python(actor, run.id))
        return ChangesSince(green, before, commits, python, steps, first_difference(steps))

    def _python(self, actor: Actor, run: str) -> str:
        first = self._runs.journal(actor, run, limit=1)
        data: Mapping[str, Any] = first[0].data if first else {}
        return str(data.get("python") or "")


def commits_between(reader: Reader, older: str, newer: str) -> Commits:
    """Return the commits that the newer has and the older has not, and the paths that differ."""
    if older == newer:
        return Commits()
    try:
        listed = reader.between(older, newer, limit=COMMITS)
        count = len(listed) if len(listed) < COMMITS else reader.count_between(older, newer)
        return Commits(tuple(listed), count, reader.changed_paths(older, newer, limit=PATHS))
    except NotFound:
        return Commits(gone=True)
