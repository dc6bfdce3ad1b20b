"""The same for many runs of a tenant or a repository, and those of them that are dead.

Who may do a thing to each run may do it to all. Every run's journal says who did it and why; the audit log has a line
for each call that changed something. Methods block and may be called from any thread but the engine's.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, cast

from stepwell.ci.answers import answer_of
from stepwell.ci.beginnings import Beginnings
from stepwell.ci.control import LONGEST_REASON
from stepwell.ci.dead_list import DeadList
from stepwell.ci.launch import repository_of
from stepwell.ci.lent import lent_again
from stepwell.dynamic import Action, Bulk, DeadRuns, Report, Selection, sweep
from stepwell.engine.state import RunState
from stepwell.engine.thread import EngineThread
from stepwell.errors import Conflict, Invalid
from stepwell.store.store import Store
from stepwell.tenants.actors import Actor
from stepwell.tenants.audit import Audit

AT_ONCE = 200
"""Runs that one call changes, which the engine does well within its time to answer."""


@dataclass(frozen=True)
class Wanted:
    """Which runs, and what goes with the action; empty fields do not narrow. See stepwell.dynamic.bulk.Bulk.

    `created_until`: seconds since the epoch. `step` and `key` belong to restart; the same key again restarts no run
    twice.
    """

    repository: str = ""
    states: frozenset[str] = frozenset()
    pipeline: str = ""
    branch: str = ""
    created_until: float | None = None
    reason: str = ""
    undo: bool = False
    step: str = ""
    key: str = ""


class BulkRuns:
    """Many runs at once."""

    def __init__(self, thread: EngineThread, store: Store, audit: Audit, beginnings: Beginnings) -> None:
        self._thread = thread
        self._beginnings = beginnings
        self._store = store
        self._audit = audit
        self._dead = DeadList(store)

    def sweep(self, actor: Actor, action: str, tenant: str, wanted: Wanted, cursor: str | None = None) -> Report:
        """Do it to the next runs that are wanted; `next` of the report is the cursor of those that follow."""
        actor.require("write", tenant, wanted.repository)
        if len(wanted.reason) > LONGEST_REASON:
            raise Invalid(f"The reason is longer than {LONGEST_REASON:,} characters.")
        if action == "restart" and not wanted.key:
            raise Invalid("A restart of many runs has no key. Give it one, or the same again would restart them twice.")
        with self._beginnings.on_any(tenant) as repositories:
            bulk = Bulk(
                cast("Action", action), _selection(tenant, wanted), actor.name, wanted.reason, wanted.undo, wanted.step,
                wanted.key and f"{actor.person} {wanted.key}", lambda run: _successor(actor, run, repositories),
            )  # fmt: skip
            report = answer_of(self._thread, sweep(self._thread.engine, bulk, cursor, AT_ONCE))
        if report.changed:
            self._note(actor, action, tenant, wanted, report)
        return report

    def dead(self, actor: Actor, tenant: str, repository: str = "", cursor: str | None = None) -> DeadRuns:
        """Return runs that will not go on by themselves, with the reason."""
        actor.require("read", tenant, repository)
        return self._dead.of(tenant, f"{tenant}/{repository}" if repository else "", cursor)

    def _note(self, actor: Actor, action: str, tenant: str, wanted: Wanted, report: Report) -> None:
        filters = {"states": sorted(wanted.states), "pipeline": wanted.pipeline, "branch": wanted.branch}
        detail = {**filters, "until": wanted.created_until, "reason": wanted.reason, "refused": len(report.refused)}
        told = {name: value for name, value in detail.items() if value}
        with self._store.write() as session:
            subject = wanted.repository or tenant
            self._audit.add(session, actor, tenant, f"runs.{action}", subject, changed=len(report.changed), **told)


def _selection(tenant: str, wanted: Wanted) -> Selection:
    named = {"pipeline": wanted.pipeline, "branch": wanted.branch}
    metadata = {name: value for name, value in named.items() if value}
    scope = f"{tenant}/{wanted.repository}" if wanted.repository else ""
    return Selection(tenant, scope, wanted.states, metadata, created_until=wanted.created_until)


def _successor(actor: Actor, run: RunState, repositories: Collection[str]) -> Mapping[str, Any]:
    """Say who is behind the new run, and what it is lent; those who started the old one stay its authors."""
    if (repository := repository_of(run.metadata)) and repository not in repositories:
        raise Conflict(f"The repository that run #{run.number} stands on has been deleted.")
    if run.metadata.get("problem"):
        raise Conflict(f"Run #{run.number} could not run its code. Correct .stepwell/ and push again.")
    author = str(run.metadata.get("author") or run.metadata.get("actor") or "")
    told = {"restart_of": run.id, "rerun_of": "", "actor": actor.name, "author": author}
    return told | lent_again(run.metadata, actor)
