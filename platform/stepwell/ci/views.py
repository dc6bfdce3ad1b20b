"""What pages and the JSON API show: plain frozen data, already narrowed to what the actor may see.

Times are seconds since the epoch, durations seconds. `url` fields are paths on this server, without its address.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, TypeVar

from stepwell.engine.entries import RunStatus, StepKind, StepStatus
from stepwell.engine.rounds import Round

T = TypeVar("T")


@dataclass(frozen=True)
class Page(Generic[T]):
    """A stretch of a list; `next` is the cursor of the following one, or None at the end."""

    items: tuple[T, ...]
    next: str | None = None


@dataclass(frozen=True)
class WaitingView:
    """An approval that a run waits for, as its summary names it."""

    key: str
    name: str
    environment: str


@dataclass(frozen=True)
class RunSummary:
    """A run in a list."""

    id: str
    tenant: str
    repository: str
    number: int
    title: str
    state: RunStatus
    reason: str
    pipeline: str
    kind: str  # push, tag, cron, manual, plan
    branch: str
    tag: str
    sha: str
    message: str  # first line of the commit's message
    actor: str
    created_at: float
    started_at: float | None
    ended_at: float | None
    counts: Mapping[str, int]  # step state → number
    waiting: tuple[WaitingView, ...]
    rerun_of: str  # id of the run that this repeats, or ""
    seq: int  # of the last journal entry: grows with every change
    plan: str = ""  # digest of its program, if that was sent instead of committed
    waited: float = 0.0  # seconds in which it did nothing but wait for people, until `asks_since`
    asks_since: float | None = None  # from when on it does so now

    def worked(self, now: float) -> float:
        """Tell the seconds from its start to its end, or to now, without those in which it waited for people."""
        end = self.ended_at or self.asks_since or now
        return max(0.0, end - (self.started_at or self.created_at) - self.waited)

    @property
    def scope(self) -> str:
        """`acme/api`."""
        return f"{self.tenant}/{self.repository}"

    @property
    def place(self) -> str:
        """Where it belongs, as lists say it."""
        return f"{self.tenant}, plans" if self.plan else self.scope

    @property
    def url(self) -> str:
        """Path of the run's page."""
        return f"/{self.tenant}/{self.repository}/runs/{self.number}"

    @property
    def finished(self) -> bool:
        """Say whether nothing more will happen."""
        return self.ended_at is not None


@dataclass(frozen=True)
class RunLink:
    """Another run of the same repository."""

    id: str
    number: int
    url: str


@dataclass(frozen=True)
class AttemptView:
    """One try of a step."""

    number: int
    state: Literal["running", "passed", "failed", "lost", "cancelled"]
    started_at: float | None
    ended_at: float | None
    error: Mapping[str, str] | None
    exit_code: int | None
    log_size: int
    connections: Mapping[str, Any] | None = None  # {places: [{host, port, refused, count, sent, received}], others}
    reason: str = ""  # why it was lost


@dataclass(frozen=True)
class DecisionView:
    """What one person said."""

    by: str
    at: float
    approve: bool
    comment: str
    fields: Mapping[str, Any]


@dataclass(frozen=True)
class StepView:
    """A step of a run."""

    key: str
    name: str
    kind: StepKind
    state: StepStatus
    reason: str  # "waits for 1 of 2 approvals for production", "next try at …", "moved refs/heads/stable from …", ""
    attempt: int
    attempts: tuple[AttemptView, ...]
    asked_at: float
    started_at: float | None
    ended_at: float | None
    due: float | None
    where: str  # file:line of the call
    command: str  # as text, "" when the step has none
    image: str
    tools: tuple[str, ...]
    environment: str
    secrets: tuple[str, ...]  # names only
    network: bool
    options: Mapping[str, Any]
    value: Any
    exit_code: int | None
    error: Mapping[str, str] | None  # type, message, traceback
    needs: tuple[str, ...]  # keys of the steps that had just passed when the code asked for this one
    log_size: int  # bytes of the last attempt's log
    blob: Mapping[str, Any] | None = None  # {id, size} of a value too large for the journal
    child: Mapping[str, Any] | None = None  # the run that a call made: {run, number}
    collected: Mapping[str, Any] | None = None  # {id, size, artifacts, artifacts_bytes, reports, …}: numbers of files
    origin: RunLink | None = None  # the earlier run in which it ended, when this one has adopted it
    layer: str | None = None  # id of what it changed in the workspace, if it did
    reused: RunLink | None = None  # the earlier run that did its work; without an address when it is gone

    @property
    def seconds(self) -> float | None:
        """How long it took, once it ended."""
        if self.ended_at is None:
            return None
        return max(0.0, self.ended_at - (self.started_at or self.asked_at))


@dataclass(frozen=True)
class ApprovalView:
    """A question to people, with what they need to answer it. For a held step, `kind` is "environment"."""

    run: RunSummary
    key: str
    name: str
    kind: Literal["approval", "environment"]
    environment: str
    reviewers: tuple[str, ...]  # empty: anybody who may approve
    count: int
    approved: int
    fields: Mapping[str, Any]  # form to fill: name → list of choices, or a default whose type the value has
    decisions: tuple[DecisionView, ...]
    asked_at: float
    due: float | None
    may_decide: bool
    why_not: str  # reason when the actor may not decide, else ""


@dataclass(frozen=True)
class WayOn:
    """What people may do about a run that has diverged: restart `run` from a step, with that run's own code."""

    run: RunLink
    from_step: str
    words: str


@dataclass(frozen=True)
class RunView:
    """A run in full."""

    summary: RunSummary
    event: Mapping[str, Any]
    entry: str
    code: str
    result: Any
    error: Mapping[str, str] | None  # type, message, traceback, file, line; step, the key of the one it ended with
    steps: tuple[StepView, ...]  # in the order asked
    approvals: tuple[ApprovalView, ...]  # open ones
    may_write: bool  # the actor may pause, cancel, re-run, restart it, send it events
    log_size: int  # bytes of the run's own log (prints outside steps), key ""
    round: int = 1  # how often its code was begun: more than once if it continues under fresh journals
    rounds: tuple[Round, ...] = ()  # earlier ones that are still known, the oldest first
    parent: Mapping[str, Any] | None = None  # the run that made this one: {run, number, key, root, depth, waits}
    restart_of: RunLink | None = None  # the run whose beginning this one has adopted
    restarted_at: str = ""  # key of the step before which that beginning ends
    where_ended: str = ""  # key of the step at which it came to its end, from which a restart goes on; "": none
    restart_note: str = ""  # what becomes of decisions that were made before that
    cancelling: bool = False  # it has been cancelled and is cleaning up
    ways_on: tuple[WayOn, ...] = ()  # when it has diverged
    workspace: str = ""  # full name of the repository whose files the steps of a plan see


@dataclass(frozen=True)
class InputView:
    """A field of the manual start form: `choices` empty means free text."""

    name: str
    choices: tuple[str, ...]
    default: str
    required: bool


@dataclass(frozen=True)
class PipelineView:
    """A pipeline as declared at a commit."""

    name: str
    entry: str
    doc: str
    line: int
    triggers: tuple[str, ...]  # in words: "push to main, release/*", "every day …"
    manual: bool
    inputs: tuple[InputView, ...]


@dataclass(frozen=True)
class Problem:
    """Why a `.stepwell/` cannot be run. `kind` is a short word for programs."""

    kind: str  # no-stepwell, syntax-error, import-error, too-slow, error, unavailable
    message: str
    file: str = ""
    line: int = 0
    traceback: str = ""

    @property
    def text(self) -> str:
        """One line fit for `remote:` and for a run's error."""
        place = f"{self.file}:{self.line}"
        return f"{self.message} ({place})" if self.file and self.line and place not in self.message else self.message


@dataclass(frozen=True)
class PipelinesView:
    """Pipelines of a repository at one commit, or the problem that keeps them from being read."""

    ref: str
    sha: str
    pipelines: tuple[PipelineView, ...] = ()
    problem: Problem | None = None


@dataclass(frozen=True)
class RepositoryView:
    """A repository in a list or at the head of its pages."""

    id: str
    tenant: str
    name: str
    description: str
    default_branch: str
    protected: tuple[str, ...]
    created_at: float
    created_by: str
    last_run: RunSummary | None
    may: tuple[str, ...]  # actions of the actor: read, write, approve, manage, own
    keep_artifacts_days: int | None = None  # None: as long as the server keeps them

    @property
    def full_name(self) -> str:
        """`acme/api`."""
        return f"{self.tenant}/{self.name}"

    @property
    def url(self) -> str:
        """Path of its page."""
        return f"/{self.tenant}/{self.name}"

    @property
    def clone_path(self) -> str:
        """Path that git clones from."""
        return f"/{self.tenant}/{self.name}.git"


@dataclass(frozen=True)
class EnvironmentView:
    """An environment and its rules."""

    name: str
    reviewers: tuple[str, ...] = ()
    count: int = 1
    branches: tuple[str, ...] = ()
    forbid_author: bool = False
    wait: float = 0.0
    secrets: tuple[str, ...] = field(default=())
    updated_at: float = 0.0


@dataclass(frozen=True)
class ScheduleView:
    """A cron trigger of the default branch; `due` is None when it has no further moment."""

    pipeline: str
    cron: str
    timezone: str
    due: float | None
    fired_at: float | None
