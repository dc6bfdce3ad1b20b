"""What people do to a run that exists: pause, resume, cancel, terminate it, restart it from one of its steps.

Each asks for the right to write, and stands in the audit log once it is done. The run's journal says it as well, in the
transaction that does it: should the server die between the two, nothing is lost but the line in the audit log.
All methods block and may be called from any thread but the engine's.
"""

from collections.abc import Coroutine
from typing import Any, Literal, TypeVar, get_args

from stepwell.ci.answers import answer_of
from stepwell.ci.history import History
from stepwell.ci.launch import Launcher, id_of, new_id
from stepwell.ci.lent import lent_again
from stepwell.ci.newest import Newest
from stepwell.ci.views import RunSummary
from stepwell.engine.named_step import key_of
from stepwell.engine.state import RunState
from stepwell.errors import Conflict, Invalid, NotFound
from stepwell.store.store import Store
from stepwell.tenants.actors import Actor
from stepwell.tenants.audit import Audit

T = TypeVar("T")
WhichCode = Literal["same", "newer"]
LONGEST_REASON = 1_000


class Control:
    """People's power over runs. What they may not see does not exist for them."""

    def __init__(self, history: History, launcher: Launcher, newest: Newest, store: Store, audit: Audit) -> None:
        self._history = history
        self._launcher = launcher
        self._newest = newest
        self._store = store
        self._audit = audit
        self._engine = launcher.thread.engine

    def pause(self, actor: Actor, run_id: str, reason: str = "") -> None:
        """Let nothing begin in a run until it is resumed. Conflict when it is paused, cancelled or has ended."""
        run = self._permitted(actor, run_id, reason)
        self._answer(self._engine.pause(run.id, actor.name, reason))
        self._note(actor, run, "pause", reason=reason)

    def resume(self, actor: Actor, run_id: str) -> None:
        """Have a paused run go on. Conflict when it is not paused."""
        run = self._permitted(actor, run_id)
        self._answer(self._engine.resume(run.id, actor.name))
        self._note(actor, run, "resume")

    def cancel(self, actor: Actor, run_id: str, reason: str = "", *, undo: bool = False) -> None:
        """Have a run cancelled, and its passed steps undone if wanted; one that has ended stays as it is."""
        run = self._permitted(actor, run_id, reason)
        if not run.finished:
            self._answer(self._engine.cancel(run.id, actor.name, reason, undo))
            self._note(actor, run, "cancel", reason=reason, undo=undo)

    def terminate(self, actor: Actor, run_id: str, reason: str = "") -> None:
        """End a run at once, its code is told nothing; one that has ended stays as it is."""
        run = self._permitted(actor, run_id, reason)
        if not run.finished:
            self._answer(self._engine.terminate(run.id, actor.name, reason))
            self._note(actor, run, "terminate", reason=reason)

    def kill_isolate(self, actor: Actor, run_id: str) -> None:
        """End the process in which a run's code is: it goes on in another one. Conflict when it is in none."""
        run = self._permitted(actor, run_id)
        self._answer(self._engine.kill_isolate(run.id))
        self._note(actor, run, "kill_isolate")

    def in_process(self, actor: Actor, run_id: str) -> bool:
        """Say whether a run's code is in a process now, which could be killed."""
        run = self._permitted(actor, run_id)
        return not run.finished and self._answer(self._engine.in_process(run.id))

    def restart(
        self, actor: Actor, run_id: str, step: str, *, code: WhichCode = "same", key: str | None = None
    ) -> RunSummary:
        """Begin a new run with all that an ended one did before it asked for a step, named by key or name.

        `newer`: with the newest code of the run's branch, instead of the run's own; people are then asked again.
        The same `key` again gives the run that exists.
        """
        run = self._permitted(actor, run_id)
        state = self._answer(self._engine.get(run.id))
        if state is None:
            raise NotFound(f"There is no run {run_id!r} any more.")
        if state.metadata.get("problem"):
            raise Conflict(f"Run #{run.number} could not run its code. Correct .stepwell/ and push again.")
        if code not in get_args(WhichCode):
            raise Invalid(f"Code {str(code)[:40]!r} is none that a run could be restarted with. Use 'same' or 'newer'.")
        found = key_of(state, step)
        changes = {**self._provenance(actor, state), "restart_code": code}
        changes |= lent_again(state.metadata, actor)
        if code == "newer":
            changes |= self._newest.of(state)
        new = id_of("restart", run.id, found, code, actor.person, key) if key else new_id()
        ref = self._launcher.restart(state, found, new, changes)
        made = self._history.find(actor, ref.id)
        if ref.created:
            self._note(actor, run, "restart", step=found, code=code, new=made.number)
        return made

    @staticmethod
    def _provenance(actor: Actor, run: RunState) -> dict[str, Any]:
        """Who is behind the new run: as with a re-run, those who started the old one stay its authors."""
        author = str(run.metadata.get("author") or run.metadata.get("actor") or "")
        return {"restart_of": run.id, "rerun_of": "", "actor": actor.name, "author": author}

    def _permitted(self, actor: Actor, run_id: str, reason: str = "") -> RunSummary:
        run = self._history.find(actor, run_id)
        actor.require("write", run.tenant, run.repository)
        if len(reason) > LONGEST_REASON:
            raise Invalid(f"The reason is longer than {LONGEST_REASON:,} characters.")
        return run

    def _note(self, actor: Actor, run: RunSummary, did: str, **detail: Any) -> None:
        told = {name: value for name, value in detail.items() if value}
        with self._store.write() as session:
            self._audit.add(session, actor, run.tenant, f"run.{did}", f"{run.repository}#{run.number}", **told)

    def _answer(self, work: Coroutine[Any, Any, T]) -> T:
        return answer_of(self._launcher.thread, work)
