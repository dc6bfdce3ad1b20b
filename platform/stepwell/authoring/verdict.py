"""How a run ends, in the words that its author reads."""

import asyncio
from collections.abc import Collection, Iterable
from typing import Any, Literal

from stepwell.authoring import places
from stepwell.authoring.failures import MESSAGE_LENGTH, blamed, describe_error
from stepwell.authoring.step_future import StepFuture

State = Literal["passed", "failed", "cancelled"]


def failure(type_: str, message: str) -> dict[str, str]:
    """Make an error that Stepwell itself has found."""
    return {"type": type_, "message": message, "traceback": ""}


def verdict(main: "asyncio.Task[Any]", cancel_asked: bool, unused: Iterable[StepFuture]) -> tuple[State, Any]:
    """Judge a finished run: its state, and its result or error."""
    if main.cancelled():
        if cancel_asked:
            return "cancelled", None
        return "failed", failure("Cancelled", "run() awaited something that it had cancelled itself.")
    error = main.exception()
    if error is not None:
        key = blamed(error)
        return "failed", {**describe_error(error), **({"step": key} if key else {})}
    if cancel_asked:
        return "cancelled", None
    for step in unused:
        return "failed", _not_awaited(step)
    return "passed", main.result()


def undone(error: dict[str, str] | None, failed: list[str]) -> dict[str, str] | None:
    """Add to a run's error what could not be undone."""
    if not failed:
        return error
    said = f"Not everything was undone: {'; '.join(failed)}"[:MESSAGE_LENGTH]
    return failure("UndoFailed", said) if error is None else {**error, "message": f"{error['message']}\n{said}"}


def _not_awaited(step: StepFuture) -> dict[str, str]:
    return failure(
        "NotAwaited",
        f"step {step.name!r} at {step.where} was never awaited. "
        f"Write `await {step.call}(…)`, or keep what it returns and await that before run() returns.",
    )


def stuck(main: "asyncio.Task[Any]", names: Collection[str], root: str) -> dict[str, str]:
    """Say where a run awaits what nothing can bring."""
    where = places.of_task(main, names) or root
    waits = f"run() waits at {where}" if where else "run() waits"
    return failure(
        "Stuck",
        f"{waits} for something that no step, timer or event can bring, so it would wait for ever. "
        "Await a step, or let another task set what is awaited.",
    )
