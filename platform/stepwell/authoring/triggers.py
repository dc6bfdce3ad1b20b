"""What starts a pipeline, as data: `on = [push("main"), cron("0 3 * * *"), manual(target=["a", "b"])]`."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from stepwell.authoring.globs import written_glob

Kind = Literal["push", "tag", "cron", "manual"]


@dataclass(frozen=True)
class Trigger:
    """One declared way to start a pipeline."""

    kind: Kind
    settings: dict[str, Any] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """Give the form that travels to the host."""
        return {"kind": self.kind, **self.settings}


def push(*branches: str, paths: Sequence[str] = ()) -> Trigger:
    """Start on a push to one of the branches (globs; none: every branch), if one of `paths` changed."""
    return Trigger("push", {"branches": _globs("push", branches), "paths": _globs("push paths", paths)})


def tag(*patterns: str) -> Trigger:
    """Start when a tag that matches is pushed (none: every tag)."""
    return Trigger("tag", {"patterns": _globs("tag", patterns)})


def cron(schedule: str, *, tz: str = "UTC") -> Trigger:
    """Start at times written as five cron fields: minute hour day month weekday."""
    _check_schedule(schedule)
    _check_zone(tz)
    return Trigger("cron", {"schedule": schedule, "tz": tz})


def manual(**inputs: object) -> Trigger:
    """Start by hand; each input is a list of choices, or a default that is text, a number or true/false."""
    return Trigger("manual", {"inputs": {name: _input(name, value) for name, value in inputs.items()}})


def _globs(what: str, globs: Sequence[str]) -> list[str]:
    if isinstance(globs, str):
        raise TypeError(f"{what} has value {globs!r}. Write a list: [{globs!r}].")
    for glob in globs:
        written_glob(glob)
    return list(globs)


def _input(name: str, value: object) -> Any:
    if isinstance(value, (str, bool, int, float)):
        return value
    if isinstance(value, (list, tuple)) and value and all(isinstance(choice, str) for choice in value):
        return list(value)
    raise TypeError(
        f'manual input {name!r} has value {value!r}. Write a list of choices like ["staging", "production"], '
        "or a default that is text, a number or true/false."
    )


_FIELDS = (("minute", 0, 59), ("hour", 0, 23), ("day", 1, 31), ("month", 1, 12), ("weekday", 0, 7))
_NAMES = {
    "month": ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"],
    "weekday": ["sun", "mon", "tue", "wed", "thu", "fri", "sat"],
}


def _check_schedule(schedule: object) -> None:
    parts = schedule.split() if isinstance(schedule, str) else []
    if len(parts) != 5:
        raise ValueError(
            f'cron has schedule {schedule!r}. Write five fields, "minute hour day month weekday", like "0 3 * * *".'
        )
    for text, (name, low, high) in zip(parts, _FIELDS, strict=True):
        if not all(_is_range(item, name, low, high) for item in text.split(",")):
            raise ValueError(
                f"cron has schedule {schedule!r} with {name} {text!r}. "
                f"Write numbers from {low} to {high}, like {low}, {low}-{high}, */2 or *."
            )


def _is_range(item: str, name: str, low: int, high: int) -> bool:
    base, slash, step = item.partition("/")
    if slash and not (step.isdecimal() and int(step) > 0):
        return False
    if base == "*":
        return True
    first, dash, last = base.partition("-")
    ends = [_number(end, name) for end in ((first, last) if dash else (first,))]
    known = [end for end in ends if end is not None and low <= end <= high]
    return len(known) == len(ends) and known == sorted(known)


def _number(text: str, name: str) -> int | None:
    names = _NAMES.get(name, [])
    if text.lower() in names:
        return names.index(text.lower()) + (1 if name == "month" else 0)
    return int(text) if text.isdecimal() else None


def _check_zone(tz: object) -> None:
    try:
        ZoneInfo(str(tz))
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        # An isolate may lack the time zone database; then the host decides.
        if available_timezones() or not isinstance(tz, str) or not re.fullmatch(r"[A-Za-z_]+(/[A-Za-z0-9_+-]+)*", tz):
            raise ValueError(f'cron has time zone {tz!r}. Write a name like "Europe/Berlin" or "UTC".') from error
