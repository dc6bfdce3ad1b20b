"""Approvals: the engine's gate, the judge of a decision, and what people are shown.

The gate is asked on the engine's loop, so it only looks at rules in memory. It lets a step through that its
environment's branches forbid: the preparer refuses that one with the reason, and nobody is asked for nothing.
"""

from collections.abc import Mapping
from typing import Any

from stepwell.ci import inputs
from stepwell.ci.environments import Environments
from stepwell.ci.lent import Lent
from stepwell.ci.rules import Asked, Rules, not_before, question, said, satisfied, verdict
from stepwell.ci.views import ApprovalView, DecisionView, RunSummary
from stepwell.engine.seams import Judge
from stepwell.engine.state import RunState, StepState
from stepwell.errors import Conflict, Denied, NotFound
from stepwell.tenants.actors import Actor


class EnvironmentGate:
    """Implements Gate with the environments' rules."""

    def __init__(self, environments: Environments) -> None:
        self._environments = environments

    def holds(self, run: RunState, step: StepState) -> bool:
        """Say whether the step must wait for people."""
        rules = rules_of(self._environments, run.metadata, step)
        if rules.count == 0 or rules.refuses(run.metadata):
            return False
        return not satisfied(run, rules.environment)

    def not_before(self, run: RunState, step: StepState) -> float | None:
        """Say from when on the step may begin, whatever people decide."""
        return not_before(rules_of(self._environments, run.metadata, step), run, step)


def rules_of(environments: Environments, metadata: Mapping[str, Any], step: StepState) -> Rules:
    """Return the rules that a step stands under."""
    return rules_for(environments, metadata, str(step.options.get("environment") or ""))


def rules_for(environments: Environments, metadata: Mapping[str, Any], name: str) -> Rules:
    """Return an environment's rules as they are for a run; a plan to which it was not lent has none."""
    repository = str(metadata.get("repository") or "")
    if name and metadata.get("plan"):
        lent = Lent.of(metadata)
        repository = lent.repository if lent.has(name) else ""
    return environments.rules(repository, name) if name else Rules()


def judge_of(rules: Rules) -> Judge:
    """Return the judge of a decision under these rules."""
    return lambda run, step: verdict(rules, run, step)


def check_decision(rules: Rules, actor: Actor, run: RunState, key: str, fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the checked fields; raises NotFound, Conflict, Denied or Invalid when the actor may not decide this."""
    step = run.steps.get(key)
    if step is None:
        raise NotFound(f"Run #{run.number} has no step {key!r}.")
    if key not in run.approvals:
        raise Conflict(f"{step.name!r} waits for no decision any more: it is {step.state}.")
    asked = question(rules, step)
    if why := asked.why_not(actor.name, run.metadata, said(step)):
        raise Denied(why)
    return inputs.checked(asked.fields, fields, "field")


def approval_view(summary: RunSummary, rules: Rules, run: RunState, step: StepState, actor: Actor) -> ApprovalView:
    """Show an open question to an actor."""
    asked = question(rules, step)
    decisions = said(step)
    why = _why_not(asked, actor, summary, run, decisions)
    return ApprovalView(
        run=summary,
        key=step.key,
        name=step.name,
        kind="approval" if step.kind == "approval" else "environment",
        environment=rules.environment,
        reviewers=asked.reviewers or (),
        count=asked.count,
        approved=sum(decisions.values()),
        fields=asked.fields,
        decisions=tuple(decision_view(decision) for decision in step.decisions),
        asked_at=step.asked_at,
        due=step.due,
        may_decide=not why,
        why_not=why,
    )


def _why_not(asked: Asked, actor: Actor, summary: RunSummary, run: RunState, decisions: Mapping[str, bool]) -> str:
    if not actor.may("approve", summary.tenant, summary.repository):
        return "Your role or token does not allow you to approve here."
    return asked.why_not(actor.name, run.metadata, decisions)


def may_decide(environments: Environments, actor: Actor, metadata: Mapping[str, Any], step: StepState) -> bool:
    """Say whether somebody whose role allows it may decide a step, as `approval_view` tells it."""
    asked = question(rules_of(environments, metadata, step), step)
    return not asked.why_not(actor.name, metadata, said(step))


def decision_view(decision: Mapping[str, Any]) -> DecisionView:
    """Show a decision."""
    return DecisionView(
        by=str(decision["by"]),
        at=float(decision["at"]),
        approve=bool(decision["approve"]),
        comment=str(decision.get("comment") or ""),
        fields=decision.get("fields") or {},
    )
