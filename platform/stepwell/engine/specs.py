"""What callers hand to the engine and get back: the spec of a run, the reference to it, transient notes."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from stepwell.authoring.event import KNOWN
from stepwell.engine.entries import Entry
from stepwell.errors import Invalid

if TYPE_CHECKING:
    from stepwell.engine.order import Order
    from stepwell.engine.state import RunState


TEXT_CHARACTERS = 512
JSON_BYTES = 1_048_576


@dataclass(frozen=True)
class Restart:
    """A run that has ended, and the key of a step: what came before its ask is adopted."""

    run: str
    step: str


@dataclass(frozen=True)
class RunSpec:
    """A run to create. `code` is the digest that every later turn must load; `metadata` routes turns to that code."""

    id: str
    tenant: str
    scope: str
    title: str
    metadata: Mapping[str, Any]
    params: Mapping[str, Any]
    code: str
    entry: str = ""
    parent: Mapping[str, Any] | None = None  # the run that makes it; see entries.py
    restart: Restart | None = None
    order: "Order | None" = None  # its place among other runs


@dataclass(frozen=True)
class RunRef:
    """A run that exists; `created` is false when the id existed before."""

    id: str
    number: int
    created: bool


@dataclass(frozen=True)
class Note:
    """Something worth showing live that no journal keeps: lost on a crash, and nobody must depend on it.

    `running`: an inline step (`key`) has lasted long enough to be seen. `turn`: code entered or left an isolate
    (`text` is "begin" or "end"). `trouble`: the journal cannot be written, `text` says why; "" when it can again.
    """

    run: str
    at: float
    type: Literal["running", "turn", "trouble"]
    key: str = ""
    name: str = ""
    attempt: int = 0
    text: str = ""


Subscriber = Callable[["Entry | Note", "RunState | None"], None]
"""Called on the engine's loop, for entries after their commit. Must not block, nor keep or change the state."""


@dataclass(frozen=True)
class Limits:
    """Constants of the engine, in seconds unless said otherwise; tests make them small."""

    stall: float = 10  # code that does not yield so long is ended by its isolate, which names the line
    silence: float = 30  # an isolate that owes an answer so long is killed by the engine
    grace: float = 30  # from cancel to kill
    linger: float = 5  # how long an idle isolate stays for an executor's step in flight, so short steps cost no boot
    nap: float = 1  # an idle isolate stays for a due time this near
    loading: float = 30  # a loader that takes longer is asked again later
    overdue: float = 3600  # for an attempt's image, tools and files beside its timeout, until the engine kills it
    calling: float = 30  # a binding that takes longer over one call fails the step
    again: float = 30  # pause before another try when the code or an isolate is not to be had
    failed_turns: int = 3  # in a row, without a new entry, fail the run
    losses: int = 5  # lost attempts in a row fail the step
    line_bytes: int = 16 * 1024 * 1024
    commands: int = 20_000  # in one line
    entries: int = 50_000  # in one run
    children: int = 1_000  # runs below one that no other made
    child_depth: int = 8  # of runs that make runs
    journal_bytes: int = 128 * 1024 * 1024  # in one run
    kept_bytes: int = 1024 * 1024 * 1024  # of results beside the journal of one run
    printed_bytes: int = 64 * 1024 * 1024  # by a run's code, while the run is in memory
    outgoing_bytes: int = 64 * 1024 * 1024  # unread by the isolate


DEFAULT_LIMITS = Limits()


def check_text(name: str, value: object) -> None:
    """Refuse what is no short text that a database column can hold."""
    if isinstance(value, str) and len(value) <= TEXT_CHARACTERS:
        try:
            value.encode()
        except UnicodeEncodeError:
            pass
        else:
            return
    raise Invalid(f"{name} has value {str(value)[:80]!r}. Give a text of at most {TEXT_CHARACTERS} characters.")


def check_by(by: object) -> None:
    """Refuse what names nobody: a run says who has stopped it."""
    if by == "":
        raise Invalid("by has value ''. Say who does it, like by='ann'.")
    check_text("by", by)


def check_json(name: str, value: Any) -> None:
    """Refuse what is not JSON, or too much of it."""
    try:
        size = len(json.dumps(value, allow_nan=False))
    except (TypeError, ValueError, RecursionError) as error:
        raise Invalid(f"{name} is not JSON: {error}.") from error
    if size > JSON_BYTES:
        raise Invalid(f"{name} is {size} bytes of JSON. At most {JSON_BYTES} are allowed.")


def checked_params(params: Any) -> dict[str, Any]:
    """Give params as fields of an event; refuse what no event has. Raises Invalid."""
    if params is not None and not isinstance(params, Mapping):
        raise Invalid(f"params has value {str(params)[:80]!r}. Give names and values, as in {{'payload': …}}.")
    wrong = [name for name in params or {} if name not in KNOWN]
    if wrong:
        raise Invalid(
            f"params has {str(wrong[0])[:80]!r}, which no event has. What code is to see goes into its payload: "
            f"{{'payload': …}}; other names are: {', '.join(KNOWN)}."
        )
    return dict(params or {})
