"""Ways on for a run whose code asked otherwise than its journal says. Pure."""

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
