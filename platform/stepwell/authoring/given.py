"""What a test gives for a pipeline's steps, turned into what a journal would have of them."""

import asyncio
import inspect
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from stepwell.authoring.failures import StepFailed, describe_error
from stepwell.authoring.results import Approval, Result, ResultRefused, encode_result

NOTHING: Any = type("Nothing", (), {"__repr__": lambda self: "nothing"})()
"""Stands for what a test has not given."""


class NotPlayed(Exception):
    """A test cannot go on: a step has no result, or one that does not fit. The message says what to give."""


@dataclass(frozen=True)
class Given:
    """Values by the name of a step (`test`), its key (`test#2`) or a pattern (`test *`); events by their type.

    A value may be an exception, which the step then fails with, or a callable, which is asked at each attempt.
    """

    results: Mapping[str, Any] = field(default_factory=dict)
    decisions: Mapping[str, Any] = field(default_factory=dict)
    events: Mapping[str, Any] = field(default_factory=dict)
    default: Any = NOTHING
    used: set[tuple[int, str]] = field(default_factory=set, init=False)

    def unused(self) -> Iterator[str]:
        """Names that nothing was looked up by."""
        for table in (self.results, self.decisions, self.events):
            yield from (name for name in table if (id(table), name) not in self.used)

    def result(self, key: str, name: str, kind: str) -> Any:
        """Find what is given for a step; the default is for commands only."""
        found = self._find(self.results, key, name)
        return self.default if found is NOTHING and kind == "run" else found

    def decision(self, key: str, name: str) -> Any:
        """Find what people decide."""
        return self._find(self.decisions, key, name)

    def event(self, type_: str) -> Any:
        """Find what arrives."""
        return self._find(self.events, type_, type_)

    def _find(self, table: Mapping[str, Any], key: str, name: str) -> Any:
        patterns = (pattern for pattern in table if "*" in pattern and _matches(pattern, name))
        for known in (key, name, *patterns):
            if known in table:
                self.used.add((id(table), known))
                return table[known]
        return NOTHING


def _matches(pattern: str, name: str) -> bool:
    return re.fullmatch(".*".join(map(re.escape, pattern.split("*"))), name, re.DOTALL) is not None


def is_error(given: Any, kind: type[BaseException] | tuple[type[BaseException], ...]) -> bool:
    """Say whether an exception of this kind is given, as an object or as its class."""
    return isinstance(given, kind) or (isinstance(given, type) and issubclass(given, kind))


def done(given: Any, kind: str, name: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Give a step's `done` data; a command is tried as often as its settings say."""
    retries = options.get("retries") or {}
    for _ in range(int(retries.get("max", 0)) + 1):
        data = _attempt(given, kind, name, options)
        if data["ok"]:
            break
    return data


def _attempt(given: Any, kind: str, name: str, options: Mapping[str, Any]) -> dict[str, Any]:
    arguments, keywords = _arguments(kind, options)
    try:
        value = called(given, *arguments, **keywords)
    except NotPlayed:
        raise
    except Exception as error:
        value = error
    if is_error(value, BaseException):
        return {"ok": False, "error": error_of(value), "seconds": 0.0}
    if kind != "run":
        return {"ok": True, "value": plain(_text(value, name, kind) if kind in _TEXTS else value, name), "seconds": 0.0}
    result = _result(value, name)
    if result.exit_code != 0 and options.get("check") is not False:
        failed = {"type": "CommandFailed", "message": f"exit code {result.exit_code}", "traceback": ""}
        return {"ok": False, "error": failed, "seconds": result.seconds, "exit_code": result.exit_code}
    return {"ok": True, "value": plain(result.__dict__, name), "seconds": result.seconds}


def _arguments(kind: str, options: Mapping[str, Any]) -> tuple[list[Any], dict[str, Any]]:
    if kind == "binding":
        return options["args"], options["kwargs"]
    first = {"run": "command", "read": "path"}.get(kind)
    return (
        [options[first]] if first else [],
        {option: value for option, value in options.items() if option != first},
    )


def called(given: Any, *args: Any, **kwargs: Any) -> Any:
    """Ask a callable; anything else is the value itself."""
    if not callable(given) or isinstance(given, type):
        return given
    value = given(*args, **kwargs)
    if inspect.isawaitable(value):
        getattr(value, "close", lambda: None)()
        raise NotPlayed(f"{given!r} is async. Only step.do functions may be; give a plain function.")
    return value


def error_of(given: Any) -> dict[str, Any]:
    """Give the journaled form of an exception or its class."""
    if isinstance(given, type):
        given = given(given.__name__, "as the test says") if issubclass(given, StepFailed) else given()
    if isinstance(given, StepFailed):
        return {"type": given.type, "message": given.message, "traceback": given.traceback}
    return describe_error(given)


def _result(value: Any, name: str) -> Result:
    if value is None:
        return Result()
    if isinstance(value, Result):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return Result(exit_code=value)
    if isinstance(value, Mapping):
        return Result(outputs={str(output): str(text) for output, text in value.items()})
    raise NotPlayed(
        f"Step {name!r} is given {value!r}. Give a command a Result(…), an exit code, a dict of outputs, "
        "an exception, or a function that returns one of these."
    )


_TEXTS = {"read": "the file's text", "image": "an image's id"}


def _text(value: Any, name: str, kind: str) -> str:
    if isinstance(value, str):
        return value
    raise NotPlayed(f"Step {name!r} is given {value!r}. Give step.{kind} {_TEXTS[kind]}, or an exception.")


def plain(value: Any, name: str) -> Any:
    """Refuse what no journal could hold."""
    try:
        encode_result(value, f"What step {name!r} is given")
    except ResultRefused as error:
        raise NotPlayed(str(error)) from error
    return value


def decided(given: Any, name: str, options: Mapping[str, Any], now: float) -> dict[str, Any]:
    """Give an approval's `done` data."""
    value = called(given, name, **options)
    if value is False:
        value = StepFailed("Rejected", f"tester rejected {name!r}.")
    if is_error(value, BaseException):
        return {"ok": False, "error": error_of(value), "seconds": 0.0}
    if value is True:
        value = Approval()
    if not isinstance(value, Approval):
        raise NotPlayed(
            f"Approval {name!r} is given {value!r}. Give True, False, Approval(by=…, fields=…), Rejected, or "
            "ApprovalTimeout when nobody decides."
        )
    fields = _fields(value.fields, name, options.get("fields") or {})
    answer = {"by": value.by or "tester", "at": value.at or now, "comment": value.comment, "fields": fields}
    return {"ok": True, "value": plain(answer, name), "seconds": 0.0}


def _fields(given: Mapping[str, Any], name: str, declared: Mapping[str, Any]) -> dict[str, Any]:
    for field_name, value in given.items():
        known = declared.get(field_name, NOTHING)
        if known is NOTHING or (isinstance(known, list) and value not in known):
            raise NotPlayed(
                f"Approval {name!r} is given the field {field_name!r} with {value!r}; it asks for {dict(declared)!r}."
            )
    return {
        field_name: given.get(field_name, kind[0] if isinstance(kind, list) else kind)
        for field_name, kind in declared.items()
    }


def function(given: Any, cancel: Callable[[], None]) -> Callable[..., Any]:
    """Give what a `step.do` calls instead of its function."""
    if is_error(given, asyncio.CancelledError):
        return _cancelled(cancel)
    if callable(given) and not isinstance(given, type):
        return given  # type: ignore[no-any-return]
    return _fails(given) if is_error(given, BaseException) else _gives(given)


def _cancelled(cancel: Callable[[], None]) -> Callable[..., Any]:
    async def waits(*_: Any) -> None:
        cancel()
        await asyncio.Event().wait()

    return waits


def _fails(given: Any) -> Callable[..., Any]:
    async def fails(*_: Any) -> None:
        raise given

    return fails


def _gives(given: Any) -> Callable[..., Any]:
    async def gives(*_: Any) -> Any:
        return given

    return gives
