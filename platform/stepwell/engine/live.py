"""A run in memory: there only while something goes on in it."""

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import repeat
from typing import TYPE_CHECKING, Any

from stepwell.engine.entries import Entry
from stepwell.engine.fold import apply, apply_passed
from stepwell.engine.order import rate_queue
from stepwell.engine.room import Rank, Wish, rank_of
from stepwell.engine.seams import Code
from stepwell.engine.state import OPEN, RunState
from stepwell.engine.versions import REMEDY
from stepwell.errors import Unavailable
from stepwell.store.asked import Asked, brief
from stepwell.store.journal import Loaded, Part, Summary, Write
from stepwell.store.json_text import encode
from stepwell.store.queues import Moves

if TYPE_CHECKING:
    from stepwell.engine.head_start import HeadStart
    from stepwell.engine.turn import Turn

EXECUTED = frozenset({"run", "read", "image"})
"""Kinds of steps that an executor runs."""


@dataclass(eq=False, slots=True)
class Live:
    """A run's state with what the engine is doing about it.

    `heard` is the last entry that its code must see, `played` the last one its code is known to have dealt with: a run
    with `heard > played` needs a turn. `draft` are entries that the state has and the disk does not yet.
    """

    state: RunState
    lease: int
    next_lease: int
    played: int = 0
    heard: int = 0
    turn: "Turn | None" = None
    code: Code | None = None
    attempts: dict[str, asyncio.Task[None]] = field(default_factory=dict)
    draft: list[tuple[Entry, str]] = field(default_factory=list)
    acks: set[int] = field(default_factory=set)  # drafted entries whose data the isolate has itself
    timers: dict[str, float | None] = field(default_factory=dict)
    layers: list[str] = field(default_factory=list)
    joins: list[str] = field(default_factory=list)  # queues of runs
    reminder: float | None = -1.0  # when the engine looks again at a held run, as far as known (-1: it is not)
    touched: bool = False  # its row is to be written
    since: int = 0  # the transaction begins a fresh journal with this seq
    stopping: list[asyncio.Task[None]] = field(default_factory=list)  # attempts of the last round
    left: list[str] = field(default_factory=list)  # layers of the last round
    clearing: bool = False  # what the last round left is being cleared away: the next one waits for that
    history: list[tuple[Entry, str]] | None = None  # committed entries, kept from loading until the turn begins
    head_start: "HeadStart | None" = None  # for its next turn
    waiters: list[asyncio.Future[None]] = field(default_factory=list)
    size: int = 0  # of the journal, in characters of its data
    kept: int = 0  # bytes of results beside the journal
    printed: int = 0  # bytes
    lost_turns: int = 0  # in a row
    blocked_at: int = -1  # what was heard when the code or an isolate was not to be had
    withheld: set[str] = field(default_factory=set)  # open when the run was cancelled: its code may drop them
    cancelled_at: int = 0  # seq of that cancellation
    gone: bool = False  # no longer the engine's: its lease is another's, or the disk refused it

    @property
    def id(self) -> str:
        return self.state.id

    @property
    def idle(self) -> bool:
        """Nothing goes on: may be forgotten."""
        return not (self.turn or self.attempts or self.draft or self.waiters or self.touched or self.clearing)

    @property
    def in_process(self) -> bool:
        """Its code is in an isolate that goes on."""
        return self.turn is not None and self.turn.attached and not self.turn.ending

    @property
    def wants_turn(self) -> bool:
        state = self.state
        if self.turn is not None or state.finished or state.paused or state.held or self.gone or self.clearing:
            return False
        return self.heard > self.played and self.heard != self.blocked_at

    @property
    def wants_room(self) -> bool:
        """Something of it would begin if there were room: its code, or a command that it has asked for."""
        state = self.state
        if self.wants_turn:
            return True
        if state.finished or state.paused or state.held or self.gone or not state.counts.get("queued"):
            return False
        return any(step.kind in EXECUTED and step.state == "queued" for step in state.steps.values())

    @property
    def rank(self) -> Rank:
        state = self.state
        return rank_of(state.order.priority, state.started_at is not None, state.cancel is not None)

    def wish(self, *, turn: bool) -> Wish:
        """Say what it needs to go on."""
        return Wish(self.id, self.state.tenant, self.state.scope, self.rank, turn)

    def add(self, entry: Entry, ack: bool) -> None:
        """Take an entry into the state and the next transaction."""
        state, key = self.state, entry.key
        layers = [layer for _, layer in state.layers] if entry.type == "continued" else []
        before = state.timers.get(key)
        apply(state, entry)
        text = encode(entry.data)
        if entry.type == "continued":
            self._begin_anew(entry.seq, layers)
        self.size += len(text)
        self.draft.append((entry, text))
        if ack:
            self.acks.add(entry.seq)
        after = state.timers.get(key)
        if before != after and entry.type != "continued":
            self.timers[key] = after
        if entry.type == "done" and entry.data.get("layer"):
            self.layers.append(entry.data["layer"])
        self.kept += kept_bytes(entry)
        if self.heeded(entry):
            self.heard = entry.seq
        if entry.type == "cancel":
            self.withhold()

    def withhold(self) -> None:
        """Let nothing that is open begin before the code has heard of the cancellation: it may drop all of it."""
        self.cancelled_at = self.state.seq
        self.withheld = {key for key, step in self.state.steps.items() if step.state in OPEN}

    def _begin_anew(self, seq: int, left: list[str]) -> None:
        """Forget what belongs to the journal before."""
        self.since, self.clearing, self.size, self.kept, self.printed, self.lost_turns = seq, True, 0, 0, 0, 0
        self.timers, self.layers, self.acks, self.history = {}, [], set(), None
        self.left += left
        self.stopping, self.attempts = [*self.stopping, *self.attempts.values()], {}
        for task in self.stopping:
            task.cancel()

    def heeded(self, entry: Entry) -> bool:
        """Say whether the code has to see this entry; executors' retries are none of its business."""
        if entry.type in {"fired", "retry"}:
            step = self.state.steps.get(entry.key)
            return step is None or step.kind not in EXECUTED
        return entry.type in {"created", "continued", "done", "event", "cancel", "overdue", "resumed"}

    def write(self) -> Write:
        """Give what the next transaction holds of this run."""
        write = Write(self.id, self.lease, self.next_lease, self.summary())
        write.entries, write.timers, write.layers = self.draft, self.timers, self.layers
        write.ended, write.since = self.state.finished, self.since
        if self.state.order.group or self.state.order.rate:
            write.number, write.moves = self.state.number, self._moves()
        return write

    def _moves(self) -> Moves:
        state, order = self.state, self.state.order
        moves = Moves(self.joins, ends=state.finished)
        for entry, _ in self.draft:
            if entry.type == "admitted":
                moves.begins = True
                if order.rate is not None:
                    moves.leaves = rate_queue(state.tenant, state.scope, order)
                    at = admitted_at(entry)
                    moves.uses = (moves.leaves, at, at + order.rate.seconds)
        return moves

    def written(self) -> list[tuple[Entry, str]]:
        """The transaction is on disk: give its entries."""
        entries, self.draft, self.timers, self.layers, self.since = self.draft, [], {}, [], 0
        self.joins, self.touched = [], False
        self.lease = self.next_lease
        return entries

    def summary(self) -> Summary:
        state, counts = self.state, self.state.counts
        busy = counts.get("running", 0) + (0 if state.paused else counts.get("queued", 0))
        unheard = self.heard > self.played and not state.paused
        told: dict[str, Any] = {
            "counts": {name: n for name, n in counts.items() if n}, "approvals": _approvals(state)
        }  # fmt: skip
        if state.order.priority:
            told["priority"] = state.order.priority
        if state.waited:
            told["waited"] = round(state.waited, 3)
        text = encode(told)
        return Summary(
            state.state, plain(state.reason), state.started_at, state.ended_at, state.updated_at, state.seq,
            len(state.approvals), not (state.finished or state.held) and (unheard or busy > 0), self.played, text,
        )  # fmt: skip


def load(run: str, loaded: Loaded) -> Live:
    """Fold a journal as kept. Raises Unavailable when it does not tell a whole story."""
    live = Live(RunState(run), loaded.lease, loaded.lease, loaded.played)
    absorb(live, loaded.entries)
    live.history = list(zip(loaded.entries, loaded.texts, strict=True))
    live.size = sum(len(text) for text in loaded.texts)
    return live


def absorb(live: Live, entries: Iterable[Entry]) -> None:
    """Fold the next entries of a journal as kept. Raises Unavailable for one that makes no sense."""
    state = live.state
    for entry in entries:
        try:
            apply(state, entry)
        except Exception as error:  # whatever a damaged entry leads to
            raise Unavailable(
                f"Entry {entry.seq} ({entry.type!r}) of run {live.id!r} makes no sense "
                f"({type(error).__name__}: {error}). {REMEDY}"
            ) from error
        if live.heeded(entry):
            live.heard = entry.seq
        if entry.type == "cancel" and entry.seq > live.played:
            live.withhold()
        if entry.type == "done" and "blob" in entry.data:
            live.kept += kept_bytes(entry)


def absorb_part(live: Live, part: Part, plain: Sequence[object | None]) -> None:
    """Fold the next part of a journal. `plain`: None where an entry is anything but a function that passed at once.

    Raises Unavailable for one that makes no sense.
    """
    live.size += part.size
    if None not in plain and apply_passed(live.state, part):
        live.heard = part.seqs[-1]
    else:
        columns = (part.seqs, part.ats, part.types, part.keys, part.attempts, part.turns, part.data)
        absorb(live, map(Entry, repeat(live.id), *columns))


def kept_bytes(entry: Entry) -> int:
    """Count what an entry's result takes beside the journal."""
    return int(entry.data["blob"]["size"]) if entry.type == "done" and "blob" in entry.data else 0


def plain(text: str | None) -> str | None:
    """Make a text fit for a column: what is not valid Unicode becomes "?"."""
    return text if text is None or text.isascii() else text.encode("utf-8", "replace").decode()


def admitted_at(entry: Entry) -> float:
    """When a run was let begin, as a rate counts it: an entry's own time stands still when the clock was set back."""
    return float(entry.data["now"]) if entry.data else entry.at


def _approvals(state: RunState) -> list[str | dict[str, str]]:
    steps = [state.steps[key] for key in state.approvals]
    return [brief(Asked(step.key, step.name, str(step.options.get("environment") or ""))) for step in steps]
