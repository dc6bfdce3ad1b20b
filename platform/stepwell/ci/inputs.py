"""Inputs of a manual start and fields of an approval: one form of declaration, one check.

A declaration is a list of choices, or a default whose type the value must have.
"""

import math
from collections.abc import Mapping
from typing import Any

from stepwell.errors import Invalid

LONGEST = 10_000
"""Characters of a text."""


def checked(declared: Mapping[str, Any], given: Mapping[str, Any], what: str) -> dict[str, Any]:
    """Return a value for every declared field; Invalid names the field and what fits."""
    unknown = sorted(set(given) - set(declared))
    if unknown:
        known = ", ".join(declared) or "none"
        raise Invalid(f"There is no {what} {unknown[0]!r}. Known are: {known}.")
    return {name: _value(name, kind, given.get(name), what) for name, kind in declared.items()}


def _value(name: str, kind: Any, value: Any, what: str) -> Any:
    if isinstance(kind, list):
        value = kind[0] if value is None else value
        if value not in kind:
            raise Invalid(f"{what} {name!r} has value {value!r}. Choose one of: {', '.join(kind)}.", field=name)
        return value
    if value is None:
        return kind
    if isinstance(kind, bool):
        return _flag(name, value, what)
    if isinstance(kind, (int, float)):
        return _number(name, kind, value, what)
    if not isinstance(value, str) or len(value) > LONGEST:
        raise Invalid(f"{what} {name!r} is no text of up to {LONGEST:,} characters.", field=name)
    return value


def _flag(name: str, value: Any, what: str) -> bool:
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.lower() in {"true", "on", "yes", "false", "off", "no", ""}:
        return value.lower() in {"true", "on", "yes"}
    raise Invalid(f"{what} {name!r} has value {value!r}. Use true or false.", field=name)


def _number(name: str, kind: float, value: Any, what: str) -> float:
    try:
        if isinstance(value, bool):
            raise ValueError("a truth value is no number")
        number = type(kind)(value)
        if isinstance(number, float) and not math.isfinite(number):
            raise ValueError("it has no end")
        return number
    except (TypeError, ValueError, OverflowError) as error:
        raise Invalid(
            f"{what} {name!r} has value {str(value)[:80]!r}. Use a number like {kind!r}.", field=name
        ) from error
