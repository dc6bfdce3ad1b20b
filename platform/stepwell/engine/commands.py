"""What an isolate may say, checked word by word before it touches a run.

The isolate runs code of a stranger, so a line is taken only if it is JSON of the agreed shape within the agreed bounds;
anything else is Malformed and ends the turn. What a command says about its own run is the run's business: it can only
harm itself.
"""

import json
import math
from bisect import bisect_right
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

from stepwell.engine.asked_options import OPTIONS_BYTES, refusal
from stepwell.engine.live import EXECUTED, Live
from stepwell.engine.specs import Limits
from stepwell.engine.state import OPEN, RunState
from stepwell.store.json_text import encode

KEY_CHARACTERS = 512
RESULT_BYTES = 1_048_576
KINDS = frozenset({"run", "read", "image", "call", "sleep", "event", "approval", "timer", "binding"})
WAITS = frozenset({"sleep", "event", "approval", "timer"})


class Malformed(Exception):
    """The isolate said something that is not in the protocol."""


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


_decode = json.JSONDecoder(parse_constant=_no_constant).decode


def parse(line: bytes, limits: Limits) -> list[list[Any]]:
    """Decode a line of commands."""
    try:
        commands = _decode(line.decode())
    except (ValueError, RecursionError) as error:
        raise Malformed(f"It sent a line that is not JSON: {line[:80]!r}.") from error
    if not isinstance(commands, list) or len(commands) > limits.commands:
        raise Malformed("It sent something that is no list of commands, or too long a one.")
    for command in commands:
        if not isinstance(command, list) or not command or not isinstance(command[0], str):
            raise Malformed(f"It sent a command that is none: {str(command)[:80]!r}.")
    return commands


def text(value: object, limit: int = KEY_CHARACTERS) -> str:
    """Check a short text that will be a column."""
    if isinstance(value, str) and len(value) <= limit:
        try:
            value.encode()
        except UnicodeEncodeError:
            pass
        else:
            return value
    raise Malformed(f"It sent {str(value)[:80]!r} where a short text belongs.")


def number(value: object) -> float:
    """Check a finite number."""
    if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        return float(value)
    raise Malformed(f"It sent {str(value)[:80]!r} where a number belongs.")


def whole(value: object) -> int:
    """Check a small whole number."""
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**31:
        return value
    raise Malformed(f"It sent {str(value)[:80]!r} where a whole number belongs.")


def failure(value: object) -> dict[str, Any]:
    """Check an error: {type, message, traceback}; {file, line} of code not to be loaded, or {step}, a key."""
    if not isinstance(value, dict):
        raise Malformed(f"It sent {str(value)[:80]!r} where an error belongs.")
    given = {name: str(value.get(name) or "") for name in ("type", "message", "traceback")}
    where = {name: value[name] for name in ("file", "line", "step") if isinstance(value.get(name), str | int)}
    return {**{name: part[: 64 * 1024] for name, part in given.items()}, **where}


def asked(live: Live, command: list[Any]) -> tuple[str, dict[str, Any]]:
    """Check an ask; give its key and the entry's data, with the layers it stands on."""
    _, raw_key, kind, name, fingerprint, options, due, where, base_seq = command
    key, state = text(raw_key), live.state
    if kind not in KINDS or not isinstance(options, dict) or key in state.steps or key in state.timers:
        raise Malformed(f"It asked for {key!r} as {str(kind)[:40]!r} out of turn.")
    if name_of_wrong := refusal(kind, options):
        raise Malformed(f"It asked for {key!r} with an option {name_of_wrong!r} that is none.")
    if len(encode(options)) > OPTIONS_BYTES:
        raise Malformed(f"It asked for {key!r} with more than {OPTIONS_BYTES >> 10} KiB of options.")
    if (due is not None and kind not in WAITS) or (due is None and kind in {"sleep", "timer"}):
        raise Malformed(f"It asked for {key!r} with a due time of {due!r}.")
    base: list[str] = []
    if kind in EXECUTED or options.get("workspace"):
        reached = bisect_right(state.layers, whole(base_seq), key=_seq_of)
        base = _in_order_asked(state, [layer for _, layer in state.layers[:reached]])
    data = {"kind": kind, "name": text(name), "fingerprint": _fingerprint(fingerprint), "options": options}
    return key, {**data, "base": base, "due": None if due is None else number(due), "where": text(where)}


def _in_order_asked(state: RunState, layers: list[str]) -> list[str]:
    """Sort layers by when their steps were asked for: which one is on top must not depend on which one was faster."""
    if len(layers) < 2:
        return layers
    delivered = set(layers)
    return [step.layer for step in state.steps.values() if step.layer in delivered]


def _seq_of(layer: tuple[int, str]) -> int:
    return layer[0]


def _fingerprint(value: object) -> str | int:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    return text(value, 128)


def continuation(outcome: object) -> Mapping[str, Any]:
    """Check in which fields of its event a run differs that goes on under a fresh journal."""
    event = outcome.get("event") if isinstance(outcome, dict) else None
    if not isinstance(event, dict) or len(encode(event)) > OPTIONS_BYTES:
        raise Malformed("It continued with an event of the wrong shape.")
    return event


def inline(name: object, fingerprint: object) -> dict[str, Any]:
    """Say what an inline step is, for entries that mention it first."""
    return {"kind": "do", "name": text(name), "fingerprint": _fingerprint(fingerprint)}


def done(live: Live, command: list[Any]) -> tuple[str, int, dict[str, Any]]:
    """Check the result of an inline step; give key, attempt and the entry's data."""
    _, raw_key, name, fingerprint, attempt, ok, value, seconds = command
    key = _own(live, raw_key)
    data: dict[str, Any] = {"ok": ok is True, "seconds": max(0.0, number(seconds)), "inline": inline(name, fingerprint)}
    if ok is True:
        data["value"] = value
    else:
        data["error"] = failure(value)
    return key, whole(attempt), data


def retry(live: Live, command: list[Any]) -> tuple[str, int, dict[str, Any], float]:
    """Check a failed attempt of an inline step; give key, attempt, data without `due`, and the delay."""
    _, raw_key, name, fingerprint, attempt, error, delay, seconds = command
    data = {"error": failure(error), "seconds": max(0.0, number(seconds)), "inline": inline(name, fingerprint)}
    return _own(live, raw_key), whole(attempt), data, max(0.0, number(delay))


def owns(live: Live, key: str) -> bool:
    """Say whether an inline step may still say something about itself."""
    step = live.state.steps.get(key)
    return step is None or (step.kind == "do" and step.state in OPEN)


def _own(live: Live, raw_key: object) -> str:
    key = text(raw_key)
    if not owns(live, key):
        raise Malformed(f"It reported on {key!r}, which is not its to report on.")
    return key


def taken(live: Live, command: list[Any]) -> tuple[str, dict[str, Any]]:
    """Check that a wait took an event that is there."""
    _, raw_key, raw_event = command
    key, event = text(raw_key), whole(raw_event)
    step = live.state.steps.get(key)
    if step is None or step.kind != "event" or step.event is not None or event not in live.state.events:
        raise Malformed(f"It took event {event} for {key!r}, which cannot be.")
    return key, {"event": event}


def fits(data: dict[str, Any], encode: Callable[[Any], str]) -> bool:
    """Say whether a result is within bounds (text in ASCII is up to six times as long as in UTF-8)."""
    return len(encode(data.get("value"))) <= 6 * RESULT_BYTES
