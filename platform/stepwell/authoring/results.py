"""What steps give back, and the JSON form in which everything crosses the journal."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from stepwell.authoring.failures import NotAwaited
from stepwell.authoring.step_future import StepFuture

RESULT_BYTES = 1_048_576
"""Of JSON in UTF-8, in a journal."""
LARGE_BYTES = 64 * 1_048_576
"""Of a step's result beside the journal, where the host keeps such."""


@dataclass(frozen=True)
class Result:
    """How a command ended. `outputs` are the `key=value` lines it wrote to `$STEPWELL_OUTPUT`."""

    exit_code: int = 0
    seconds: float = 0.0
    outputs: Mapping[str, str] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return self.exit_code == 0


@dataclass(frozen=True)
class Approval:
    """Who said yes, when (seconds since the epoch), and what they wrote."""

    by: str = ""
    at: float = 0.0
    comment: str = ""
    fields: Mapping[str, Any] = field(default_factory=dict)


def given_of(kind: str, value: Any) -> Any:
    """Make of a journaled value what a step of its kind gives to the code."""
    if kind == "run":
        return Result(value.get("exit_code", 0), value.get("seconds", 0.0), value.get("outputs") or {})
    if kind == "approval":
        return Approval(**{name: value[name] for name in ("by", "at", "comment", "fields") if name in value})
    return value


def _plain(value: object) -> Any:
    if isinstance(value, (Result, Approval)):
        return value.__dict__
    raise TypeError(f"an object of type {type(value).__qualname__}")


def _named(value: object) -> Any:
    if isinstance(value, (Result, Approval)):
        return value.__dict__
    if isinstance(value, StepFuture):
        raise value.mistaken()
    return f"<{type(value).__qualname__}>"


encode: Callable[[object], str] = json.JSONEncoder(
    separators=(",", ":"), ensure_ascii=False, allow_nan=False, default=_plain
).encode
_loosely = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False, check_circular=False, default=_named)
decode: Callable[[str], Any] = json.JSONDecoder().decode


class ResultRefused(Exception):
    """A value that cannot be journaled."""


def size_of(text: str) -> int:
    """Count bytes. Raises UnicodeEncodeError."""
    return len(text) if text.isascii() else len(text.encode())


def encode_result(value: object, what: str, limit: int = RESULT_BYTES) -> str:
    """Encode a value for the journal. `what` begins the message of ResultRefused."""
    try:
        text = encode(value)
        size = size_of(text)
    except (TypeError, ValueError, RecursionError) as error:
        raise ResultRefused(
            f"{what} is not JSON: it contains {_fault(error)}. "
            "Return text, numbers, true/false, None, and lists or dicts of them."
        ) from error
    if size > limit:
        raise ResultRefused(
            f"{what} is {size:,} bytes of JSON; at most {limit:,} ({limit >> 20} MiB) are kept. "
            "Keep large data elsewhere, like in a file of the workspace, and return where it is."
        )
    return text


def _fault(error: Exception) -> str:
    if isinstance(error, UnicodeEncodeError):
        return "text that is not valid Unicode"
    if isinstance(error, RecursionError) or "Circular" in str(error):
        return "a value that contains itself, or is nested too deeply"
    if isinstance(error, ValueError):
        return "a number that is infinite or not a number"
    return str(error)


def _make_pieces() -> Callable[[object, int], tuple[str, ...]] | None:
    """Make what JSONEncoder.encode makes anew at each call, which takes longer than to encode a step's arguments."""
    make = getattr(json.encoder, "c_make_encoder", None)
    if make is None:
        return None
    quoted = json.encoder.encode_basestring
    return make(None, _named, quoted, None, ":", ",", False, False, True)  # type: ignore[no-any-return]


_pieces = _make_pieces()


def canonical(value: object) -> str:
    """Give a text for fingerprints: the same for equal arguments in every process, never an address.

    Raises NotAwaited for a step where its result belongs.
    """
    try:
        return "".join(_pieces(value, 0)) if _pieces is not None else _loosely.encode(value)
    except NotAwaited:
        raise
    except (TypeError, ValueError, RecursionError):
        return f"<{type(value).__qualname__}>"
