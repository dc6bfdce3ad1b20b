"""What people say to a `step.approval` of an embedded engine.

There are no environments: the approval's own settings are the rules.
"""

from collections.abc import Mapping
from typing import Any, Literal

from stepwell.engine.state import RunState, StepState
from stepwell.errors import Conflict, Denied, Invalid


def decision_of(step: StepState, by: str, approve: bool, comment: str, fields: Mapping[str, Any]) -> dict[str, Any]:
    """Check what somebody says to an approval, and fill in the defaults of its fields.

    Raises Invalid, Denied (not one of its reviewers), Conflict (has said so already, or it is not waited for).
    """
    if step.kind != "approval" or step.state != "waiting":
        raise Conflict(f"The step {step.name!r} waits for no decision: it is {step.state}, of kind {step.kind!r}.")
    decision = checked({"by": by, "approve": approve, "comment": comment, "fields": fields})
    reviewers = step.options.get("reviewers")
    if reviewers is not None and by not in reviewers:
        raise Denied(f"{by} may not decide on {step.name!r}. Its reviewers are: {', '.join(reviewers) or 'nobody'}.")
    if any(one["by"] == by for one in step.decisions):
        raise Conflict(f"{by} has decided on {step.name!r} already.")
    return {**decision, "fields": _filled(step, fields) if approve else {}}


def checked(decision: Mapping[str, Any]) -> dict[str, Any]:
    """Give a decision with all that belongs to it. Raises Invalid."""
    whole = {"comment": "", "fields": {}, **decision}
    kinds = {"by": str, "approve": bool, "comment": str, "fields": Mapping}
    wrong = [name for name, kind in kinds.items() if not isinstance(whole.get(name), kind)]
    if wrong or not whole["by"]:
        name = wrong[0] if wrong else "by"
        said = repr(whole.get(name))[:80]
        raise Invalid(
            f"A decision has {name} {said}. Give 'by', a text, 'approve', True or False, and comment and fields."
        )
    return whole


def verdict(run: RunState, step: StepState) -> Literal["approved", "rejected"] | None:
    """Judge the decisions: one rejection rejects, `count` different people approve."""
    said = {one["by"]: one["approve"] for one in step.decisions}
    if not all(said.values()):
        return "rejected"
    return "approved" if len(said) >= int(step.options.get("count") or 1) else None


def _filled(step: StepState, fields: Mapping[str, Any]) -> dict[str, Any]:
    asked: Mapping[str, Any] = step.options.get("fields") or {}
    for name, value in fields.items():
        choices = asked.get(name)
        if name not in asked or (isinstance(choices, list) and value not in choices):
            raise Invalid(f"The field {name!r} has value {value!r}; {step.name!r} asks for {dict(asked)!r}.", name)
    defaults = {name: kind[0] if isinstance(kind, list) else kind for name, kind in asked.items()}
    return {**defaults, **fields}
