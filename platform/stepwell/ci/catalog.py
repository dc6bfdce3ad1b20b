"""Repositories as people see them: found, created, described, and what their pipelines are."""

import time
from collections.abc import Callable, Sequence

from sqlmodel import select

from stepwell.ci.declarations import DeclarationCache, pipeline_view
from stepwell.ci.history import History
from stepwell.ci.schedules import Schedules
from stepwell.ci.views import PipelinesView, Problem, RepositoryView, RunSummary, ScheduleView
from stepwell.errors import Conflict, Invalid, NotFound
from stepwell.repos.names import check_name
from stepwell.repos.repositories import Repositories
from stepwell.store.store import Store
from stepwell.store.tables import RemovedRepository, Repository
from stepwell.tenants import Actor, Tenants
from stepwell.tenants.actors import ACTIONS
from stepwell.tenants.keys import new_id
from stepwell.tenants.names import check_repository

LONGEST_DESCRIPTION = 500


class Catalog:
    """Lists and changes repositories."""

    def __init__(
        self,
        store: Store,
        tenants: Tenants,
        repositories: Repositories,
        declarations: DeclarationCache,
        schedules: Schedules,
        *,
        artifacts_days: float,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._tenants = tenants
        self._repositories = repositories
        self._declarations = declarations
        self._schedules = schedules
        self._history = History(store, repositories)
        self.artifacts_days = artifacts_days
        """For how many days the server keeps artifacts: at most so many a repository may ask for."""
        self._now = now

    def list(self, actor: Actor, tenant: str | None = None, *, last_runs: bool = True) -> list[RepositoryView]:
        """Return repositories by name, with their last run unless nobody looks at it."""
        rows = self._tenants.scope.repositories(actor, tenant)
        latest = self._history.latest({row.full_name: row for row in rows}) if last_runs else {}
        return [_view(actor, row, latest.get(row.full_name)) for row in rows]

    def get(self, actor: Actor, tenant: str, name: str) -> RepositoryView:
        """Return one repository."""
        row = self._tenants.scope.repository(actor, tenant, name)
        return _view(actor, row, self._history.latest({row.full_name: row}).get(row.full_name))

    def create(self, actor: Actor, tenant: str, name: str, description: str = "") -> RepositoryView:
        """Make an empty repository. For developers and above. Conflict when the name is taken."""
        actor.require("write", tenant)
        check_repository(check_name(name))
        _check_description(description)
        row = Repository(
            id=new_id(),
            tenant=tenant,
            name=name,
            description=description,
            created_by=actor.name,
            created_at=self._now(),
        )
        self._refuse_taken(tenant, name)
        self._repositories.create(row.id, row.default_branch)
        try:
            with self._store.write() as session:
                session.add(row)
                self._tenants.audit.add(session, actor, tenant, "repository.create", name)
        except BaseException:
            self._repositories.delete(row.id)  # without a row nobody would ever find it
            raise
        return _view(actor, row, None)

    def update(
        self,
        actor: Actor,
        tenant: str,
        name: str,
        *,
        description: str | None = None,
        default_branch: str | None = None,
        protected: Sequence[str] | None = None,
        keep_artifacts_days: int | None = None,
    ) -> RepositoryView:
        """Change what is given; 0 days: artifacts are kept as long as the server keeps them. For maintainers."""
        found = self._tenants.scope.repository(actor, tenant, name, "manage")
        _check_description(description or "")
        self._check_days(keep_artifacts_days)
        if (
            default_branch is not None
            and self._repositories.reader(found.id).resolve(f"refs/heads/{default_branch}") is None
        ):
            raise NotFound(f"There is no branch {default_branch!r}. Push it first.")
        with self._store.write() as session:
            row = session.get_one(Repository, found.id)
            row.description = row.description if description is None else description
            row.default_branch = default_branch or row.default_branch
            row.protected = row.protected if protected is None else list(protected)
            if keep_artifacts_days is not None:
                row.keep_artifacts_days = keep_artifacts_days or None
            detail = {
                "default_branch": row.default_branch, "protected": row.protected,
                "keep_artifacts_days": row.keep_artifacts_days,
            }  # fmt: skip
            self._tenants.audit.add(session, actor, tenant, "repository.update", name, **detail)
        sha = self._repositories.reader(row.id).resolve(f"refs/heads/{row.default_branch}")
        if default_branch is not None and sha is not None:
            self._schedules.sync(row, sha)
        return self.get(actor, tenant, name)

    def pipelines(self, actor: Actor, tenant: str, name: str, ref: str | None = None) -> PipelinesView:
        """Return the pipelines at a branch, tag or commit; the default branch if none is given."""
        row = self._tenants.scope.repository(actor, tenant, name)
        wanted = ref or row.default_branch
        sha = self._repositories.reader(row.id).resolve(wanted)
        if sha is None:
            if ref is not None:
                raise NotFound(f"There is no branch, tag or commit {ref!r}.")
            return PipelinesView(wanted, "", problem=Problem("empty", "Nothing has been pushed yet."))
        declared = self._declarations.read(row.tenant, row.id, sha)
        views = tuple(pipeline_view(pipeline) for pipeline in declared.pipelines)
        return PipelinesView(wanted, sha, views, declared.problem)

    def schedules(self, actor: Actor, tenant: str, name: str) -> tuple[ScheduleView, ...]:
        """Return the cron triggers of the default branch, the next one first."""
        return tuple(self._schedules.of(self._tenants.scope.repository(actor, tenant, name)))

    def _check_days(self, days: int | None) -> None:
        if days is not None and not 0 <= days <= self.artifacts_days:
            raise Invalid(
                f"The days for which artifacts are kept have value {days}. Write a whole number from 1 to "
                f"{self.artifacts_days:g}, which is how long this server keeps them, or nothing for just as long.",
                field="keep_artifacts_days",
            )

    def _refuse_taken(self, tenant: str, name: str) -> None:
        with self._store.read() as session:
            taken = session.exec(select(Repository.name).where(Repository.tenant == tenant)).all()
            removed = session.exec(select(RemovedRepository.name).where(RemovedRepository.tenant == tenant)).all()
        # Not told apart by case: two directories of one name on a laptop's disk would be one.
        same = [other for other in taken if other.lower() == name.lower()]
        if same:
            raise Conflict(f"There is a repository '{tenant}/{same[0]}' already. Choose another name.")
        if name.lower() in {other.lower() for other in removed}:
            raise Conflict(f"Repository '{tenant}/{name}' is still being deleted. Try again in a minute.")


def _check_description(description: str) -> None:
    if len(description) > LONGEST_DESCRIPTION:
        raise Invalid(f"The description has {len(description)} characters. Use at most {LONGEST_DESCRIPTION}.")


def _view(actor: Actor, row: Repository, last: RunSummary | None) -> RepositoryView:
    return RepositoryView(
        id=row.id,
        tenant=row.tenant,
        name=row.name,
        description=row.description,
        default_branch=row.default_branch,
        protected=tuple(row.protected),
        created_at=row.created_at,
        created_by=row.created_by,
        last_run=last,
        may=tuple(action for action in ACTIONS if actor.may(action, row.tenant, row.name)),
        keep_artifacts_days=row.keep_artifacts_days,
    )
