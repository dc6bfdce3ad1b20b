"""People's decisions on approvals and held steps, turned into drafts of the run's journal."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal

from stepwell.engine.commits import Commits
from stepwell.engine.live import Live
from stepwell.engine.seams import Judge
from stepwell.errors import Conflict, NotFound


def draft_decision(
    live: Live, key: str, decision: Mapping[str, Any], judge: Judge, commits: Commits
) -> Literal["approved", "rejected"] | None:
    """Draft a decision and what follows from it, all in one transaction. Raises NotFound, Conflict, what `judge` does.

    The judge sees the decision as if it were made, before anything is: when it refuses, nothing was.
    """
    step = live.state.steps.get(key)
    if step is None:
        raise NotFound(f"Run {live.id!r} has no step {key!r}.")
    if key not in live.state.approvals:
        raise Conflict(f"The step {step.name!r} waits for no decision: it is {step.state}.")
    verdict = judge(live.state, replace(step, decisions=[*step.decisions, decision]))
    commits.append(live, "decision", key, dict(decision))
    if verdict == "rejected":
        said = f": {decision['comment']}" if decision.get("comment") else "."
        message = f"{decision.get('by')} rejected {step.name!r}{said}"
        error = {"type": "Rejected", "message": message, "traceback": ""}
        commits.append(live, "done", key, {"ok": False, "error": error, "seconds": 0.0})
    elif verdict == "approved" and step.held:
        commits.append(live, "released", key, {"by": decision.get("by")})
    elif verdict == "approved":
        value = {name: decision.get(name) for name in ("by", "at", "comment", "fields")}
        commits.append(live, "done", key, {"ok": True, "value": value, "seconds": 0.0})
    return verdict
