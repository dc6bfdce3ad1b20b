"""What the engine asks of the outside: where code comes from, where it runs, who may hold a step.

Each of these has at least two implementations; the docstring is the contract.
All methods are called on the engine's own event loop and must not block it.
"""

import socket
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol

from stepwell.errors import Invalid

if TYPE_CHECKING:
    from stepwell.engine.state import RunState, StepState


@dataclass(frozen=True)
class Code:
    """What a run executes: pinned files, never "latest".

    `files` maps paths below `root`, which is how they are shown, to source text; `entry` is "pipeline.py:Ship";
    `tree` is an opaque reference that the runner can turn into a read-only directory, or None.
    """

    digest: str
    files: Mapping[str, str]
    entry: str
    root: str = ".stepwell"
    tree: str | None = None

    def __post_init__(self) -> None:
        """Refuse what no isolate could be sent: a loader is the embedder's, and its mistake must have a name."""
        texts = {"digest": self.digest, "entry": self.entry, "root": self.root}
        wrong = {name: value for name, value in texts.items() if not isinstance(value, str)}
        if not isinstance(self.files, Mapping):
            wrong["files"] = self.files
        else:
            wrong |= {f"file {path!r}": text for path, text in self.files.items() if not isinstance(text, str)}
        for name, value in wrong.items():
            raise Invalid(f"Code has {name} of type {type(value).__name__}. Give text, and files as path → text.")


Loader = Callable[[Mapping[str, Any]], Awaitable[Code]]
"""Metadata of a run → its code. Raises StepwellError when the code is lost; the run then says so and is kept."""


@dataclass(frozen=True)
class Outcome:
    """How an attempt of an executor's step ended. `layer` is durable on disk before this is returned."""

    ok: bool
    value: Any = None
    error: Mapping[str, str] | None = None  # {type, message, traceback}
    exit_code: int | None = None
    seconds: float = 0.0
    layer: str | None = None
    collected: Mapping[str, Any] | None = None  # files kept beside the workspace: {id, …}; `id` is a blob, a list
    lost: bool = False  # host, zygote or sibling took it: tried again, not counted
    final: bool = False  # retrying cannot help (refused, bad settings)
    reused: Mapping[str, Any] | None = None  # {run, number} of the run that did the work, when this one did not
    connections: Mapping[str, Any] | None = None  # {places: [{host, port, refused, count, sent, received}], others}


Executed = Literal["run", "read", "image"]
"""Kinds of steps that an executor runs."""


@dataclass(frozen=True)
class Attempt:
    """One try of an executor's step, with all that it needs; `base` are the layers it stands on, oldest first."""

    run: str
    tenant: str
    scope: str
    metadata: Mapping[str, Any]
    code: Code
    key: str
    name: str
    kind: Executed
    number: int
    options: Mapping[str, Any]
    base: tuple[str, ...]
    layers: tuple[str, ...] = ()  # all of the run so far, those of parallel steps too
    run_number: int = 0


@dataclass(frozen=True)
class CacheRights:
    """Of which branches an attempt may restore caches, the first one first, and for which it saves; None: for none."""

    reads: tuple[str, ...] = ("",)
    writes: str | None = ""


@dataclass(frozen=True)
class Prepared:
    """What only this attempt may see: variables and files with secrets, and the texts to mask in its log.

    `registries` are not even for the attempt: they are the container engine's, to pull its images with.
    """

    env: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)  # variable → content, written to a private file
    masks: tuple[str, ...] = ()
    caches: CacheRights = CacheRights()
    setups: tuple[str, ...] = ("",)  # whose setups and layers it may take, its own last
    reuses: bool = True  # earlier work may be taken instead
    registries: Mapping[str, tuple[str, str]] = field(default_factory=dict, repr=False)  # host → (user name, password)


class Output(Protocol):
    """Where an attempt's output goes; masks are applied behind it. `write` never blocks and never fails the attempt.

    The engine opens and closes it; an executor only writes.
    """

    def write(self, data: bytes) -> None: ...

    def note(self, text: str) -> None:
        """Add a line of Stepwell's own, told apart from the command's output."""

    def behind(self) -> int:
        """Bytes that were taken and are still in memory: who streams much waits until they are few."""

    def beside(self, name: str) -> "Output":
        """Open a log of its own for what runs beside the attempt, masked alike; whoever opens it closes it.

        It may be written to from any one thread.
        """
        ...

    def close(self) -> None:
        """Say that nothing more comes."""

    async def kept(self) -> None:
        """Wait until all that was written before `close` would outlive this process; what cannot be kept is waited for
        no longer. Awaited before the attempt's end is journaled: a step seen as passed has its log.
        """


@dataclass(frozen=True)
class BindingCall:
    """One call of `self.env.<binding>.<name>(*args, **kwargs)`, by the step `key` of a run; the arguments are JSON.

    The code is a stranger's and so is all of `name`, `args` and `kwargs`. The run is the host's word; it goes on
    changing, and must neither be kept nor changed.
    """

    run: "RunState"
    key: str
    asked_at: float
    name: str
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    base: tuple[str, ...] = ()  # layers that had been delivered when it was asked, for calls that ask for "workspace"


class Binding(Protocol):
    """A capability that the platform gives to code as `self.env.<name>`; each call is a durable step of the run.

    `call` gives JSON of at most 1 MiB. It is awaited after the ask is on disk, and again with the same run, key and
    `asked_at` when the server died before the result was: what it does must be the same when it is done twice.
    StepwellError fails the step with its type and message; TryLater has it called again after that time.
    """

    async def call(self, call: BindingCall) -> Any: ...


class LogSink(Protocol):
    """Opens the log of an attempt; key "" (attempt 0) is the run's own. Opening the same one again appends to it."""

    def writer(self, run: str, key: str, attempt: int, masks: Sequence[str]) -> Output: ...

    def keep_rounds(self, run: str, rounds: Mapping[int, Sequence[str]]) -> None:
        """Keep the logs of these steps, by round, and the run's own logs of these rounds, the last of which is over.

        All other logs of the run go. Blocks; called from any thread, when nobody writes to logs of that round any more.
        """


class BlobWriter(Protocol):
    """A blob that is being written; `keep` is called once, from any thread, and gives its id when it is on disk, whole.
    All raise OSError.
    """

    @property
    def size(self) -> int: ...

    def write(self, data: bytes) -> None: ...

    def keep(self) -> str: ...

    def drop(self) -> None: ...


class BlobStore(Protocol):
    """Keeps results that are too large for a journal, up to `most_bytes` each, and every run's apart.

    Ids follow from the content. `recover` is called before anything else and removes what a crash left unfinished.
    `read` raises Unavailable when a blob is not there. `adopt` lets a run have another one's blobs as well; `lists`
    are blobs of the form {"blobs": [id, …]}, which come with all that they name. `clear` is called when a run begins
    anew: its blobs are needed no more.
    """

    @property
    def most_bytes(self) -> int: ...

    def recover(self) -> None: ...

    def writer(self, run: str) -> BlobWriter: ...

    def read(self, run: str, id: str, offset: int, size: int) -> bytes: ...

    def adopt(self, run: str, source: str, ids: Iterable[str], lists: Iterable[str] = ()) -> None: ...

    def clear(self, run: str) -> None: ...


class Executor(Protocol):
    """Runs attempts of `step.run`, `step.read` and `step.image`.

    `execute` is awaited once per attempt; cancelling the awaiting task kills every process of the attempt, discards its
    files and only then finishes. It never raises for what the command did: that is an Outcome. A command or build that
    runs for longer than its option `timeout` is ended by the executor, which keeps of it what it keeps of one that
    failed; what is made ready before and kept after takes none of that time. Attempts of one run
    may run side by side. `recover` is called once before the first attempt and removes what a crash left behind:
    processes, mounts, containers, layers for which `committed(layer)` is false, what only runs under way need of runs
    for which `ended(run)` is true.
    `abandon` ends what an earlier server has left running of a step that the run wants no more.
    `forget` drops what only a run under way needs (its fork), when it has ended or begins anew; layers stay, since a
    restarted run may stand on them. `missing` names those of the given layers that are there no more. `drop` removes
    layers on which no run stands; what a crash in between leaves is removed by `recover`.
    `erase` removes all files of runs that are about to be removed, and these layers; it is called again after a crash.
    """

    async def recover(self, committed: Callable[[str], bool], ended: Callable[[str], bool]) -> None: ...

    async def execute(self, attempt: Attempt, prepared: Prepared, output: Output) -> Outcome: ...

    async def abandon(self, run: str, key: str) -> None: ...

    async def forget(self, run: str) -> None: ...

    async def missing(self, layers: Sequence[str]) -> list[str]: ...

    async def drop(self, layers: Sequence[str]) -> None: ...

    async def erase(self, runs: Sequence[str], layers: Sequence[str]) -> None: ...


class Preparer(Protocol):
    """Resolves secrets for an attempt just before it starts. Raises StepwellError to refuse: the step fails."""

    async def prepare(self, attempt: Attempt) -> Prepared: ...


class Gate(Protocol):
    """Says whether a step with `environment=` must wait for people, and until when it waits anyway.

    Asked when the step is asked, after restarts and after rules have changed.
    """

    def holds(self, run: "RunState", step: "StepState") -> bool: ...

    def not_before(self, run: "RunState", step: "StepState") -> float | None: ...


@dataclass(frozen=True)
class IsolateSpec:
    """An isolate for code: `tenant` decides the uid; `code.tree` is mounted read-only at /workspace when not None."""

    tenant: str
    purpose: Literal["turn", "describe"]
    code: Code


class IsolateChannel(Protocol):
    """A booted isolate whose wall is up and in which `stepwell.authoring.isolate.serve(sock)` is running."""

    sock: socket.socket  # stream socket, non-blocking, ours to read, write and close
    pid: int  # as the host sees it, for people

    def kill(self) -> None:
        """End every process of the isolate; idempotent, never raises."""

    async def ended(self) -> str:
        """Wait until all its processes are gone; why, in words ("exit code 1", "killed by SIGKILL", "out of memory").

        Words that begin with "lost" or "zygote" say that it was not its own doing: the zygote or the host went away.
        """
        ...


class Isolates(Protocol):
    """Boots isolates. `open` raises Unavailable when the host cannot give the wall, TryLater when it is full."""

    async def open(self, spec: IsolateSpec) -> IsolateChannel: ...


Judge = Callable[["RunState", "StepState"], Literal["approved", "rejected"] | None]
"""Decisions so far (in `step.decisions`) → the verdict, or None while more are needed. Pure."""
