"""`step.promote`: a run moves a branch, or makes a tag, of its own repository: to the commit that it has tested, or to
what steps that it names have made of that branch or tag.

Every step can write into its `.git`, and so can whatever it installs and runs. So what a step made of a ref is
published only if the pipeline names that step, in `made_by`: a ref that another one has moved is refused, and objects
are taken from the named steps alone, so that nothing comes along on which their commits were put. Rejected: to publish
what any step has made, for a dependency that a test installs could then release itself; to publish the run's commit all
the same, for a pipeline that forgot a name would release something else than it tested.

What a run may do here is less than what a push may. It names a ref; the repository and the commit are those of the
run's metadata, which code can neither read nor forge, and what steps made was verified when it was kept. A branch only
goes forward, a tag is made and never moved, and nothing is deleted, also where the person behind the run may do more:
code acts here, after hours or days, and not that person. So protected branches keep their history. A plan has nothing
to promote, since nobody has pushed its code. Commits in which a secret of the repository stands are refused.

A promotion starts no runs. A pipeline that promotes on every push would otherwise start itself for ever, and two that
promote into each other's branches would too; what shall follow stands after the `await`, or is called with `step.call`.

The call is made again after a crash: the ref is where it should be by then, and that is what was asked for.
"""

import asyncio
import logging
import tempfile
import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stepwell.ci.leaks import Leak, find_leak, marks_of, names, told
from stepwell.engine.seams import BindingCall
from stepwell.errors import Conflict, Denied, Invalid, NotFound, Unavailable
from stepwell.repos.captured import BRANCHES, TAGS, Captured, is_ref, part_of, parts_of, short
from stepwell.repos.intake import Contents, Incomplete, Place, bring
from stepwell.repos.process import run_git
from stepwell.repos.push import NO_COMMIT
from stepwell.repos.repositories import Repositories
from stepwell.store.store import Store
from stepwell.store.tables import Repository
from stepwell.tenants import Tenants
from stepwell.tenants.actors import Actor

ATTEMPTS = 3
_LOGGER = logging.getLogger(__name__)

Moved = Callable[[Repository, str], None]


@dataclass(frozen=True)
class _Asked:
    """A promotion as a run asks for it; `parts` are what its steps did in git before, the oldest first."""

    ref: str
    made_by: tuple[str, ...]
    commit: str
    parts: Sequence[Path]
    run: int
    by: str
    steps: Collection[str] = ()  # names of all that the run has asked for

    def made(self) -> "_Made":
        """Return what to set the ref to. Raises Conflict when that is not what the pipeline has said."""
        kept = [(part, Captured.read(part)) for part in self.parts]
        movers = [captured for _, captured in kept if self.ref in captured.refs]
        if not movers and not self.made_by:
            return _Made(self.commit)
        if not movers:
            if unknown := [name for name in self.made_by if name not in self.steps]:
                raise Conflict(
                    f"This run has asked for no step {names(unknown)}, which made_by= names. Write the name that "
                    "step.run was given."
                )
            raise Conflict(
                f"No step {names(self.made_by)} of this run has moved {short(self.ref)}. Leave made_by= out to promote "
                "the commit of the run."
            )
        target = movers[-1].refs[self.ref].after
        strangers = tuple(dict.fromkeys(one.step for one in movers if one.step not in self.made_by))
        if strangers:
            raise Conflict(self._strange(strangers, movers[-1]))
        if target is None:
            raise Conflict(f"A step of this run has removed {short(self.ref)}, and a promotion removes nothing.")
        named = [part for part, captured in kept if captured.step in self.made_by]
        return _Made(target, tuple(dict.fromkeys(one.step for one in movers)), named)

    def _strange(self, strangers: Sequence[str], last: Captured) -> str:
        now = (last.refs[self.ref].after or "")[:10]
        at = f"is at {now}" if now else "is removed"
        said = f"is not told to publish what {names(strangers)} made" if self.made_by else "names no step"
        named = [*self.made_by, *strangers]
        return (
            f"In this run {short(self.ref)} {at}, moved by the step {names(strangers)}, and this promotion {said}. "
            f"If that shall be published, write made_by={(named[0] if len(named) == 1 else named)!r}. "
            "If that step should not have moved it, find out what in it did."
        )


@dataclass(frozen=True)
class _Made:
    """The commit or tag to publish, the steps that made it, none for the run's commit, and where their objects are."""

    target: str
    by: tuple[str, ...] = ()
    parts: Sequence[Path] = ()


class Promotions:
    """A Binding, to be offered to the engine as `repository`."""

    def __init__(self, store: Store, repositories: Repositories, tenants: Tenants, state: Path) -> None:
        self._store = store
        self._repositories = repositories
        self._tenants = tenants
        self._layers, self._work = state / "layers", state / "work"
        self._lock = threading.Lock()
        self._told: Moved | None = None
        self._untold: list[tuple[Repository, str]] = []

    def follow(self, told: Moved) -> None:
        """Tell `told` of default branches that move, and of those that did before, while the server was starting."""
        with self._lock:
            self._told, untold, self._untold = told, self._untold, []
        for repository, commit in untold:
            told(repository, commit)

    async def call(self, call: BindingCall) -> dict[str, Any]:
        """Promote what the run has made of a ref, or its commit. Raises Invalid, Denied, NotFound, Conflict."""
        if call.name != "promote" or len(call.args) != 1 or call.kwargs.keys() - {"made_by"}:
            raise Invalid('A repository has no such call. Write step.promote(name, "refs/heads/…").')
        ref, made_by = ref_of(call.args[0]), steps_of(call.kwargs.get("made_by", []))
        return await asyncio.to_thread(self._promote, call, dict(call.run.metadata), ref, made_by)

    def _promote(
        self, call: BindingCall, metadata: Mapping[str, Any], ref: str, made_by: tuple[str, ...]
    ) -> dict[str, Any]:
        repository, commit = str(metadata.get("repository") or ""), str(metadata.get("commit") or "")
        if metadata.get("plan") or not repository or not commit:
            raise Denied(
                "step.promote is refused. A plan has no repository of its own to promote into: nobody has pushed its "
                "code. Commit it to a repository as .stepwell/pipeline.py."
            )
        with self._store.read() as session:
            row = session.get(Repository, repository)
        if row is None:
            raise NotFound("The repository of this run is not there any more.")
        if not all(part_of(self._layers, layer).parent.exists() for layer in call.base):
            raise Unavailable("The files of earlier steps are not kept any more, so what they made is not known.")
        parts, by = parts_of(self._layers, call.base, commit), str(metadata.get("actor") or "")
        steps = {step.name for step in tuple(call.run.steps.values())}  # the run goes on meanwhile
        asked = _Asked(ref, made_by, commit, parts, call.run.number, by, steps)
        made = asked.made()
        before = self._move(row, asked, made)
        done = {"ref": ref, "sha": made.target, "before": before, "made_by": list(made.by)}
        if before != made.target:
            self._note(row, asked, "repository.promote", done)
        if ref == BRANCHES + row.default_branch:
            self._tell(row, made.target)
        return done

    def _move(self, row: Repository, asked: _Asked, made: _Made) -> str:
        """Move the ref unless it is there; again when somebody else was first. Return where it was, "" for nowhere."""
        ref, target, path = asked.ref, made.target, self._repositories.require(row.id)
        if target != asked.commit:
            self._bring(row, asked, made)
        for remaining in reversed(range(ATTEMPTS)):
            before, reader = _at(path, ref), self._repositories.reader(row.id)
            if target in (before, reader.resolve(ref)):
                return target
            if before is not None and ref.startswith(TAGS):
                raise Conflict(f"Tag {ref.removeprefix(TAGS)!r} is at {before[:10]} already. Choose another name.")
            if before is not None and not reader.is_ancestor(before, target):
                raise Conflict(
                    f"Branch {ref.removeprefix(BRANCHES)!r} is at {before[:10]}, which {target[:10]} does not contain, "
                    "and a promotion only goes forward. Merge that branch into the one of this run, and push."
                )
            try:
                update = ("-c", "core.fsync=all", "update-ref", "-m", "stepwell: promoted", ref, target)
                run_git(path, [*update, before or NO_COMMIT])
                return before or ""
            except Invalid as error:
                if not remaining:
                    words = str(error).partition(": ")[2]
                    raise Conflict(f"Ref {ref!r} could not be moved: {words}") from error
        return target

    def _bring(self, row: Repository, asked: _Asked, made: _Made) -> None:
        """Give the repository what steps made, unless a secret is in it. Raises Conflict, Denied, Invalid."""
        path = self._repositories.require(row.id)
        marks = marks_of(self._tenants.secrets.values(row.tenant, row.id))

        def look(contents: Contents, place: Place) -> None:
            if leak := find_leak(contents, marks):
                where = told(leak.object, place(leak.object), marks)
                self._refused(row, asked, leak, where)
                raise Denied(
                    f"step.promote is refused: what the steps of this run committed for {short(asked.ref)} contains "
                    f"the value of a secret, in {where}. Leave that out of the commit, and change the secret: its name "
                    "is in the audit log."
                )

        self._work.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="promote-", dir=self._work) as scratch:
            try:
                bring(path, made.target, made.parts, Path(scratch), look)
            except Incomplete as error:
                raise Conflict(
                    f"What the step {names(made.by)} made of {short(asked.ref)}, {made.target[:10]}, stands on commits "
                    "of another step of this run, which this promotion does not name. Name it in made_by= too if its "
                    "commits shall be published, or let the step start from the commit of the run."
                ) from error

    def _refused(self, row: Repository, asked: _Asked, leak: Leak, where: str) -> None:
        told_ = {"ref": asked.ref, "secret": leak.name, "where": where}
        self._note(row, asked, "repository.promote.refused", told_)

    def _note(self, row: Repository, asked: _Asked, action: str, what: Mapping[str, Any]) -> None:
        actor = Actor(name=asked.by or "stepwell")
        with self._store.write() as session:
            told_ = {**what, "commit": asked.commit, "run": asked.run}
            self._tenants.audit.add(session, actor, row.tenant, action, row.name, **told_)

    def _tell(self, row: Repository, commit: str) -> None:
        with self._lock:
            told = self._told
            if told is None:
                self._untold.append((row, commit))
                return
        try:
            told(row, commit)
        except Exception:  # the ref has moved: that schedules could not be read is no failure of the step
            _LOGGER.exception("Nobody could be told that %s moved to %s.", row.full_name, commit)


def ref_of(given: Any) -> str:
    """Check the ref that code has named. Raises Invalid."""
    if isinstance(given, str) and is_ref(given) and not given.rpartition("/")[2].startswith("-"):
        return given
    raise Invalid(
        f'step.promote has ref {str(given)[:80]!r}. Write a branch or a tag in full, like "refs/heads/stable" or '
        '"refs/tags/v1.0".'
    )


def steps_of(given: Any) -> tuple[str, ...]:
    """Check the steps that code has named. Raises Invalid."""
    if isinstance(given, list) and all(isinstance(one, str) and one for one in given):
        return tuple(given)
    raise Invalid(f"step.promote has made_by {str(given)[:80]!r}. Write the name of a step, or a list of names.")


def _at(repository: Path, ref: str) -> str | None:
    """Return what a ref is at; of a tag with a message, that object.

    `git rev-parse` would look further for one that is not there, and find a branch that is called refs/heads/stable.
    """
    asked = ["for-each-ref", "--count=1", "--format=%(objectname) %(refname)", ref]
    told = run_git(repository, asked).stdout.decode("utf-8", "replace").split()
    return told[0] if told[1:] == [ref] else None
