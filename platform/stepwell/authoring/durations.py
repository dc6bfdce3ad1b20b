"""Durations as people write them: "15 minutes", 900, timedelta(minutes=15)."""

import re
from datetime import timedelta

Duration = str | float | timedelta

_UNITS = {
    "ms": 0.001, "millisecond": 0.001, "milliseconds": 0.001,
    "s": 1, "sec": 1, "secs": 1, "second": 1, "seconds": 1,
    "m": 60, "min": 60, "mins": 60, "minute": 60, "minutes": 60,
    "h": 3600, "hour": 3600, "hours": 3600,
    "d": 86400, "day": 86400, "days": 86400,
    "w": 604800, "week": 604800, "weeks": 604800,
}  # fmt: skip
_PART = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([a-z]+)\s*(?:,|and\b)?\s*", re.ASCII)
LONGEST_SECONDS = 10 * 366 * 86400.0
_REMEDY = 'Write something like "15 minutes", "1.5 hours", "7 days", a number of seconds, or a timedelta.'


def seconds_of(value: object, what: str = "duration") -> float:
    """Turn a duration into seconds. `what` names the setting in errors; raises TypeError or ValueError."""
    if isinstance(value, timedelta):
        seconds = value.total_seconds()
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        seconds = float(value)
    elif isinstance(value, str):
        seconds = _from_text(value, what)
    else:
        raise TypeError(f"{what} has value {value!r}. {_REMEDY}")
    if not 0 <= seconds <= LONGEST_SECONDS:
        raise ValueError(f"{what} has value {value!r}. It must be between 0 and 10 years. {_REMEDY}")
    return seconds


def spoken(seconds: float) -> str:
    """Write seconds as people do, in the largest unit that they are whole in: "7 days", "90 seconds"."""
    for name in ("week", "day", "hour", "minute"):
        if seconds >= _UNITS[name] and seconds % _UNITS[name] == 0:
            return _many(seconds / _UNITS[name], name)
    return _many(seconds, "second")


def _many(count: float, name: str) -> str:
    return f"{count:g} {name}" if count == 1 else f"{count:g} {name}s"


def _from_text(text: str, what: str) -> float:
    lowered, position, total = text.strip().lower(), 0, 0.0
    while position < len(lowered):
        part = _PART.match(lowered, position)
        if part is None or part[2] not in _UNITS:
            raise ValueError(f"{what} has value {text!r}. {_REMEDY}")
        total += float(part[1]) * _UNITS[part[2]]
        position = part.end()
    if not lowered:
        raise ValueError(f"{what} has value {text!r}. {_REMEDY}")
    return total
