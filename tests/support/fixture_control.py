"""Runs in memory: looked at, decided, stopped, started."""

from __future__ import annotations

import builtins
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from fixture_logs import FixtureLog
from fixture_runs import JOURNAL, NASTY, NOW, summary, waited_journal

from stepwell.ci.bulk import Wanted
from stepwell.ci.history import Choices
from stepwell.ci.plans import Checked, Plan, PlanStep
from stepwell.ci.triggers import Declared
from stepwell.ci.views import ApprovalView, Page, Problem, RunSummary, RunView, StepView
from stepwell.dynamic import Changed, Dead, DeadRuns, Refused, Report
from stepwell.engine.entries import Entry
from stepwell.engine.specs import RunRef
from stepwell.errors import Conflict, Invalid, NotFound
from stepwell.store.log_files import LogName
from stepwell.tenants.actors import Actor

if TYPE_CHECKING:
    from fixture_services import FixtureServices


class FixtureRuns:
    def __init__(self, services: FixtureServices) -> None:
        self._services = services

    def _see(self, actor: Actor, run_id: str) -> RunView:
        view = self._services.views.get(run_id)
        if view is None or not actor.may("read", view.summary.tenant):
            raise NotFound("There is no such run, or you may not see it.")
        return view

    def list(self, actor: Actor, *, tenant: str | None = None, state: str | None = None, **_: Any) -> Page[RunSummary]:
        if tenant:
            actor.require("read", tenant)
        if self._services.empty or not actor.tenants:
            return Page(())
        return Page(tuple(v.summary for v in self._services.views.values() if state in (None, v.summary.state)))

    def choices(self, actor: Actor, tenant: str, repository: str = "") -> Choices:
        actor.require("read", tenant)
        return Choices(("Nightly", "Ship"), ("fix/refund-rounding", "main", NASTY), ("ida.berg", "mara.okoye"))

    def get(self, actor: Actor, run_id: str) -> RunView:
        return self._see(actor, run_id)

    def summary(self, actor: Actor, run_id: str) -> RunSummary:
        return self._see(actor, run_id).summary

    def step(self, actor: Actor, run_id: str, key: str) -> StepView:
        found = next((one for one in self._see(actor, run_id).steps if one.key == key), None)
        if found is None:
            raise NotFound(f"There is no step {key!r}.")
        return found

    def by_number(self, actor: Actor, tenant: str, repository: str, number: int) -> RunView:
        actor.require("read", tenant)
        return self._see(actor, f"run{number}")

    def start(self, actor: Actor, tenant: str, repository: str, pipeline: str, **_: Any) -> RunSummary:
        actor.require("write", tenant)
        return summary(1842)

    def rerun(self, actor: Actor, run_id: str) -> RunSummary:
        return self._see(actor, run_id).summary

    def decide(
        self, actor: Actor, run_id: str, key: str, *, approve: bool, comment: str = "", fields: Any = None
    ) -> None:
        self._see(actor, run_id)
        self._services.decided.append((run_id, key, approve, comment, fields))

    def send_event(self, actor: Actor, run_id: str, type: str, payload: Any, id: str | None = None) -> None:
        self._see(actor, run_id)

    def journal(self, actor: Actor, run_id: str, after: int = 0, limit: int = 1000) -> builtins.list[Entry]:
        self._see(actor, run_id)
        entries = waited_journal() if run_id == "run1839" else JOURNAL
        return [e for e in entries if e.seq > after][:limit]

    def inbox(self, actor: Actor) -> builtins.list[ApprovalView]:
        asked = [a for v in self._services.views.values() for a in v.approvals if actor.may("read", a.run.tenant)]
        if self._services.empty:
            return []
        if actor.may("approve", "acme"):
            return asked
        return [
            replace(a, may_decide=False, why_not="Your role or token does not allow you to approve here.")
            for a in asked
        ]

    def inbox_count(self, actor: Actor) -> int:
        return sum(a.may_decide for a in self.inbox(actor))

    def log(self, actor: Actor, run_id: str, key: str, attempt: int | None = None) -> FixtureLog:
        self._see(actor, run_id)
        return self._services.logged.setdefault((run_id, key, attempt or 1), FixtureLog())

    def logs(self, actor: Actor, run_id: str) -> dict[str, FixtureLog]:
        self._see(actor, run_id)
        own = [(name, log) for name, log in self._services.logged.items() if name[0] == run_id]
        return {LogName(run, key, number if key else 0).file: log for (run, key, number), log in own}


class FixtureControl:
    def __init__(self, services: FixtureServices) -> None:
        self._services = services

    def _did(self, actor: Actor, run_id: str, what: str) -> RunView:
        view = self._services.runs._see(actor, run_id)
        actor.require("write", view.summary.tenant)
        self._services.stopped.append(f"{what} {run_id}")
        return view

    def cancel(self, actor: Actor, run_id: str, reason: str = "", *, undo: bool = False) -> None:
        self._did(actor, run_id, "cancel")

    def terminate(self, actor: Actor, run_id: str, reason: str = "") -> None:
        self._did(actor, run_id, "terminate")

    def kill_isolate(self, actor: Actor, run_id: str) -> None:
        self._did(actor, run_id, "kill")
        raise Conflict("The run is in no process now: there is nothing to kill. It costs rows only.")

    def in_process(self, actor: Actor, run_id: str) -> bool:
        return True

    def pause(self, actor: Actor, run_id: str, reason: str = "") -> None:
        self._did(actor, run_id, "pause")

    def resume(self, actor: Actor, run_id: str) -> None:
        self._did(actor, run_id, "resume")

    def restart(
        self, actor: Actor, run_id: str, step: str, *, code: str = "same", key: str | None = None
    ) -> RunSummary:
        return self._did(actor, run_id, f"restart {code} {step}").summary


class FixturePlans:
    """Takes no plan, not even from those who may send some."""

    def check(self, actor: Actor, tenant: str, files: Mapping[str, str]) -> Checked:
        actor.require("write", tenant, "-")
        if wrong := next((path for path, text in files.items() if "wrong" in text), ""):
            return Checked(problem=Problem("syntax-error", NASTY, f".stepwell/{wrong}", 2))
        return Checked((Declared("First", "pipeline.py:First"),), (PlanStep("run", NASTY, "pipeline.py", 4),))

    def files(self, actor: Actor, tenant: str, digest: str) -> Mapping[str, str]:
        actor.require("read", tenant, "-")
        return {
            "pipeline.py": f"import helper\n\n{NASTY}\n",
            "helper.py": f"DAY = 1\n# {NASTY}\n",
            "lib/dates.py": "DAY = 1\n",
        }

    def start(self, actor: Actor, tenant: str, plan: Plan) -> tuple[RunRef, Checked]:
        self.check(actor, tenant, plan.files)
        raise Invalid("This server runs none.")


class FixtureBulk:
    def __init__(self, services: FixtureServices) -> None:
        self._services = services

    def sweep(self, actor: Actor, action: str, tenant: str, wanted: Wanted, cursor: str | None = None) -> Report:
        actor.require("write", tenant, wanted.repository)
        self._services.stopped.append(f"{action} {tenant} {wanted.pipeline} {cursor}")
        refused = Refused("run1841", tenant, "acme/payments-api", 1841, NASTY)
        return Report((Changed("run1842", tenant, "acme/payments-api", 1842, "paused"),), (refused,), 2, "more")

    def dead(self, actor: Actor, tenant: str, repository: str = "", cursor: str | None = None) -> DeadRuns:
        actor.require("read", tenant, repository)
        found = Dead("run1841", tenant, "acme/payments-api", 1841, "Ship", "failed", "load", NASTY, NOW)
        other = self._services.views["run1836"]
        told = str((other.error or {})["message"])
        diverged = Dead(
            "run1836", tenant, "acme/payments-api", 1836, other.summary.title, "diverged", "diverged", told, NOW
        )
        return DeadRuns((found, diverged), 3, None)
