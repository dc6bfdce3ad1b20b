"""The class that authors derive from, and how a module's pipelines are found and described."""

import inspect
from types import ModuleType
from typing import Any, ClassVar

from stepwell.authoring.env import Env
from stepwell.authoring.event import Event
from stepwell.authoring.options import check_defaults
from stepwell.authoring.order import Group, Rate, check_priority
from stepwell.authoring.step import Step
from stepwell.authoring.triggers import Trigger


class Pipeline:
    """A durable program: `async def run(self, event, step)`, started by what `on` declares."""

    on: ClassVar[Any] = []
    concurrency: ClassVar[Group | None] = None
    rate_limit: ClassVar[Rate | None] = None
    priority: ClassVar[int] = 0
    defaults: ClassVar[dict[str, Any]] = {}
    env: Env

    async def run(self, event: Event, step: Step) -> Any:
        """Override with the pipeline's steps."""
        raise NotImplementedError(f"{type(self).__name__} has no run(). Write `async def run(self, event, step):`.")


class PipelineRefused(Exception):
    """The module or class cannot be used as a pipeline; the message says what to write."""

    def __init__(self, message: str, line: int | None = None) -> None:
        super().__init__(message)
        self.line = line


def pipelines_of(module: ModuleType, path: str) -> list[type[Pipeline]]:
    """Find the pipelines of a module in the order of their definition; names with _ in front are bases."""
    found = [
        value for name, value in vars(module).items()
        if isinstance(value, type) and issubclass(value, Pipeline) and value is not Pipeline and name[0] != "_"
    ]  # fmt: skip
    found = [cls for cls in dict.fromkeys(found) if cls.run is not Pipeline.run or cls.__module__ == module.__name__]
    if not found:
        raise PipelineRefused(
            f"{path} has no pipeline. Write `class Ship(Pipeline):` with `async def run(self, event, step):`."
        )
    return found


def choose(module: ModuleType, path: str, name: str) -> type[Pipeline]:
    """Pick the pipeline that an entry names; without a name there must be exactly one."""
    found = pipelines_of(module, path)
    named = [cls for cls in found if cls.__name__ == name] if name else found
    if len(named) == 1:
        check(named[0])
        return named[0]
    names = ", ".join(cls.__name__ for cls in found)
    if name:
        raise PipelineRefused(f"{path} has no pipeline {name!r}. It has: {names}.")
    raise PipelineRefused(f"{path} has several pipelines: {names}. Name one, like {path}:{found[0].__name__}.")


def check(cls: type[Pipeline]) -> None:
    """Refuse a class whose declarations are wrong, before anything runs."""
    name = cls.__name__
    if cls.run is Pipeline.run:
        raise PipelineRefused(f"{name} has no run(). Write `async def run(self, event, step):`.", _line(cls))
    if not inspect.iscoroutinefunction(cls.run) or _arity(cls.run) != 3:
        raise PipelineRefused(f"{name}.run is not a pipeline. Write `async def run(self, event, step):`.", _line(cls))
    on = cls.on if isinstance(cls.on, (list, tuple)) else [cls.on]
    for trigger in on:
        if not isinstance(trigger, Trigger):
            raise PipelineRefused(
                f"{name}.on contains {trigger!r}. Write a list of push(…), tag(…), cron(…) and manual(…).", _line(cls)
            )
    if cls.concurrency is not None and not isinstance(cls.concurrency, Group):
        raise PipelineRefused(
            f'{name}.concurrency has value {cls.concurrency!r}. Write group("ship-{{branch}}", "cancel").', _line(cls)
        )
    if cls.rate_limit is not None and not isinstance(cls.rate_limit, Rate):
        raise PipelineRefused(f'{name}.rate_limit has value {cls.rate_limit!r}. Write rate(10, "1 hour").', _line(cls))
    try:
        check_priority(cls.priority, f"{name}.priority")
    except ValueError as error:
        raise PipelineRefused(str(error), _line(cls)) from error
    try:
        check_defaults(cls.defaults)
    except (TypeError, ValueError, NotImplementedError) as error:
        raise PipelineRefused(f"{name}.defaults: {error}", _line(cls)) from error


def declaration(cls: type[Pipeline], path: str) -> dict[str, Any]:
    """Describe a pipeline as data: what starts it, and what the host must know before a run exists."""
    check(cls)
    on = cls.on if isinstance(cls.on, (list, tuple)) else [cls.on]
    return {
        "name": cls.__name__,
        "entry": f"{path}:{cls.__name__}",
        "doc": inspect.cleandoc(cls.__doc__) if cls.__doc__ and cls.__doc__ != Pipeline.__doc__ else "",
        "line": _line(cls),
        "on": [trigger.as_json() for trigger in on],
        "concurrency": cls.concurrency.as_json() if cls.concurrency is not None else None,
        "rate_limit": cls.rate_limit.as_json() if cls.rate_limit is not None else None,
        "priority": cls.priority,
        "defaults": check_defaults(cls.defaults),
    }


def _arity(function: Any) -> int:
    return function.__code__.co_argcount if hasattr(function, "__code__") else 0


def _line(cls: type[Pipeline]) -> int | None:
    code = getattr(vars(cls).get("run"), "__code__", None)
    return code.co_firstlineno if code is not None else None
