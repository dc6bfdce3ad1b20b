"""What a run is at one moment: the state that the fold computes from its journal, with its steps and their attempts.

What is not in the journal does not exist here, with one exception that says so: `inflight`, the inline steps that an
isolate is executing right now, set by the engine.
"""

from collections.abc import Iterable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from stepwell.engine.ancestry import Ancestry
from stepwell.engine.entries import RunStatus, StepKind, StepStatus
from stepwell.engine.order import NO_ORDER, Order

if TYPE_CHECKING:
    from _collections_abc import dict_items, dict_values

OPEN: frozenset[str] = frozenset({"queued", "running", "retrying", "waiting"})
"""States of a step that can still change."""
EVENT_IDS = 256
"""Of how many events the ids are still known in the next round, so that one sent again is not another one."""
TO_START: frozenset[str] = frozenset({"run", "read", "image", "call"})
"""Kinds of steps that begin somewhere else, some time after they were asked."""


@dataclass(slots=True)
class AttemptState:
    """One try of a step."""

    number: int
    state: Literal["running", "passed", "failed", "lost", "cancelled"]
    started_at: float
    ended_at: float | None = None
    error: Mapping[str, Any] | None = None
    exit_code: int | None = None
    runner: str | None = None
    connections: Mapping[str, Any] | None = None  # that it asked its runner for: {places, others}
    reason: str = ""  # why it was lost


@dataclass(slots=True)
class StepState:
    """One step of a run. `seconds` is the time its last attempt executed; `due` when a wait or backoff is over."""

    key: str
    name: str
    kind: StepKind
    state: StepStatus
    asked_at: float
    fingerprint: Any = None
    attempt: int = 0
    attempts: list[AttemptState] = field(default_factory=list)
    started_at: float | None = None
    ended_at: float | None = None
    seconds: float | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    base: tuple[str, ...] = ()
    layer: str | None = None
    error: Mapping[str, Any] | None = None
    value: Any = None
    blob: Mapping[str, Any] | None = None  # {id, size} of a value that is kept beside the journal
    collected: Mapping[str, Any] | None = None  # files that its last attempt left beside the workspace: {id, …}
    reused: Mapping[str, Any] | None = None  # the run that did its work: {run, number}
    exit_code: int | None = None
    due: float | None = None
    held: bool = False  # an executor's step that waits for its environment's rules
    released_by: str | None = None
    decisions: list[Mapping[str, Any]] = field(default_factory=list)
    where: str = ""
    failures: int = 0  # failed attempts
    losses: int = 0  # lost attempts in a row
    event: int | None = None  # seq of the event a wait took
    origin: str = ""  # the run in which it ended, when this one has adopted it
    child: Mapping[str, Any] | None = None  # the run that a call made: {run, number}


Told = tuple[float, int, Any, float]
"""Of a step that passed at once: time and attempt of its one entry, what that says, when its run was created."""


class Steps(dict[str, StepState]):
    """The steps of a run by key, in the order in which they were first told of.

    A long run has ten thousand that passed at once and that nobody looks at while it goes on: such a step is made of
    its entry when somebody does.
    """

    __slots__ = ("_all_made",)

    def __init__(self, steps: Mapping[str, StepState] | None = None) -> None:
        super().__init__(steps or {})
        self._all_made = True

    def pass_at_once(self, keys: Sequence[str], told: Iterable[Told]) -> None:
        """Add steps, none of which is known."""
        self._all_made = False
        super().update(zip(keys, told, strict=True))  # type: ignore[arg-type]

    def __getitem__(self, key: str) -> StepState:
        step = super().__getitem__(key)
        return step if type(step) is StepState else self._make(key, step)

    def get(self, key: str, default: StepState | None = None) -> StepState | None:  # type: ignore[override]
        step: Any = super().get(key, default)
        return self._make(key, step) if type(step) is tuple else step

    def values(self) -> "dict_values[str, StepState]":
        self._make_all()
        return super().values()

    def items(self) -> "dict_items[str, StepState]":
        self._make_all()
        return super().items()

    def __eq__(self, other: object) -> bool:
        self._make_all()
        if isinstance(other, Steps):
            other._make_all()
        return super().__eq__(other)

    def __ne__(self, other: object) -> bool:
        return not self == other

    __hash__ = None

    def snapshot(self) -> "Steps":
        """Copy deep enough to be read by another thread."""
        twin = Steps()
        twin._all_made = self._all_made
        dict.update(twin, {key: _twin(step) for key, step in super().items()})
        return twin

    def _make(self, key: str, told: Any) -> StepState:
        at, number, data, created_at = told
        inline, seconds = data["inline"], data.get("seconds")
        began = max(created_at, at - (seconds or 0.0))
        name, kind = inline.get("name") or key.rpartition("#")[0], inline.get("kind", "do")
        number = number or 1
        attempt = AttemptState(number, "passed", began, at)
        step = StepState(key, name, kind, "passed", began, inline.get("fingerprint"), number, [attempt], began, at)
        step.value, step.blob, step.seconds = data.get("value"), data.get("blob"), seconds
        self[key] = step
        return step

    def _make_all(self) -> None:
        if not self._all_made:
            for key, step in super().items():
                if type(step) is not StepState:
                    self._make(key, step)
            self._all_made = True


def _twin(step: Any) -> Any:
    if type(step) is tuple:
        return step
    twin = copy(step)
    twin.attempts = [copy(attempt) for attempt in step.attempts]
    twin.decisions = list(step.decisions)
    return twin


@dataclass(slots=True)
class EventState:
    """An event that no wait has taken yet."""

    seq: int
    at: float
    type: str
    payload: Any
    id: str | None


@dataclass(slots=True)
class Inflight:
    """An inline step in an isolate right now; `delay` before its next attempt should this one fail, None: no more."""

    key: str
    name: str
    attempt: int
    since: float
    fingerprint: Any = None
    delay: float | None = None


@dataclass(slots=True)
class RunState:
    """A run as its journal tells it."""

    id: str
    tenant: str = ""
    scope: str = ""
    number: int = 0
    title: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict)
    code: str = ""
    entry: str = ""
    params: Mapping[str, Any] = field(default_factory=dict)
    replay: int = 1  # version of the replay it was begun with
    python: str = ""  # interpreter it was begun with, as "3.11.2"
    parent: Mapping[str, Any] | None = None  # the run that made this one: {run, number, key, root, depth, waits}
    ancestry: Ancestry | None = None  # of a run that was restarted from a step of another
    order: Order = NO_ORDER
    held: bool = False  # its group, its rate or its start does not let it begin
    reason: str | None = None  # why it does not go on, or why it ended
    created_at: float = 0.0
    started_at: float | None = None
    ended_at: float | None = None
    updated_at: float = 0.0
    seq: int = 0
    since: int = 1  # seq of the journal's first entry
    round: int = 1  # how often the code has been begun
    offset: int = 0  # of the numbers in keys
    first: Mapping[str, Any] = field(default_factory=dict)  # what the journal's first entry says
    result: Any = None
    error: Mapping[str, Any] | None = None
    steps: Steps = field(default_factory=Steps)
    counts: dict[str, int] = field(default_factory=dict)  # steps by state
    timers: dict[str, float] = field(default_factory=dict)  # due times: waits, backoffs, the code's own timers (~n)
    events: dict[int, EventState] = field(default_factory=dict)
    event_ids: set[str] = field(default_factory=set)  # of those that have arrived
    last_ids: list[str] = field(default_factory=list)  # the latest of these, oldest first
    approvals: dict[str, None] = field(default_factory=dict)  # steps that wait for people, oldest first
    waited: float = 0.0  # seconds of this round in which it did nothing but wait for people, until `asks_since`
    asks_since: float | None = None  # from when on it does so now
    layers: list[tuple[int, str]] = field(default_factory=list)  # (seq of the result, layer), oldest first
    cancel: Mapping[str, Any] | None = None
    paused: Mapping[str, Any] | None = None  # {by, reason, at} while it is
    overdue: bool = False  # cancelled code was left where it stood
    undoing: bool = False  # the code is over, its passed steps are being undone
    failed_turns: int = 0  # in a row
    final: RunStatus | None = None
    inflight: dict[str, Inflight] = field(default_factory=dict)

    @property
    def state(self) -> RunStatus:
        """What people call it: `waiting` when every open step waits for a date, an event or a person."""
        if self.final is not None:
            return self.final
        if self.paused is not None:
            return "paused"
        if self.held:
            return "queued"
        counts = self.counts
        if self.inflight or counts.get("running") or counts.get("queued") or counts.get("retrying"):
            return "running"
        if counts.get("waiting") or self.timers or (self.reason and self.seq > 1):
            return "waiting"
        return "queued" if self.started_at is None else "running"

    @property
    def seed(self) -> str:
        """Of its random numbers; another one in each round."""
        seed = self.ancestry.seed if self.ancestry else self.id
        return seed if self.round == 1 else f"{seed} {self.round}"

    @property
    def known_number(self) -> int:
        """The number that its code knows it by."""
        return self.ancestry.number if self.ancestry else self.number

    @property
    def adopting(self) -> bool:
        """What was applied last is from another run."""
        return self.ancestry is not None and self.seq <= self.ancestry.until

    @property
    def length(self) -> int:
        """Entries in the journal."""
        return self.seq - self.since + 1

    @property
    def finished(self) -> bool:
        return self.final is not None

    def snapshot(self) -> "RunState":
        """Copy deep enough to be read by another thread while this one changes."""
        twin = copy(self)
        twin.steps = self.steps.snapshot()
        for name in ("counts", "timers", "events", "approvals", "inflight"):
            setattr(twin, name, dict(getattr(self, name)))
        twin.layers = list(self.layers)
        twin.event_ids, twin.last_ids = set(self.event_ids), list(self.last_ids)
        return twin
