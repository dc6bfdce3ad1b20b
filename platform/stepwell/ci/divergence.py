"""Ways on for a run whose code asked otherwise than its journal says, and what a restart means for decisions. Pure."""

from stepwell.ci.views import RunLink, WayOn
from stepwell.engine.state import RunState


def ways_on(run: RunState, itself: RunLink, source: RunLink | None) -> tuple[WayOn, ...]:
    """Return what people may do: begin again where it diverged, or go on with the code that did not.

    `source` is the run from which this one was restarted.
    """
    if run.final != "diverged" or run.error is None:
        return ()
    ways, step = [], str(run.error.get("step") or "")
    if step in run.steps:
        ways.append(WayOn(itself, step, f"Restart from {step}"))
    if source is not None and run.ancestry is not None and run.metadata.get("restart_code") == "newer":
        ways.append(WayOn(source, run.ancestry.step, f"Go on with the old code of #{source.number}"))
    return tuple(ways)


def restart_note(run: RunState) -> str:
    """Say what became of people's decisions when a run was restarted from a step."""
    if run.ancestry is None or run.ancestry.same_code is None:
        return ""
    if not run.ancestry.same_code:
        return "with other code, so people are asked again"
    taken = any(step.decisions and step.origin for step in run.steps.values())
    return "with the same code, so approvals before that hold" if taken else ""
