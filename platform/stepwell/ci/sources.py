"""The program that a run executes, as its author wrote it at the run's commit."""

from collections.abc import Mapping
from dataclasses import dataclass

from stepwell.ci.code import ROOT, PlanFiles, RepositoryCode
from stepwell.ci.views import RunSummary
from stepwell.errors import Invalid, NotFound
from stepwell.tenants.actors import Actor
from stepwell.tenants.scope import Scope


@dataclass(frozen=True)
class Source:
    """Path below `.stepwell/` → text; `problem` says why there is none."""

    sha: str
    files: Mapping[str, str]
    problem: str = ""


class Sources:
    """Reads the source of runs."""

    def __init__(self, scope: Scope, code: RepositoryCode, plan: PlanFiles) -> None:
        self._scope = scope
        self._code = code
        self._plan = plan

    def of(self, actor: Actor, run: RunSummary) -> Source:
        """Return the source of a run that the actor may see; NotFound when the repository is not theirs to see."""
        if run.plan:
            return self._of_plan(run)
        repository = self._scope.repository(actor, run.tenant, run.repository)
        try:
            files = self._code.files(repository.id, run.sha)
        except NotFound:
            return Source(run.sha, {}, f"Commit {run.sha[:12]} is not in the repository any more.")
        except Invalid as error:  # a file of it is no text, or there is too much of it
            return Source(run.sha, {}, str(error))
        return Source(run.sha, files, "" if files else f"Commit {run.sha[:12]} has no {ROOT}/.")

    def _of_plan(self, run: RunSummary) -> Source:
        try:
            return Source(run.sha, self._plan(run.tenant, run.plan))
        except NotFound as error:
            return Source(run.sha, {}, str(error))
