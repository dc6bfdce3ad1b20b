"""`await self.env.<binding>.<call>(…)`: what the platform gives to code; each call is a durable step, made by the host.

Nothing about a binding is known in here, so that a replay does not depend on what the host offers today: which there
are, and whether the arguments are right, the host says once, and the journal keeps its answer.
"""

import json
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from stepwell.authoring.results import decode, encode
from stepwell.authoring.step import NAME_LENGTH, fingerprint_of

if TYPE_CHECKING:
    from stepwell.authoring.turn import Turn

ARGUMENT_BYTES = 250_000
_REMEDY = "Give text, numbers, true/false, None, and lists or dicts of them."


class Env:
    """The bindings of a run."""

    def __init__(self, turn: "Turn") -> None:
        self._turn = turn

    def __getattr__(self, name: str) -> "Bound":
        if name.startswith("_"):
            raise AttributeError(name)
        return Bound(self._turn, name)


class Bound:
    """One binding. A call on it is a step named `<binding>.<call>`, with the first argument if that is a text."""

    def __init__(self, turn: "Turn", name: str) -> None:
        self._turn = turn
        self._name = name

    def __getattr__(self, call: str) -> Callable[..., Awaitable[Any]]:
        if call.startswith("_"):
            raise AttributeError(call)

        def asked(*args: Any, **kwargs: Any) -> Awaitable[Any]:
            what = f"{self._name}.{call}"
            options = _plain(what, {"binding": self._name, "call": call, "args": args, "kwargs": kwargs})
            name = " ".join([what, *(text for text in args[:1] if isinstance(text, str) and text.isprintable())])
            return self._turn.ask("binding", name[:NAME_LENGTH], fingerprint_of("binding", encode(options)), options)

        return asked


def _plain(what: str, options: dict[str, Any]) -> dict[str, Any]:
    try:
        text = encode(options)
        size = len(json.dumps(decode(text)))  # as the host counts: in ASCII
    except (TypeError, ValueError, RecursionError) as error:
        raise TypeError(f"self.env.{what} was given something that is not JSON: {error}. {_REMEDY}") from error
    if size > ARGUMENT_BYTES:
        raise ValueError(
            f"self.env.{what} was given {size:,} bytes of JSON; at most {ARGUMENT_BYTES:,} are taken. "
            "Give a path or an id instead of the data."
        )
    plain: dict[str, Any] = decode(text)
    return plain
