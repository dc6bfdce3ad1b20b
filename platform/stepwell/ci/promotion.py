"""`step.promote`: a run moves a branch, or makes a tag, of its own repository to the commit that it has tested.

What a run may do here is less than what a push may. It names a ref; the repository and the commit are those of the
run's metadata, which code can neither read nor forge. A branch only goes forward, a tag is made and never moved, and
nothing is deleted, also where the person behind the run may do more: code acts here, after hours or days, and not that
person. A plan has nothing to promote, since nobody has pushed its code.

A promotion starts no runs. A pipeline that promotes on every push would otherwise start itself for ever, and two that
promote into each other's branches would too; what shall follow stands after the `await`, or is called with `step.call`.

The call is made again after a crash: the ref is where it should be by then, and that is what was asked for.
"""

import asyncio
import logging
import threading
from collections.abc import Callable, Mapping
from typing import Any

from dulwich.refs import Ref, check_ref_format

from stepwell.engine.seams import BindingCall
from stepwell.errors import Conflict, Denied, Invalid, NotFound
from stepwell.repos.process import run_git
from stepwell.repos.push import NO_COMMIT
from stepwell.repos.repositories import Repositories
from stepwell.store.store import Store
from stepwell.store.tables import Repository

BRANCHES, TAGS = "refs/heads/", "refs/tags/"
LONGEST_REF = 200
ATTEMPTS = 3
_LOGGER = logging.getLogger(__name__)

Moved = Callable[[Repository, str], None]


class Promotions:
    """A Binding, to be offered to the engine as `repository`."""

    def __init__(self, store: Store, repositories: Repositories) -> None:
        self._store = store
        self._repositories = repositories
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
        """Promote the run's commit. Raises Invalid, Denied, NotFound, Conflict."""
        if call.name != "promote" or len(call.args) != 1 or call.kwargs:
            raise Invalid('A repository has no such call. Write step.promote(name, "refs/heads/…").')
        ref = ref_of(call.args[0])
        return await asyncio.to_thread(self._promote, dict(call.run.metadata), ref)

    def _promote(self, metadata: Mapping[str, Any], ref: str) -> dict[str, str]:
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
        self._move(row, ref, commit)
        if ref == BRANCHES + row.default_branch:
            self._tell(row, commit)
        return {"ref": ref, "sha": commit}

    def _move(self, row: Repository, ref: str, commit: str) -> None:
        """Move the ref unless it is there; again when somebody else was first."""
        for remaining in reversed(range(ATTEMPTS)):
            reader = self._repositories.reader(row.id)
            before = reader.resolve(ref)
            if before == commit:
                return
            if before is not None and ref.startswith(TAGS):
                raise Conflict(f"Tag {ref.removeprefix(TAGS)!r} is at {before[:10]} already. Choose another name.")
            if before is not None and not reader.is_ancestor(before, commit):
                raise Conflict(
                    f"Branch {ref.removeprefix(BRANCHES)!r} is at {before[:10]}, which {commit[:10]} does not contain, "
                    "and a promotion only goes forward. Merge that branch into the one of this run, and push."
                )
            try:
                update = ("-c", "core.fsync=all", "update-ref", "-m", "stepwell: promoted", ref, commit)
                run_git(self._repositories.require(row.id), [*update, before or NO_COMMIT])
                return
            except Invalid as error:
                if not remaining:
                    words = str(error).partition(": ")[2]
                    raise Conflict(f"Ref {ref!r} could not be moved: {words}") from error

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
    if (
        isinstance(given, str)
        and len(given) <= LONGEST_REF
        and given.isprintable()
        and given.startswith((BRANCHES, TAGS))
        and not given.rpartition("/")[2].startswith("-")
        and check_ref_format(Ref(given.encode("utf-8", "replace")))
    ):
        return given
    raise Invalid(
        f'step.promote has ref {str(given)[:80]!r}. Write a branch or a tag in full, like "refs/heads/stable" or '
        '"refs/tags/v1.0".'
    )
