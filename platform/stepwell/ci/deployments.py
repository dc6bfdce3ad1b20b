"""What is in an environment now, and what a run would bring to it.

An environment has what the last run left there in which a step of that environment passed. That is read from the views
of the newest runs: it holds whatever became of the run afterwards, and needs no table of its own to go wrong.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from stepwell.ci.changes import Commits, commits_between
from stepwell.ci.remembered import Remembered
from stepwell.ci.views import Page, RunSummary, RunView, StepView
from stepwell.errors import NotFound
from stepwell.repos.repositories import Repositories
from stepwell.tenants.actors import Actor
from stepwell.tenants.scope import Scope

LOOKED_AT = 60
"""Newest runs of a repository that are looked at."""
REMEMBERED = 1_000
"""Finished runs whose deployments are kept for the next look."""


class _Runs(Protocol):
    def get(self, actor: Actor, run_id: str) -> RunView: ...
    def list(self, actor: Actor, *, tenant: str, repository: str, limit: int) -> Page[RunSummary]: ...


@dataclass(frozen=True)
class Deployment:
    """A run whose step went to an environment."""

    environment: str
    run: RunSummary
    step: StepView

    @property
    def at(self) -> float:
        """When the step ended."""
        return self.step.ended_at or self.run.created_at


@dataclass(frozen=True)
class Outgoing:
    """What a run would bring to an environment; `now` is None when nothing is known to be there.

    `back`: the run's commit is older than what is there, and `commits` are those that would be taken back.
    """

    now: Deployment | None
    commits: Commits
    back: bool = False


class Deployments:
    """Reads what runs brought where."""

    def __init__(self, scope: Scope, repositories: Repositories, runs: _Runs) -> None:
        self._scope = scope
        self._repositories = repositories
        self._runs = runs
        self._known: Remembered[tuple[StepView, ...]] = Remembered(REMEMBERED)

    def current(self, actor: Actor, tenant: str, repository: str) -> dict[str, Deployment]:
        """Return what is in each environment of a repository that has seen something lately, by its name."""
        self._scope.repository(actor, tenant, repository)
        found: dict[str, Deployment] = {}
        for one in self._newest(actor, tenant, repository):
            known = found.get(one.environment)
            if known is None or one.at > known.at:
                found[one.environment] = one
        return found

    def outgoing(self, actor: Actor, view: RunView, environment: str) -> Outgoing:
        """Return what is in the environment and which commits a run would add to it."""
        run = view.summary
        row = self._scope.repository(actor, run.tenant, run.repository)
        now = self.current(actor, run.tenant, run.repository).get(environment) if environment else None
        if now is None or now.run.id == run.id:
            return Outgoing(now, Commits())
        reader = self._repositories.reader(row.id)
        commits = commits_between(reader, now.run.sha, run.sha)
        if commits.gone or commits.listed:
            return Outgoing(now, commits)
        try:
            back = reader.is_ancestor(run.sha, now.run.sha) and run.sha != now.run.sha
        except NotFound:
            back = False
        return Outgoing(now, commits_between(reader, run.sha, now.run.sha) if back else commits, back)

    def _newest(self, actor: Actor, tenant: str, repository: str) -> Iterator[Deployment]:
        for summary in self._runs.list(actor, tenant=tenant, repository=repository, limit=LOOKED_AT).items:
            for step in self._gone_out(actor, summary):
                yield Deployment(step.environment, summary, step)

    def _gone_out(self, actor: Actor, run: RunSummary) -> tuple[StepView, ...]:
        """Return the steps of a run that brought something to an environment."""
        if not run.counts.get("passed"):
            return ()

        def read() -> tuple[StepView, ...]:
            steps = self._runs.get(actor, run.id).steps
            return tuple(
                step for step in steps
                if step.environment and step.kind != "approval" and step.state == "passed" and step.origin is None
            )  # fmt: skip

        return self._known.of(run.id, read) if run.finished else read()
