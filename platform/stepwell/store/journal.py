"""The seam between the engine and where journals are kept."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from stepwell.engine.entries import Entry, EntryType
from stepwell.store.queues import Arrival, Moves, Queues

if TYPE_CHECKING:
    from stepwell.engine.selection import Selection


@dataclass(frozen=True, slots=True)
class Summary:
    """What lists of runs show, and what a starting engine must know; all of it follows from the journal.

    `awake`: the run needs the engine's attention after a restart (its code has not seen everything, or an executor's
    step is under way). `played`: the last entry that the code is known to have dealt with.
    """

    state: str
    reason: str | None
    started_at: float | None
    ended_at: float | None
    updated_at: float
    seq: int
    approvals: int
    awake: bool
    played: int
    text: str  # JSON: {"counts": {state: n}, "approvals": [see asked.py], "priority": n, if there is one}


@dataclass(slots=True)
class Write:
    """One run's part of a transaction: takes place only if the run's lease is `lease`, and sets it to `next_lease`."""

    run: str
    lease: int
    next_lease: int
    summary: Summary
    entries: list[tuple[Entry, str]] = field(default_factory=list)  # with `data` as JSON text
    timers: dict[str, float | None] = field(default_factory=dict)  # key → due; None: no longer
    layers: list[str] = field(default_factory=list)
    ended: bool = False  # every timer of the run goes
    number: int = 0  # the run's, for queues
    moves: Moves | None = None  # what it does in queues of runs
    since: int = 0  # with this entry a fresh journal begins: what was kept of the run before goes (0: none does)


@dataclass(frozen=True, slots=True)
class NewRun:
    """A run to create. `data` becomes its first entry, to which the journal adds the number, and `held` if it is.

    `adopted` is what it takes over from another run, in the same transaction: entries from the second on. Its first
    entry then has the time `began_at`, not later than any of theirs.
    """

    id: str
    at: float
    data: Mapping[str, Any]  # of the first entry, but for the number
    arrival: Arrival | None = None  # what it does in queues of runs
    adopted: Write | None = None
    began_at: float | None = None


@dataclass(frozen=True, slots=True)
class Created:
    """What became of a NewRun: `entry` is its first entry, or None when the id existed before."""

    id: str
    number: int
    entry: Entry | None


class Ended(NamedTuple):
    """A run that has ended. `stands`: it is still noted that it stands on layers."""

    at: float
    id: str
    stands: bool


@dataclass(frozen=True, slots=True)
class Committed:
    """What a transaction did. `stale` are runs whose lease another holder has taken: nothing of theirs was written.

    `released` are held runs that have become the first of a queue; their reminder is due.
    """

    created: tuple[Created, ...]
    stale: frozenset[str]
    released: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Loaded:
    """A run's journal as kept, with each entry's data as JSON text beside it."""

    lease: int
    played: int
    entries: list[Entry]
    texts: list[str]


class Standing(NamedTuple):
    """Where a run stands, as its row says."""

    lease: int
    played: int
    seq: int
    state: str
    awake: bool


class Part(NamedTuple):
    """Entries of a journal that follow each other, in columns, read as of today's version. `size`: of their data as
    kept, in characters.
    """

    seqs: Sequence[int]
    ats: Sequence[float]
    types: Sequence[EntryType]
    keys: Sequence[str]
    attempts: Sequence[int]
    turns: Sequence[int]
    data: Sequence[Any]
    size: int


@dataclass(frozen=True, slots=True)
class Numbered:
    """A run in its scope's list."""

    id: str
    number: int
    tenant: str
    metadata: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Glance:
    """What a run's row says."""

    id: str
    tenant: str
    scope: str
    number: int
    title: str
    state: str
    reason: str | None
    seq: int


@dataclass(frozen=True, slots=True)
class Awake:
    """A run that needs attention after a restart."""

    run: str
    tenant: str
    scope: str
    begun: bool
    priority: int = 0


@dataclass(frozen=True, slots=True)
class RunRow:
    """A run in the list of all runs."""

    metadata: Mapping[str, Any]
    id: str
    tenant: str
    scope: str
    number: int
    title: str
    state: str
    reason: str | None
    created_at: float
    updated_at: float
    ended_at: float | None
    seq: int


@dataclass(frozen=True, slots=True)
class Due:
    """A timer."""

    run: str
    key: str
    due: float


class Journal(Protocol):
    """Keeps the journals of all runs, with the summaries and due times that follow from them.

    `commit` is one transaction and is on disk when it returns; when it raises, nothing of it was kept. It may be called
    again afterwards. Everything is called from one thread, the engine's, and blocks it: an implementation answers in
    well under a millisecond or lets the engine have a thread of its own. Creating an id again is no error.
    Sequence numbers are the engine's: a second entry with a number that exists must fail the transaction.
    """

    @property
    def queues(self) -> Queues: ...

    def open(self) -> None:
        """Make ready; raises Unavailable with the remedy."""

    def close(self) -> None: ...

    def commit(self, writes: Sequence[Write], new: Sequence[NewRun] = ()) -> Committed: ...

    def load(self, run: str) -> Loaded | None:
        """A run's journal, read as of today's version. Raises Unavailable when an entry cannot be read."""
        ...

    def standing(self, run: str) -> Standing | None: ...

    def part(self, run: str, after: int, limit: int) -> Part | None:
        """The next entries of a journal, None behind the last. Raises Unavailable when one cannot be read."""
        ...

    def set_aside(self, run: str, reason: str) -> None:
        """Let a run rest whose journal cannot be read: no timers, not awake. `stepwell doctor --rebuild` undoes it."""

    def entries(self, run: str, after: int = 0) -> list[Entry]:
        """Entries with a number above `after`, in order."""
        ...

    def glance(self, run: str) -> Glance | None:
        """What is known of a run without reading its journal."""
        ...

    def numbered(self, scope: str, before: int | None, limit: int) -> list[Numbered]:
        """Runs of a scope with a number below `before` (None: all), the highest first."""
        ...

    def descendants(self, root: str) -> int:
        """How many runs were ever created below this one: by it, and by those that it created."""
        ...

    def scan(self, which: "Selection", after: tuple[float, str], limit: int) -> list[RunRow]:
        """Runs that are meant, but for what their metadata must say, behind this place in the selection's order.

        Called from any thread, as long as the journal is open: who looks through many runs is not to stop the engine.
        """
        ...

    def last_entries(self, runs: Sequence[str]) -> dict[str, Entry | None]:
        """The last entry of each of these runs, None for one that cannot be read; from any thread, like `scan`."""
        ...

    def awake(self) -> list[Awake]:
        """Give the runs that need attention after a restart, oldest first."""
        ...

    def due(self, now: float, limit: int) -> list[Due]:
        """Timers due by now, the earliest first."""
        ...

    def next_due(self) -> float | None: ...

    def relax(self) -> None:
        """Give back memory that is kept only to be quick; called now and then."""

    def layers_of(self, runs: Sequence[str]) -> list[str]:
        """Layers on which these runs stand, and no other one."""
        ...

    def remove(self, runs: Sequence[str]) -> list[str]:
        """Remove the journals of these runs and all that follows from them; give the ids of those that were removed.

        Runs that have not ended are left. Numbers stay taken.
        """
        ...

    def ended(self, after: Ended | None, before: float, limit: int) -> list[Ended]:
        """Runs that ended before a moment, the oldest end first, behind `after`."""
        ...

    def layer_in_use(self, layer: str) -> bool:
        """Say whether the journal of any run, ended or not, has a result with this layer."""
        ...

    def let_go(self, runs: Sequence[str]) -> list[str]:
        """Forget that these runs stand on layers; give those on which no run stands any more: their files may go."""
        ...
