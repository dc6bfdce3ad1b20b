"""What stands beside the log of a step, or in its place."""

from collections.abc import Mapping
from typing import Any

from stepwell.ci.views import RunView, StepView
from stepwell_web import reasons, times
from stepwell_web.templating import as_json

BUSY = frozenset({"queued", "running", "retrying", "waiting"})


def about(view: RunView, step: StepView) -> str:
    """Say how it ended and how long it took, or why it stands where it stands unless the run's head says so."""
    if step.state in BUSY:
        said = reasons.reason(view)
        return "" if said and said.words == step.reason else step.reason
    parts = [f"exit {step.exit_code}" if step.exit_code is not None else "", times.duration(step.seconds)]
    return " · ".join(p for p in parts if p)


def facts(step: StepView, lines: int) -> list[tuple[str, str]]:
    """Name what it was asked to do and what came of it; above a log only what does not stand in that."""
    network = "yes" if step.network else ""
    large = f"{step.blob['size']:,} bytes of JSON, kept beside the journal" if step.blob else ""
    value = large if step.value is None or step.kind in ("run", "approval", "read") else as_json(step.value)
    given = as_json([step.options.get("args"), step.options.get("kwargs")]) if step.kind == "binding" else ""
    named: list[tuple[str, Any]] = [
        ("Command", step.command), ("Image", step.image), ("Tools", ", ".join(step.tools)),
        ("Given", given), ("Environment", step.environment), ("Secrets", ", ".join(step.secrets)), ("Network", network),
        ("State", step.reason if step.state in BUSY and step.kind != "approval" else ""),
        ("Decided", _decision(step)), ("Result", value),
    ]  # fmt: skip
    return [(name, str(text)) for name, text in named if text and (not lines or name in ("Command", "Image", "Result"))]


def _decision(step: StepView) -> str:
    value = step.value
    if step.kind != "approval" or not isinstance(value, Mapping):
        return ""
    comment = f": “{value['comment']}”" if value.get("comment") else ""
    by = value.get("by")
    return f"approved by {', '.join(by) if isinstance(by, list) else by}{comment}"


def child(view: RunView, step: StepView) -> tuple[str, str] | None:
    """The run that a call made: its name and its address."""
    if step.child is None:
        return None
    number = step.child["number"]
    return f"#{number}", f"/{view.summary.tenant}/{view.summary.repository}/runs/{number}"


def sleeps(step: StepView) -> bool:
    """Say whether it is a sleep that is not over."""
    return step.kind == "sleep" and step.state == "waiting" and step.due is not None


def empty(step: StepView) -> str:
    """Say why there is no log."""
    if step.kind == "sleep":
        return "It sleeps until" if sleeps(step) else "A sleep has no log."
    if step.kind == "approval":
        return "People are asked above." if step.state == "waiting" else "An approval has no log."
    if step.kind == "call":
        return "Its log is in the run that it called." if step.child else "It called no run."
    if step.kind == "binding" and step.state == "passed" and step.reason:
        return f"It {step.reason}."
    if step.kind in ("event", "read", "binding"):
        return f"A step of kind {step.kind} has no log."
    return "Its log begins when it starts." if step.state in BUSY else "It wrote nothing."
