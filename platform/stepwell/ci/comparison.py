"""Two runs of one pipeline side by side, step by step: a pure function of their views."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from stepwell.ci.views import StepView
from stepwell.engine.state import OPEN

SETTINGS = (
    "command", "image", "tools", "python", "setup", "setup_inputs", "env", "secrets", "environment", "network", "cwd",
    "timeout", "memory", "cpu", "type", "path", "pipeline",
)  # fmt: skip
"""Options of a step whose change may change what it does."""
LONGEST = 300
"""Characters of a value that are told."""


@dataclass(frozen=True)
class Difference:
    """One thing that was otherwise; "" where it was not there."""

    what: str
    before: str
    after: str


@dataclass(frozen=True)
class StepChange:
    """A step of the newer run beside the same step, by name and count, of the older; `differences` without times.

    What is not over has no result that could be otherwise.
    """

    key: str
    name: str
    before: StepView | None
    after: StepView | None
    differences: tuple[Difference, ...]

    @property
    def slower_by(self) -> float | None:
        """Seconds that it took longer, if both passed; below zero: less. What a person or an event took is no pace."""
        if not self.before or not self.after or {self.before.state, self.after.state} != {"passed"}:
            return None
        if self.after.kind in ("approval", "event"):
            return None
        return (self.after.seconds or 0.0) - (self.before.seconds or 0.0)


def compare(before: Sequence[StepView], after: Sequence[StepView]) -> tuple[StepChange, ...]:
    """Give the newer run's steps in the order asked, then those that only the older had."""
    older = {step.key: step for step in before}
    own = {step.key for step in after}
    renamed = {_question(step): step.key for step in before if step.kind == "approval" and step.key not in own}

    def same(step: StepView) -> StepView | None:
        key = step.key if step.key in older or step.kind != "approval" else renamed.pop(_question(step), step.key)
        return older.pop(key, None)

    changes = [_change(same(step), step) for step in after]
    return (*changes, *(_change(step, None) for step in older.values()))


def _question(step: StepView) -> str:
    """Give an approval's name without its numbers: "Ship 1.9.0?" asks what "Ship 1.1.0?" did."""
    return re.sub(r"\d+", "", step.name)


def first_difference(changes: Sequence[StepChange]) -> StepChange | None:
    """Give the first step of the newer run that is new, set otherwise, or came to another result."""
    return next((change for change in changes if change.after and change.differences), None)


def _change(before: StepView | None, after: StepView | None) -> StepChange:
    some = after or before
    assert some is not None
    return StepChange(some.key, some.name, before, after, tuple(_differences(before, after)))


def _differences(before: StepView | None, after: StepView | None) -> list[Difference]:
    if before is None or after is None:
        return [Difference("step", before.state if before else "", after.state if after else "")]
    pairs: list[tuple[str, Any, Any]] = [("kind", before.kind, after.kind)]
    pairs += [(name, before.options.get(name), after.options.get(name)) for name in SETTINGS]
    if after.state not in OPEN:
        pairs.append(("state", before.state, after.state))
    if before.state == after.state == "passed" and after.kind in ("do", "read", "image"):
        pairs.append(("result", before.value, after.value))
    return [Difference(what, _told(old), _told(new)) for what, old, new in pairs if old != new]


def _told(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, list | tuple) and all(isinstance(one, str) for one in value):
        text = ", ".join(value)
    else:
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, sort_keys=True)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}…"
