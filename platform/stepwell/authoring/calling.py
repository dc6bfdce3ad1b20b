"""What `step.call` and `step.continue_as` ask of the host: which pipeline, and in which fields the event differs."""

import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from stepwell.authoring.event import Event
from stepwell.authoring.results import ResultRefused, canonical, decode, encode_result

if TYPE_CHECKING:
    from stepwell.authoring.pipeline import Pipeline


def call_options(name: str, pipeline: object, event: object, own: Event) -> dict[str, Any]:
    """Check a call and give its options.

    `event` is an Event, or anything else for the payload of one like the caller's `own`; only what differs from that
    goes to the host, which knows the rest. Raises TypeError and ValueError.
    """
    different = _different(f"step.call({name!r}, …)", event, own, {"kind": "call"})
    return {"entry": _entry_of(name, pipeline), "event": different}


def continue_options(event: object, own: Event) -> dict[str, Any]:
    """Check what a run continues as. Raises ValueError."""
    return {"event": _different("step.continue_as(…)", event, own, {})}


def _different(call: str, event: object, own: Event, more: Mapping[str, Any]) -> dict[str, Any]:
    mine = own.as_params()
    given = event.as_params() if isinstance(event, Event) else {**mine, **more, "payload": event}
    different = {field: value for field, value in given.items() if canonical(mine.get(field)) != canonical(value)}
    try:
        plain: dict[str, Any] = decode(encode_result(different, f"The event of {call}"))
    except ResultRefused as error:
        raise ValueError(str(error)) from error
    return plain


def _entry_of(name: str, pipeline: object) -> str:
    # Here and below: those modules are made of steps, which are made of this one.
    from stepwell.authoring.pipeline import Pipeline, PipelineRefused, check

    if not isinstance(pipeline, type) or not issubclass(pipeline, Pipeline) or pipeline is Pipeline:
        raise TypeError(f"step.call({name!r}, …) was given {pipeline!r}. Give it a pipeline class.")
    try:
        check(pipeline)
    except PipelineRefused as error:
        raise ValueError(f"step.call({name!r}, …): {error}") from error
    return f"{_path_of(name, pipeline)}:{pipeline.__name__}"


def _path_of(name: str, pipeline: "type[Pipeline]") -> str:
    from stepwell.authoring.code import Files

    module = sys.modules.get(pipeline.__module__)
    if module is None or vars(module).get(pipeline.__name__) is not pipeline or pipeline.__name__.startswith("_"):
        raise ValueError(
            f"step.call({name!r}, …) was given {pipeline.__qualname__}, which no other run could find. "
            "Define it at the top of a file, with a name that does not begin with _."
        )
    spec = module.__spec__
    path = spec.loader_state if spec is not None and isinstance(spec.loader, Files) else None
    return str(path or f"{module.__name__.replace('.', '/')}.py")


def params_of(own: Mapping[str, Any], different: Mapping[str, Any]) -> dict[str, Any]:
    """Give the called run's params from its caller's."""
    return {**{name: value for name, value in own.items() if name != "number"}, **different}
