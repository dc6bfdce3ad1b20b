"""The last green run before a run: what it is compared with, and what is expected of it."""

from stepwell.ci.history import History
from stepwell.ci.views import RunSummary
from stepwell.tenants.actors import Actor
from stepwell.tenants.scope import Scope


def last_green(history: History, scope: Scope, actor: Actor, run: RunSummary) -> RunSummary | None:
    """Return the last run of the same pipeline that passed before a run which the actor may see.

    It is one of the same branch; on a branch that has none, one of the default branch.
    """
    green = history.green_before(actor, run, run.branch)
    if green is not None or run.plan:
        return green
    repository = scope.repository(actor, run.tenant, run.repository)
    if run.branch == repository.default_branch:
        return None
    return history.green_before(actor, run, repository.default_branch)
