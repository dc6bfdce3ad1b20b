"""Starts runs: the one place where CI meets dynamic workflows.

Metadata is what people's rules look at (branch, actor, commit), so nothing in it comes from the author's code.
A run's id follows from what caused it (push, ref and pipeline; schedule and moment; a caller's key), so that a cause
that is worked on twice, after a crash or by two workers, starts one run.
"""

import hashlib
import uuid
from collections.abc import Callable, Coroutine, Mapping
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field
from typing import Any

from stepwell.authoring.results import canonical
from stepwell.ci.answers import answer_of
from stepwell.ci.beginnings import Beginnings
from stepwell.ci.order import order_of
from stepwell.ci.triggers import Declared
from stepwell.ci.views import Problem
from stepwell.dynamic import Handle, bind
from stepwell.engine.order import NO_ORDER, Order
from stepwell.engine.specs import RunRef
from stepwell.engine.state import RunState
from stepwell.engine.thread import EngineThread
from stepwell.errors import Invalid
from stepwell.repos.objects import CommitInfo
from stepwell.store.tables import Repository

LONGEST_TITLE = 200
_BOUND = ("tenant", "repository", "name")
_ASKED = "request"


@dataclass(frozen=True)
class Cause:
    """Why a run starts. `event` is what the author's code sees; `actor` the person behind it, "" for a schedule."""

    id: str
    kind: str
    actor: str
    event: Mapping[str, Any]
    branch: str = ""
    tag: str = ""
    more: Mapping[str, Any] = field(default_factory=dict)  # for the run's metadata
    asked: str = ""  # fingerprint of the request whose key the id follows from


def id_of(*cause: object) -> str:
    """Return the id of the run that this cause starts."""
    return hashlib.sha256("\0".join(str(part) for part in cause).encode()).hexdigest()[:24]


def asked_of(*request: object) -> str:
    """Return the fingerprint of what somebody asked for with a key of their own."""
    return hashlib.sha256(canonical(request).encode("utf-8", "replace")).hexdigest()[:24]


def new_id() -> str:
    """Return the id of a run that has no cause to be told apart by."""
    return uuid.uuid4().hex[:24]


@dataclass(frozen=True)
class Place:
    """Where to run something: a commit; `tree` is the hash of its `.stepwell/`."""

    repository: Repository
    commit: CommitInfo
    tree: str


class Launcher:
    """Creates runs of a repository's pipelines. Blocks; call from any thread but the engine's.

    All raise NotFound when the repository, or the one whose files a plan stands on, has been deleted.
    """

    def __init__(self, thread: EngineThread, beginnings: Beginnings) -> None:
        self.thread = thread
        self._beginnings = beginnings

    def start(self, place: Place, pipeline: Declared, cause: Cause) -> RunRef:
        """Start a pipeline; the same cause again gives the run that exists. It begins when its order lets it."""
        order = order_of(pipeline, {**cause.event, "kind": cause.kind})
        return self._create(place, cause, {"pipeline": pipeline.name, "entry": pipeline.entry}, order)

    def play(self, tenant: str, pipeline: Declared, cause: Cause) -> RunRef:
        """Start a plan; which program it is, and on which files it stands, is in `cause.more`."""
        bound = {"tenant": tenant, "repository": "", "name": f"{tenant}/-"}
        title = (pipeline.doc.strip().partition("\n")[0] or pipeline.name)[:LONGEST_TITLE]
        metadata = {"kind": cause.kind, "actor": cause.actor, **_kept(cause), **cause.more}
        order = order_of(pipeline, {**cause.event, "kind": cause.kind})
        workflows = bind(self.thread.engine, bound)
        return self._answer(
            metadata,
            lambda: workflows.create(cause.event, id=cause.id, metadata=metadata, title=title, order=order),
            asked=cause.asked,
        )

    def fail(self, place: Place, problem: Problem, cause: Cause) -> RunRef:
        """Create a run that fails at once with the problem, so that people find it where they look for runs."""
        shown = {**asdict(problem), "text": problem.text}
        return self._create(place, cause, {"pipeline": "", "problem": shown})

    def again(self, run: RunState, cause: Cause) -> RunRef:
        """Repeat a run: same code, same event, same group, new id."""
        bound = {name: run.metadata[name] for name in _BOUND}
        more = {name: value for name, value in run.metadata.items() if name not in _BOUND}
        workflows = bind(self.thread.engine, bound)
        return self._answer(
            run.metadata,
            lambda: workflows.create(
                cause.event, id=cause.id, metadata={**more, **cause.more}, title=run.title, entry=run.entry,
                order=run.order.again(),
            ),
        )  # fmt: skip

    def restart(self, run: RunState, step: str, id: str, changes: Mapping[str, Any]) -> RunRef:
        """Begin a run that adopts what an ended one did before a step; `changes` of its metadata may lead elsewhere."""
        bound = {name: run.metadata[name] for name in _BOUND}
        title = str(changes.get("message") or run.title)
        workflows = bind(self.thread.engine, bound)
        return self._answer(run.metadata, lambda: workflows.restart(run.id, step, id=id, metadata=changes, title=title))

    def _create(self, place: Place, cause: Cause, what: Mapping[str, Any], order: Order = NO_ORDER) -> RunRef:
        repository, commit = place.repository, place.commit
        bound = {"tenant": repository.tenant, "repository": repository.id, "name": repository.full_name}
        metadata = {
            "commit": commit.sha,
            "tree": commit.tree,
            "stepwell_tree": place.tree,
            "message": commit.subject[:LONGEST_TITLE],
            "kind": cause.kind,
            "branch": cause.branch,
            "tag": cause.tag,
            "actor": cause.actor,
            **_kept(cause),
            **cause.more,
            **what,
        }
        title = (commit.subject or f"{cause.kind} at {commit.sha[:7]}")[:LONGEST_TITLE]
        workflows = bind(self.thread.engine, bound)
        return self._answer(
            bound,
            lambda: workflows.create(cause.event, id=cause.id, metadata=metadata, title=title, order=order),
            asked=cause.asked,
        )

    def _answer(
        self, metadata: Mapping[str, Any], create: Callable[[], Coroutine[Any, Any, Handle]], asked: str = ""
    ) -> RunRef:
        """Have a run created unless its repository is gone; it does not go meanwhile."""
        repository = repository_of(metadata)
        with self._beginnings.on(repository) if repository else nullcontext():
            handle = answer_of(self.thread, create())
        if asked and not handle.created:
            self._require_same(handle, asked)
        return RunRef(handle.id, handle.number, handle.created)

    def _require_same(self, handle: Handle, asked: str) -> None:
        run = answer_of(self.thread, self.thread.engine.get(handle.id))
        if run is not None and run.metadata.get(_ASKED, asked) != asked:
            raise Invalid(f"The key was sent before with another request, which is run #{run.number}. Use a new key.")


def _kept(cause: Cause) -> dict[str, str]:
    return {_ASKED: cause.asked} if cause.asked else {}


def repository_of(metadata: Mapping[str, Any]) -> str:
    """Return the repository without which a run of these metadata could not go on; "" for none."""
    return str(metadata.get("repository") or metadata.get("files_of") or "")
