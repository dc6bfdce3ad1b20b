"""Pushes: who may push what, and which runs follow. Implements PushHandler.

pre-receive asks for permission and writes the intent to disk; post-receive, or after a crash `reconcile`, turns the
intent into runs. Both go the same way (`_settle`), and runs have ids made from (push, ref, pipeline), so an intent that
is worked on twice starts each run once. An intent stays open while the host cannot describe pipelines; it is tried
again every minute. What the pusher need not wait for, closing intents and setting schedules, is left to `finish`,
a moment later: at once it would fight with the new runs for the disk.
"""

import asyncio
import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass

from stepwell.ci import triggers
from stepwell.ci.declarations import DeclarationCache, Declarations
from stepwell.ci.events import message_of, paths_of
from stepwell.ci.intents import Intents
from stepwell.ci.launch import Cause, Launcher, Place, id_of
from stepwell.engine.specs import RunRef
from stepwell.errors import NotFound, StepwellError, TryLater, Unavailable
from stepwell.repos.objects import CommitInfo
from stepwell.repos.push import NO_COMMIT, PushContext, RefUpdate
from stepwell.repos.reader import Reader
from stepwell.repos.repositories import Repositories
from stepwell.store.store import Store
from stepwell.store.tables import PushIntent, Repository
from stepwell.tenants.actors import Actor

MOST_REFS = 50
"""Branches and tags of one push that may start runs; of more, the default branch and then others may, and no tag.

Whoever mirrors a repository wants its branches checked, and nothing released once more.
"""
_LOGGER = logging.getLogger(__name__)
_PREFIX = "stepwell: "


@dataclass(frozen=True)
class Pushed:
    """An intent with what is needed to act on it."""

    intent: PushIntent
    repository: Repository
    update: RefUpdate
    commit: CommitInfo
    changed: list[str] | None  # None: too many to list


class Pushes:
    """Decides about pushes and starts their runs."""

    def __init__(
        self,
        store: Store,
        repositories: Repositories,
        declarations: DeclarationCache,
        launcher: Launcher,
        base_url: str,
    ) -> None:
        self._store = store
        self._repositories = repositories
        self._declarations = declarations
        self._launcher = launcher
        self._base_url = base_url
        self._intents = Intents(store)
        self.default_branch_moved: Callable[[Repository, str], None] = lambda _repository, _commit: None
        """Called with the repository and the new commit after a push to its default branch was dealt with."""
        self.dealt_with: Callable[[], None] = lambda: None
        """Called when there is something to finish."""
        self._dealt: list[tuple[PushIntent, Pushed | None]] = []
        self._lock = threading.Lock()

    async def pre_receive(self, context: PushContext, updates: list[RefUpdate]) -> str | None:
        """Permit or refuse; write intents."""
        return await asyncio.to_thread(self._permit, context, updates)

    async def post_receive(self, context: PushContext, updates: list[RefUpdate]) -> list[str]:
        """Start the runs of the refs that moved, and say which."""
        return await asyncio.to_thread(self._received, context, updates)

    def _permit(self, context: PushContext, updates: list[RefUpdate]) -> str | None:
        row = self._row(context.repository)
        actor: Actor = context.actor
        actor.require("write", row.tenant, row.name)
        for update in updates:
            if not _readable(update.ref):
                return "The name of a ref is not UTF-8. Rename the branch or tag."
            if update.branch is None and update.tag is None and not update.ref.startswith("refs/notes/"):
                return f"Ref '{update.ref}' is not a branch, a tag or a note. Push to refs/heads/ or refs/tags/."
            if not actor.may("manage", row.tenant, row.name) and (why := self._protected(context, row, update)):
                return why
        self._intents.add(context, _starting(updates, row.default_branch))
        return None

    def _protected(self, context: PushContext, row: Repository, update: RefUpdate) -> str:
        """Say why a protected branch must not be moved like this by somebody without the right to manage."""
        if update.branch is None or update.created or not triggers.matches_any(row.protected, update.branch):
            return ""
        if update.deleted:
            return f"Branch '{update.branch}' is protected: only maintainers may delete it."
        if context.quarantine is None:
            reader = self._repositories.reader(row.id)
            forward = reader.is_ancestor(update.old, update.new)
        else:
            with self._repositories.quarantined(row.id, context.quarantine) as quarantined:
                forward = quarantined.is_ancestor(update.old, update.new)
        return "" if forward else f"Branch '{update.branch}' is protected: only maintainers may rewrite its history."

    def _received(self, context: PushContext, updates: list[RefUpdate]) -> list[str]:
        moved = {update.ref: update for update in updates}
        lines: list[str] = []
        if not self._is_there(context.repository):
            return [f"{_PREFIX}the repository was deleted meanwhile: nothing of this push is kept"]
        for intent in self._intents.of_push(context.push):
            if intent.ref in moved:
                lines += self._settled(intent)
            else:
                self._intents.resolve([intent], "dropped")
        if len([update for update in updates if _starts(update)]) > MOST_REFS:
            most = f"{MOST_REFS} branches start runs, the default one first, and no tags"
            lines.append(f"{_PREFIX}of a push of more than {MOST_REFS} branches and tags, {most}")
        return lines

    def reconcile(self, older_than_seconds: float) -> None:
        """Deal with intents that a crash, or a host without isolates, has left open."""
        self.finish()
        for intent in self._intents.open(older_than_seconds):
            try:
                if self._moved(intent):
                    self._settled(intent)
                else:
                    self._intents.resolve([intent], "dropped")
            except Exception:  # one broken repository must not keep the others waiting
                _LOGGER.exception("The intent %s of a push to %s could not be dealt with.", intent.id, intent.ref)
        self.finish()

    def finish(self) -> None:
        """Close the intents that were dealt with, and tell who follows default branches."""
        with self._lock:
            dealt, self._dealt = self._dealt, []
        if not dealt:
            return
        self._intents.resolve([intent for intent, _ in dealt], "done")
        for _, pushed in dealt:
            if pushed is not None and pushed.update.branch == pushed.repository.default_branch:
                self._tell_of(pushed)

    def _tell_of(self, pushed: Pushed) -> None:
        try:
            self.default_branch_moved(pushed.repository, pushed.commit.sha)
        except NotFound:
            if self._is_there(pushed.repository.id):
                raise
            _LOGGER.info("%s was deleted before its push was dealt with.", pushed.repository.full_name)

    def _moved(self, intent: PushIntent) -> bool:
        """Say whether git moved the ref, also if it has moved on since."""
        try:
            reader = self._repositories.reader(intent.repository)
            wanted, now = reader.resolve(intent.new), reader.resolve(intent.ref)
        except NotFound:
            return False
        if wanted is None:
            return False
        if wanted == now or self._intents.followed(intent):
            return True
        return now is not None and reader.is_ancestor(wanted, now)

    def _settled(self, intent: PushIntent) -> list[str]:
        """Start the runs of an intent; return what to tell the pusher."""
        try:
            pushed = self._read(intent)
            lines = [] if pushed is None else self._start(pushed)
        except (TryLater, Unavailable) as error:
            return [f"{_PREFIX}{error}", f"{_PREFIX}the push is kept; its runs start as soon as that is mended"]
        except StepwellError as error:  # of this push alone: trying again would not help
            pushed, lines = None, [str(error)]
        with self._lock:
            self._dealt.append((intent, pushed))
        self.dealt_with()
        return [_PREFIX + line for line in lines]

    def _read(self, intent: PushIntent) -> Pushed | None:
        row = self._row(intent.repository)
        reader = self._repositories.reader(intent.repository)
        sha = reader.resolve(intent.new)
        if sha is None:
            return None  # a tag of something that is no commit
        update = RefUpdate(intent.old, intent.new, intent.ref)
        before = _before(reader, update, sha)
        changed = paths_of(reader.changed_paths(before, sha))
        return Pushed(intent, row, update, reader.commit(sha), changed)

    def _start(self, pushed: Pushed) -> list[str]:
        row, commit = pushed.repository, pushed.commit
        declared = self._declarations.read(row.tenant, row.id, commit.sha)
        if declared.problem is not None:
            return self._failed(pushed, declared)
        branch, tag = pushed.update.branch or "", pushed.update.tag or ""
        started = triggers.started_by(declared.pipelines, triggers.Moved(branch, tag, pushed.changed))
        if not started:
            names = ", ".join(pipeline.name for pipeline in declared.pipelines)
            return [f"nothing in {names} starts on this push to {branch or tag}"]
        lines = []
        for pipeline in started:
            cause = _cause(pushed, pipeline.name)
            ref = self._launcher.start(Place(row, commit, declared.tree), pipeline, cause)
            lines.append(f"run #{ref.number} {pipeline.name} → {self._url(row, ref)}")
        return lines

    def _failed(self, pushed: Pushed, declared: Declarations) -> list[str]:
        problem = declared.problem
        assert problem is not None
        if problem.kind == "no-stepwell":
            return [problem.text]
        place = Place(pushed.repository, pushed.commit, declared.tree)
        ref = self._launcher.fail(place, problem, _cause(pushed, ""))
        return [*problem.text.splitlines(), f"run #{ref.number} failed → {self._url(pushed.repository, ref)}"]

    def _url(self, row: Repository, ref: RunRef) -> str:
        return f"{self._base_url}/{row.full_name}/runs/{ref.number}"

    def _is_there(self, repository: str) -> bool:
        with self._store.read() as session:
            return session.get(Repository, repository) is not None

    def _row(self, repository: str) -> Repository:
        with self._store.read() as session:
            row = session.get(Repository, repository)
        if row is None:
            raise NotFound("The repository is not there any more.")
        return row


def _starts(update: RefUpdate) -> bool:
    return not update.deleted and (update.branch is not None or update.tag is not None)


def _starting(updates: list[RefUpdate], default_branch: str) -> list[RefUpdate]:
    """Return the updates that may start runs, in the order in which they do."""
    starting = [update for update in updates if _starts(update)]
    starting.sort(key=lambda update: update.branch != default_branch)
    if len(starting) > MOST_REFS:
        starting = [update for update in starting if update.branch is not None]
    return starting[:MOST_REFS]


def _readable(ref: str) -> bool:
    try:
        return bool(ref.encode())
    except UnicodeEncodeError:
        return False


def _before(reader: Reader, update: RefUpdate, sha: str) -> str | None:
    """Return the commit to compare with: the ref's old one, for a new branch where it left the default branch."""
    if not update.created:
        return reader.resolve(update.old)
    if update.branch is None or update.branch == reader.head():
        return None
    return reader.branch_start(sha)


def _cause(pushed: Pushed, pipeline: str) -> Cause:
    intent, update = pushed.intent, pushed.update
    branch, tag = update.branch or "", update.tag or ""
    event = {
        "kind": "tag" if tag else "push",
        "sha": pushed.commit.sha,
        "before": None if update.old == NO_COMMIT else update.old,
        "branch": branch or None,
        "tag": tag or None,
        "actor": intent.actor,
        "message": message_of(pushed.commit),
        "changed": pushed.changed,
    }
    id = id_of("push", intent.push, intent.ref, pipeline)
    more = {"push": intent.push, "person": intent.person}
    return Cause(id, str(event["kind"]), intent.actor, event, branch, tag, more)
