"""What pages say of attempts that a crash took: they are run again, and count as no failure."""

from stepwell.ci.views import AttemptView, RunView, StepView


def told(step: StepView, attempt: int) -> str:
    """Say that the attempt shown was lost, or that ones before it were. A function that was lost keeps its number."""
    at = max((n for n, one in enumerate(step.attempts) if one.number == attempt), default=-1)
    again = "It is run again" if goes_on(step) else "It was run again"
    if at >= 0 and step.attempts[at].state == "lost" and not (goes_on(step) and at + 1 == len(step.attempts)):
        return f"This attempt was lost{_why(step.attempts[at])}. {again}, which counts as no failure."
    before = [one for one in step.attempts[: at + 1] if one.state == "lost"]
    if not before:
        return ""
    often = f"once{_why(before[-1])}" if len(before) == 1 else f"{len(before)} times, the last time{_why(before[-1])}"
    return f"It was lost {often}. {again}, which counts as no failure."


def goes_on(step: StepView) -> bool:
    """Say whether a step is run again after its last attempt was lost: that of a function is told of when it ends."""
    return bool(step.attempts) and step.attempts[-1].state == "lost" and step.ended_at is None


def only_lost(step: StepView) -> bool:
    """Say whether a step has been run more than once and all earlier attempts were lost: none has failed."""
    earlier = step.attempts if goes_on(step) else step.attempts[:-1]
    return bool(earlier) and all(one.state == "lost" for one in earlier)


def killed(view: RunView) -> str:
    """Say what the end of its process means for what a run was doing."""
    going = [step for step in view.steps if step.state == "running"]
    functions, commands = ([step.name for step in going if step.kind == kind] for kind in ("do", "run"))
    said = "Its process was killed. The run goes on in a new one, and nothing that has ended is done again."
    if functions:
        said += f" {_names(functions)} ran in it and {'begins' if len(functions) == 1 else 'begin'} again."
    if commands:
        verb, on = ("runs", "goes on") if len(commands) == 1 else ("run", "go on")
        said += f" {_names(commands)} {verb} in another process and {on}."
    return said


def _names(names: list[str]) -> str:
    return f"“{names[0]}”" if len(names) == 1 else f"{len(names)} steps"


def _why(attempt: AttemptView) -> str:
    return f": {attempt.reason}" if attempt.reason else ""
