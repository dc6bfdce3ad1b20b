"""The options of a step as an isolate asks for them, checked before they are kept.

The authoring side has checked them for the author's sake, in the isolate, where a stranger's code may say anything.
Everybody after this reads them without a second thought: people's pages, the rules of environments, executors. So here
every known option has the shape that it promises. What is not known is let through: nobody reads it. Access is read of
every step, so that a kind to which the rules of environments are not applied must not ask for any.
"""

import math
import re
from collections.abc import Callable, Mapping
from typing import Any

from stepwell.authoring.caches import cache_option
from stepwell.authoring.globs import glob_pattern
from stepwell.authoring.options import MOST_PATTERNS
from stepwell.authoring.retries import BACKOFFS

OPTIONS_BYTES = 262_144
ENTRY_CHARACTERS = 512
_ACCESS = ("environment", "secrets")
_MOST_SECONDS = 10 * 366 * 86_400.0

Check = Callable[[Any], bool]


def refusal(kind: str, options: Mapping[str, Any]) -> str:
    """Name the option that has not the shape it must have; "" when all have."""
    checks = _CHECKS.get(kind, {})
    missing = (name for name in _NEEDED.get(kind, ()) if options.get(name) is None)
    wrong = (name for name in checks if options.get(name) is not None and not checks[name](options[name]))
    access = (name for name in _ACCESS if options.get(name) is not None and name not in checks)
    return next(missing, "") or next(wrong, "") or next(access, "")


def _text(value: Any) -> bool:
    return isinstance(value, str) and "\0" not in value


def _word(value: Any) -> bool:
    return isinstance(value, str) and re.fullmatch(r"[a-z][a-z0-9_]{0,63}", value) is not None


def _texts(value: Any) -> bool:
    return isinstance(value, list) and all(_text(item) for item in value)


def _patterns(value: Any) -> bool:
    if not _texts(value) or len(value) > MOST_PATTERNS:
        return False
    try:
        return all(glob_pattern(one) for one in value)
    except ValueError:
        return False


def _caches(value: Any) -> bool:
    try:
        return bool(cache_option("cache", value) == value)
    except (TypeError, ValueError):
        return False


def _dict(value: Any) -> bool:
    return isinstance(value, dict)


def _flag(value: Any) -> bool:
    return isinstance(value, bool)


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and value >= 0


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63


def _seconds(value: Any) -> bool:
    return _number(value) and value <= _MOST_SECONDS


def _part(value: Any) -> bool:
    return _number(value) and value <= 1


def _few(value: Any) -> bool:
    return _whole(value) and value <= 1000


def _threads(value: Any) -> bool:
    return _whole(value) and 1 <= value <= 8000


def _variables(value: Any) -> bool:
    return isinstance(value, dict) and all(_text(text) for text in value.values())


def _secrets(value: Any) -> bool:
    if not isinstance(value, dict):
        return _texts(value)
    return all(_text(one) or (isinstance(one, dict) and _text(one.get("file"))) for one in value.values())


def _retries(value: Any) -> bool:
    if not isinstance(value, dict):
        return _few(value)
    checks = {"max": _few, "delay": _seconds, "cap": _seconds, "backoff": _backoff, "jitter": _part}
    return all(value.get(name) is None or check(value[name]) for name, check in checks.items())


def _backoff(value: Any) -> bool:
    return value in BACKOFFS


def _fields(value: Any) -> bool:
    return isinstance(value, dict) and all(_default(one) or _choices(one) for one in value.values())


def _default(value: Any) -> bool:
    return _text(value) or (isinstance(value, int | float) and math.isfinite(value))


def _choices(value: Any) -> bool:
    return _texts(value) and bool(value)


_CHECKS: Mapping[str, Mapping[str, Check]] = {
    "run": {
        "command": lambda value: _text(value) or _choices(value),
        "tools": _texts, "image": _text, "python": _text, "setup": _text, "setup_inputs": _texts, "env": _variables,
        "secrets": _secrets, "environment": _text, "network": lambda value: _flag(value) or _texts(value), "cwd": _text,
        "timeout": _seconds, "retries": _retries, "check": _flag, "keep": _flag, "junit": _patterns,
        "artifacts": _patterns, "cache": _caches, "reuse": _patterns, "memory": _whole, "processes": _threads,
        "cpu": _number,
    },
    "approval": {
        "message": _text, "environment": _text, "reviewers": _texts, "count": _few, "fields": _fields,
        "timeout": _seconds,
    },
    "event": {"type": _text, "timeout": _seconds},
    "call": {"entry": lambda value: _text(value) and len(value) <= ENTRY_CHARACTERS, "event": _dict},
    "binding": {
        "binding": _word, "call": _word, "args": lambda value: isinstance(value, list), "kwargs": _dict,
        "workspace": _flag,
    },
    "image": {
        "context": _text, "file": _text, "args": _variables, "target": _text, "network": _flag, "timeout": _seconds,
        "retries": _retries,
    },
    "read": {"path": _text, "timeout": _seconds, "retries": _retries},
}  # fmt: skip
_NEEDED = {"run": ("command",), "read": ("path",), "call": ("entry",), "binding": ("binding", "call")}
