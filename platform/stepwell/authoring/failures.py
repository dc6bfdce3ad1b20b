"""What a pipeline may catch, and what it is told when it is written wrongly.

StepFailed            a step failed for good: `step`, `type`, `message`, `traceback`
├── Rejected          people said no
├── ApprovalTimeout   nobody decided in time
└── EventTimeout      the event did not come in time
FinalError            raised inside `step.do`: do not try again
NotDurable            `run` did something that a replay could not repeat
NotAwaited            `run` used what a step call returns instead of awaiting it
NotExecuted           an option or call that this version of Stepwell does not execute
"""

import traceback
from collections.abc import Mapping
from typing import Any

MESSAGE_LENGTH = 4_000
TRACEBACK_LENGTH = 12_000


class StepFailed(Exception):
    """A step failed for good. The code always receives the journaled form, never the original exception."""

    def __init__(self, type: str, message: str, traceback: str = "", step: str = "") -> None:
        super().__init__(type, message, traceback, step)
        self.type = type
        self.message = message
        self.traceback = traceback
        self.step = step
        self.key = ""

    def __str__(self) -> str:
        what = self.message if self.type in QUIET_TYPES else f"{self.type}: {self.message}"
        return f"step {self.step!r} failed: {what}" if self.step else what


class Rejected(StepFailed):
    """People said no to an approval."""


class ApprovalTimeout(StepFailed):
    """Nobody decided an approval in time."""


class EventTimeout(StepFailed):
    """The event that a step waited for did not come in time."""


class FinalError(Exception):
    """Raise it inside a `step.do` function when trying again cannot help."""


class NotDurable(RuntimeError):
    """`run` did something that a replay could not repeat; the message names the step call to use instead."""


class NotAwaited(TypeError):
    """What a step call returns was used as if it were the step's result."""


class NotExecuted(NotImplementedError):
    """An option or call that this version of Stepwell does not execute; nothing is ignored silently."""


QUIET_TYPES = frozenset({
    "CallFailed", "CallRefused", "CommandFailed", "Rejected", "ApprovalTimeout", "EventTimeout", "Timeout",
    "ResultRefused",
})  # fmt: skip
"""Types that Stepwell gives itself: their message already says everything."""

FAILED_STEPS = frozenset(one.__name__ for one in (StepFailed, Rejected, ApprovalTimeout, EventTimeout))
"""Types of what `run` raised, by passing on that a step failed: their message already says what was wrong."""

_BY_KIND: dict[str, dict[str, type[StepFailed]]] = {
    "approval": {"Rejected": Rejected, "ApprovalTimeout": ApprovalTimeout},
    "event": {"EventTimeout": EventTimeout},
    "run": {"Rejected": Rejected, "ApprovalTimeout": ApprovalTimeout},
}


def failure_of(kind: str, name: str, key: str, error: Mapping[str, Any]) -> StepFailed:
    """Turn a journaled error into the exception that the code receives."""
    named = str(error.get("type", "StepFailed"))
    known = _BY_KIND.get(kind, {}).get(named, StepFailed)
    failure = known(named, str(error.get("message", "")), str(error.get("traceback", "")), name)
    failure.key = key
    return failure


def blamed(error: BaseException | None) -> str:
    """Give the key of the step whose failure an exception is, or was raised because of; "" when it is none."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        for one in (error, *_members(error)):
            if isinstance(one, StepFailed) and one.key:
                return one.key
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return ""


def describe_error(error: BaseException) -> dict[str, Any]:
    """Turn an exception of the author's code into its journaled form, without Stepwell's own frames."""
    text = "".join(part for one in (error, *_members(error)) for part in _traceback(one))
    return {"type": type(error).__name__, "message": message_of(error), "traceback": _valid(text[-TRACEBACK_LENGTH:])}


def message_of(error: BaseException) -> str:
    """Say what an exception says, even when its own `__str__` fails; of a group, what its members say."""
    members = _members(error)
    if members:
        return "; ".join(map(_of_group, members))[:MESSAGE_LENGTH]
    try:
        return _valid(str(error)[:MESSAGE_LENGTH])
    except Exception as broken:
        return f"(no message: {type(error).__name__}.__str__ raised {type(broken).__name__})"


def _of_group(member: BaseException) -> str:
    named, said = type(member).__name__, message_of(member)
    return said if named in FAILED_STEPS else f"{named}: {said}" if said else named


def _members(error: BaseException) -> list[BaseException]:
    if not isinstance(error, BaseExceptionGroup):
        return []
    return [leaf for member in error.exceptions for leaf in (_members(member) or [member])]


def _traceback(error: BaseException) -> list[str]:
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if not frame.filename.startswith(_OWN)]
    lines = ["Traceback (most recent call last):\n", *traceback.format_list(frames)] if frames else []
    try:
        return [*lines, *traceback.format_exception_only(error)]
    except Exception:
        return [*lines, f"{type(error).__name__}\n"]


def _valid(text: str) -> str:
    return text.encode("utf-8", "replace").decode()


_OWN = __file__.rpartition("/")[0] + "/"
