"""A gate for engines in tests."""

from dataclasses import dataclass

from stepwell.engine.state import RunState, StepState


@dataclass
class Gatekeeper:
    """Holds steps of environments until somebody decided; they begin no sooner than `wait` seconds after their ask."""

    people: bool = True
    wait: float = 0.0

    def holds(self, run: RunState, step: StepState) -> bool:
        return self.people and not step.decisions

    def not_before(self, run: RunState, step: StepState) -> float | None:
        return step.asked_at + self.wait if self.wait else None
