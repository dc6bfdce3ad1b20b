"""Why a run stands where it stands: the few words beside its state."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from stepwell.authoring.failures import FAILED_STEPS
from stepwell.ci.views import RunView, StepView

LONGEST = 120
_OF_STEP = re.compile(r"""[Ss]tep (['"])(.+?)\1 failed: """)


@dataclass(frozen=True)
class Reason:
    """Words, and the moment that they lead to, if there is one."""

    words: str
    until: float | None = None


def reason(view: RunView) -> Reason | None:
    """Say what holds a run, what failed in it, or what it waits for; None when its state says enough."""
    run = view.summary
    if run.reason and not (run.finished and view.error):
        return Reason(run.reason)
    if run.state == "waiting":
        return _wait(view)
    if run.state == "failed" or (run.state == "running" and run.counts.get("failed")):
        failed = [step for step in view.steps if step.state == "failed"]
        blamed = [step for step in failed if tells(view, step)] or ([] if run.finished else failed)
        return Reason(_failure(blamed[0]) + _others(blamed)) if blamed else _raised(view)
    return None


def brief(words: str) -> str:
    """Shorten the reason that a run's row has: "unit 3.13: exit code 1"."""
    line = _OF_STEP.sub(lambda found: f"{found[2]}: ", words.partition("\n")[0], count=1)
    return line if len(line) <= LONGEST else f"{line[:LONGEST]}…"


def tells(view: RunView, step: StepView) -> bool:
    """Say whether the run ended with the failure of this step."""
    message = str((view.error or {}).get("message", ""))
    return bool(step.error and step.name in message and step.error["message"] in message)


def _raised(view: RunView) -> Reason | None:
    kind = str((view.error or {}).get("type", ""))  # its message stands right below the head
    return Reason(kind) if kind[:1].isupper() and kind not in FAILED_STEPS else None


def _wait(view: RunView) -> Reason | None:
    asked = {one.key for one in view.approvals}
    waits = sorted((step for step in view.steps if step.state == "waiting"), key=lambda step: step.key not in asked)
    if not waits:
        return None
    first, others = waits[0], _others(waits)
    if first.reason or first.due is None:
        return Reason((first.reason or f"waits at {first.name}") + others)
    return Reason("sleeps until" if not others else f"{first.name} and {len(waits) - 1} more, until", first.due)


def _failure(step: StepView) -> str:
    if step.exit_code is not None and step.exit_code > 0:
        return f"{step.name}: exit code {step.exit_code}"
    said = str((step.error or {}).get("message") or "failed").partition("\n")[0]
    words = said if repr(step.name) in said else f"{step.name}: {said}"
    return words if len(words) <= LONGEST else f"{words[:LONGEST]}…"


def _others(steps: Sequence[StepView]) -> str:
    return f", and {len(steps) - 1} more" if len(steps) > 1 else ""
