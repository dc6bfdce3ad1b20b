"""`step.promote`: a run moves a branch, or makes a tag, of its own repository: to the commit that it has tested, or to
what its steps have made of that branch or tag.

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
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stepwell.engine.seams import BindingCall
from stepwell.errors import Conflict, Denied, Invalid, NotFound, Unavailable
from stepwell.repos.captured import BRANCHES, TAGS, is_ref, made_by, part_of, parts_of, short
from stepwell.repos.intake import bring
from stepwell.repos.process import run_git
from stepwell.repos.push import NO_COMMIT
from stepwell.repos.repositories import Repositories
from stepwell.store.masks import forms
from stepwell.store.store import Store
from stepwell.store.tables import Repository
from stepwell.tenants import Tenants
from stepwell.tenants.actors import Actor

ATTEMPTS = 3
SHORTEST_SECRET = 8
"""Bytes; shorter values are words that any file may have."""
_LOGGER = logging.getLogger(__name__)

Moved = Callable[[Repository, str], None]


@dataclass(frozen=True)
class _Asked:
    """A promotion as a run asks for it; `parts` are what its steps did in git before, the oldest first."""

    ref: str
    commit: str
    parts: Sequence[Path]
    run: int
    by: str

    @property
    def target(self) -> str:
        """The commit or tag to set the ref to. Raises Conflict when a step has removed the ref."""
        made = made_by(self.parts).refs
        target = made.get(self.ref, self.commit)
        if target is None:
            raise Conflict(f"A step of this run has removed {short(self.ref)}, and a promotion removes nothing.")
        return target


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

    async def call(self, call: BindingCall) -> dict[str, str]:
        """Promote what the run has made of a ref, or its commit. Raises Invalid, Denied, NotFound, Conflict."""
        if call.name != "promote" or len(call.args) != 1 or call.kwargs:
            raise Invalid('A repository has no such call. Write step.promote(name, "refs/heads/…").')
        ref, metadata = ref_of(call.args[0]), dict(call.run.metadata)
        return await asyncio.to_thread(self._promote, metadata, ref, call.base, call.run.number)

    def _promote(self, metadata: Mapping[str, Any], ref: str, base: Sequence[str], run: int) -> dict[str, str]:
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
        if not all(part_of(self._layers, layer).parent.exists() for layer in base):
            raise Unavailable("The files of earlier steps are not kept any more, so what they made is not known.")
        asked = _Asked(ref, commit, parts_of(self._layers, base, commit), run, str(metadata.get("actor") or ""))
        target = asked.target
        before = self._move(row, asked, target)
        if before != target:
            self._note(row, asked, target)
        if ref == BRANCHES + row.default_branch:
            self._tell(row, target)
        return {"ref": ref, "sha": target, "before": before}

    def _move(self, row: Repository, asked: _Asked, target: str) -> str:
        """Move the ref unless it is there; again when somebody else was first. Return where it was, "" for nowhere."""
        ref, path = asked.ref, self._repositories.require(row.id)
        if target != asked.commit:
            self._bring(row, asked, target)
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

    def _bring(self, row: Repository, asked: _Asked, target: str) -> None:
        """Give the repository what a step made, unless a secret is in it. Raises Denied, Invalid."""
        path = self._repositories.require(row.id)
        values = self._tenants.secrets.values(row.tenant, row.id)
        forbidden = {name: marks for name, value in values if (marks := _marks(value))}

        def look(contents: Iterator[bytes]) -> None:
            if name := _found(contents, forbidden):
                raise Denied(
                    f"step.promote is refused: what the steps of this run committed for {short(asked.ref)} contains "
                    f"the value of the secret {name!r}. Leave that file out of the commit, and change the secret."
                )

        self._work.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="promote-", dir=self._work) as scratch:
            bring(path, target, asked.parts, Path(scratch), look)

    def _note(self, row: Repository, asked: _Asked, target: str) -> None:
        actor = Actor(name=asked.by or "stepwell")
        with self._store.write() as session:
            told = {"ref": asked.ref, "sha": target, "commit": asked.commit, "run": asked.run}
            self._tenants.audit.add(session, actor, row.tenant, "repository.promote", row.name, **told)

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


def _at(repository: Path, ref: str) -> str | None:
    """Return what a ref is at; of a tag with a message, that object."""
    told = run_git(repository, ["rev-parse", "--verify", "-q", ref], accept=(0, 1)).stdout.decode().strip()
    return told or None


def _marks(value: str) -> frozenset[bytes]:
    """Return what gives a secret away: every form of its longest line, but not of one that frames a key."""
    longest = max((line for line in value.splitlines() if not line.startswith("-----")), key=len, default="")
    return frozenset(form for form in forms(longest) if len(form) >= SHORTEST_SECRET)


def _found(contents: Iterator[bytes], forbidden: Mapping[str, frozenset[bytes]]) -> str:
    """Name the first secret of which some form stands in a stream; "" when none does."""
    longest = max((len(mark) for marks in forbidden.values() for mark in marks), default=0)
    rest = b""
    for piece in contents if longest else ():
        seen = rest + piece
        for name, marks in forbidden.items():
            if any(mark in seen for mark in marks):
                return name
        rest = seen[-longest:]
    return ""
