"""Which step is meant when people name one. Pure."""

from stepwell.engine.state import RunState
from stepwell.errors import Invalid, NotFound


def key_of(run: RunState, said: str) -> str:
    """Find the step that is meant by its key, or by a name that only one has. Raises Invalid, NotFound."""
    if said in run.steps:
        return said
    keys = [step.key for step in run.steps.values() if step.name == said]
    if len(keys) > 1:
        raise Invalid(f"Run #{run.number} has several steps {said!r}: {', '.join(keys)}. Name one of them.")
    if not keys:
        known = ", ".join(run.steps) or "none"
        raise NotFound(f"Run #{run.number} has no step {said!r}. Its steps: {known}.")
    return keys[0]
