"""Which wait an event is for: the first open one of its type, or the next that opens."""

from collections import deque
from typing import Any

from stepwell.authoring.step_future import StepFuture


class Waits:
    """The open waits of a run, in the order asked, and the events that nobody has taken, in the order arrived."""

    def __init__(self) -> None:
        self._open: dict[str, dict[str, StepFuture]] = {}
        self._kept: dict[str, deque[tuple[int, Any]]] = {}

    def open(self, step: StepFuture) -> tuple[int, Any] | None:
        """Open a wait, or give the event (seq and payload) that has waited for it."""
        kept = self._kept.get(step.event_type)
        if kept:
            return kept.popleft()
        self._open.setdefault(step.event_type, {})[step.key] = step
        return None

    def close(self, step: StepFuture) -> None:
        """Forget a wait that is over or was given up."""
        self._open.get(step.event_type, {}).pop(step.key, None)

    def arrived(self, type: str, seq: int, payload: Any) -> StepFuture | None:
        """Give the wait that an event is for, which is closed by it, or keep the event."""
        waits = self._open.get(type)
        if not waits:
            self._kept.setdefault(type, deque()).append((seq, payload))
            return None
        return waits.pop(next(iter(waits)))
