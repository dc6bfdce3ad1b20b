"""Runs for people and programs: lists, views, logs, and everything that can be done to a run.

Every method takes who asks and goes through the scope; what they may not see does not exist for them. All methods block
and may be called from any thread but the engine's.
"""

from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import replace
from functools import cache, partial
from typing import Any, Literal, TypeVar

from stepwell.ci.answers import answer_of
from stepwell.ci.approvals import approval_view, check_decision, judge_of, may_decide, rules_of
from stepwell.ci.divergence import restart_note, ways_on
from stepwell.ci.environments import Environments
from stepwell.ci.folded import FOLDED, ROOM, FoldedRuns, as_of
from stepwell.ci.history import Asking, Choices, Filter, History, cursor_after
from stepwell.ci.inflight import with_inflight
from stepwell.ci.launch import Cause, Launcher, new_id
from stepwell.ci.lent import lent_again
from stepwell.ci.manual import Starter, Wish
from stepwell.ci.remembered import Remembered
from stepwell.ci.rules import Rules
from stepwell.ci.steps import LogSize, step_views, with_reasons
from stepwell.ci.views import ApprovalView, Page, RunLink, RunSummary, RunView, StepView
from stepwell.engine.entries import Entry
from stepwell.engine.rounds import rounds_of
from stepwell.engine.state import RunState, StepState
from stepwell.engine.where_ended import where_ended
from stepwell.errors import Conflict, Invalid, NotFound, TryLater, Unavailable
from stepwell.store.log_files import Log
from stepwell.store.logs import LogStore, round_key
from stepwell.store.store import Store
from stepwell.tenants.actors import Actor
from stepwell.tenants.audit import Audit

T = TypeVar("T")
Entries = list[Entry]
Approvals = list[ApprovalView]
Asked = tuple[Mapping[str, Any], tuple[StepState, ...]]
INBOX = 100
"""Runs that the inbox looks at."""


class StepLog(Log):
    """The log of an attempt; `finished` says that it grows no more."""

    def __init__(self, log: Log, attempt: int, finished: bool) -> None:
        super().__init__(log.path)
        self.attempt = attempt
        self.finished = finished


class Runs:
    """Everything about runs."""

    def __init__(
        self, history: History, starter: Starter, launcher: Launcher, environments: Environments, logs: LogStore,
        *, store: Store, audit: Audit,
    ) -> None:  # fmt: skip
        self._history = history
        self._starter = starter
        self._launcher = launcher
        self._environments = environments
        self._store = store
        self._audit = audit
        self._thread = launcher.thread
        self._logs = logs
        self._folded = FoldedRuns(history)
        self._shown: Remembered[tuple[StepView, ...]] = Remembered(FOLDED, weigh=len, room=ROOM)
        self._asking: Remembered[Asked] = Remembered(4 * INBOX, weigh=lambda asked: len(asked[1]), room=ROOM)

    def list(
        self,
        actor: Actor,
        *,
        tenant: str | None = None,
        repository: str | None = None,
        state: str | None = None,
        pipeline: str | None = None,
        branch: str | None = None,
        sha: str | None = None,
        by: str | None = None,
        kind: str | None = None,
        text: str | None = None,
        cursor: str | None = None,
        limit: int = 50,
    ) -> Page[RunSummary]:
        """Return runs that the actor may see, the newest first; `by` is who started them."""
        place = (tenant or "", repository or "", state or "", pipeline or "", branch or "", sha or "")
        wanted = Filter(*place, by or "", kind or "", text or "")
        found = self._history.page(actor, wanted, cursor, max(1, limit) + 1)
        items = self._explained(found[: max(1, limit)])
        return Page(items, cursor_after(items[-1]) if len(found) > len(items) else None)

    def _explained(self, found: Sequence[RunSummary]) -> tuple[RunSummary, ...]:
        """Say why runs have not begun: it changes with others, so no row of theirs has it."""
        queued = [run.id for run in found if run.state == "queued" and not run.reason]
        try:
            reasons = self._engine(self._thread.engine.reasons(queued)) if queued else {}
        except (Unavailable, TryLater):  # the engine stops or stands still: a list without reasons is better than none
            reasons = {}
        return tuple(replace(run, reason=reasons[run.id]) if run.id in reasons else run for run in found)

    def choices(self, actor: Actor, tenant: str, repository: str = "") -> Choices:
        """Return what runs of a tenant or repository can be filtered by."""
        return self._history.choices(actor, tenant, repository)

    def summary(self, actor: Actor, run_id: str) -> RunSummary:
        """Return a run as lists show it."""
        return self._history.find(actor, run_id)

    def get(self, actor: Actor, run_id: str) -> RunView:
        """Return a run in full."""
        return self._view(actor, self._history.find(actor, run_id))

    def by_number(self, actor: Actor, tenant: str, repository: str, number: int) -> RunView:
        """Return a repository's run in full, by its number."""
        return self._view(actor, self._history.numbered(actor, tenant, repository, number))

    def start(
        self,
        actor: Actor,
        tenant: str,
        repository: str,
        pipeline: str,
        *,
        ref: str | None = None,
        inputs: Mapping[str, Any] | None = None,
        key: str | None = None,
    ) -> RunSummary:
        """Start a pipeline by hand at a branch, tag or commit; the same `key` again gives the run that exists."""
        started = self._starter.start(actor, tenant, repository, Wish(pipeline, ref or "", inputs or {}, key or ""))
        return self._history.find(actor, started.id)

    def rerun(self, actor: Actor, run_id: str) -> RunSummary:
        """Run the same code for the same event once more, as a new run."""
        summary, run = self._permitted(actor, run_id)
        if run.metadata.get("problem"):
            raise Conflict(f"Run #{run.number} could not run its code. Correct .stepwell/ and push again.")
        author = str(run.metadata.get("author") or run.metadata.get("actor") or "")
        more = {"rerun_of": summary.id, "actor": actor.name, "author": author, **lent_again(run.metadata, actor)}
        cause = Cause(new_id(), summary.kind, actor.name, run.params, more=more)
        return self._history.find(actor, self._launcher.again(run, cause).id)

    def send_event(self, actor: Actor, run_id: str, type: str, payload: Any, id: str | None = None) -> None:
        """Deliver an event to a run; once per `id`. Conflict when it has ended."""
        self._changeable(actor, run_id)
        self._engine(self._thread.engine.send_event(run_id, type, payload, id))

    def decide(
        self,
        actor: Actor,
        run_id: str,
        key: str,
        *,
        approve: bool,
        comment: str = "",
        fields: Mapping[str, Any] | None = None,
    ) -> Literal["approved", "rejected"] | None:
        """Approve or reject a waiting step; return the verdict, None while more people must agree.

        Raises Conflict when it waits no more, Denied when the rules do not let the actor decide.
        """
        summary = self._history.find(actor, run_id)
        actor.require("approve", summary.tenant, summary.repository)
        if len(comment) > 10_000:
            raise Invalid("The comment is longer than 10,000 characters.")
        run = self._state(summary)
        step = run.steps.get(key)
        rules = self._rules(run, step) if step is not None else Rules()
        filled = check_decision(rules, actor, run, key, (fields or {}) if approve else {})
        decision = {"by": actor.name, "approve": approve, "comment": comment, "fields": filled if approve else {}}
        verdict = self._engine(self._thread.engine.decide(run_id, key, decision, judge_of(rules)))
        detail = {"step": run.steps[key].name, "environment": rules.environment, "comment": comment}
        told = {name: value for name, value in detail.items() if value}
        did, subject = "approve" if approve else "reject", f"{summary.repository}#{summary.number}"
        with self._store.write() as session:
            self._audit.add(session, actor, summary.tenant, f"approval.{did}", subject, **told)
        return verdict

    def journal(self, actor: Actor, run_id: str, after: int = 0, limit: int = 1000) -> Entries:
        """Return entries of a run's journal with numbers above `after`."""
        self._history.find(actor, run_id)
        return self._history.entries(run_id, after, min(limit, 10_000))

    def inbox(self, actor: Actor) -> Approvals:
        """Return what waits for people, what the actor may decide first, then the oldest first."""
        views = [
            view
            for summary in self._history.waiting(actor, INBOX)
            for run in (self._state(summary),)
            for view in self._approvals(actor, as_of(summary, run), run)
        ]
        return sorted(views, key=lambda view: (not view.may_decide, view.asked_at))

    def inbox_count(self, actor: Actor) -> int:
        """Return how many of the questions that the inbox shows the actor may decide."""
        found = self._history.asking(actor, INBOX)
        asked = [
            self._asking.of(f"{one.id} {one.seq}", partial(self._read_open, one)) for one in found if not one.awake
        ]
        asked += self._open_awake([one.id for one in found if one.awake])
        return sum(may_decide(self._environments, actor, told, step) for told, steps in asked for step in steps)

    def _read_open(self, run: Asking) -> Asked:
        return _open(self._folded.of(run.id, run.seq))

    def _open_awake(self, runs: Sequence[str]) -> Sequence[Asked]:
        """Return what runs ask that are awake: all by one question to the engine."""
        engine = self._thread.engine

        async def look() -> Sequence[Asked]:
            return [_open(state) for run in runs if (state := await engine.get(run)) is not None]

        try:
            return self._engine(look()) if runs else ()
        except (Unavailable, TryLater):  # the engine stops or stands still: a page without a number is better than none
            return ()

    def log(self, actor: Actor, run_id: str, key: str, attempt: int | None = None) -> StepLog:
        """Return the log of a step's attempt, the last one by default; key "" is the run's own log.

        Services beside a step have logs of their own: "test#1@db"; so has the run in each earlier round: "@3".
        """
        summary = self._history.find(actor, run_id)
        if key == "":
            return self._log(run_id, "", 0, finished=summary.finished)
        run = self._state(summary)
        earlier = _earlier(run, key)
        if earlier is not None:
            return self._log(run_id, key, earlier and (attempt or earlier), finished=True)
        steps = run.steps
        of, _, service = key.rpartition("@")
        given = steps[of].options.get("services") if key not in steps and of in steps else None
        beside = isinstance(given, Mapping) and service in given
        step = steps.get(of if beside else key)
        if step is None:
            raise NotFound(f"Run #{summary.number} has no step {key!r}.")
        number = attempt or step.attempt or 1
        tried = [one for one in step.attempts if one.number == number]
        over = step.ended_at is not None or bool(tried and tried[-1].ended_at is not None)
        return self._log(step.origin or run_id, key, number, finished=over or summary.finished)

    def logs(self, actor: Actor, run_id: str) -> Mapping[str, Log]:
        """Return all logs that a run has written itself, by the names of their files: see LogName."""
        return self._logs.written(self._history.find(actor, run_id).id)

    def _log(self, run_id: str, key: str, attempt: int, *, finished: bool) -> StepLog:
        if finished:
            self._logs.flush()  # the journal may be ahead of the log's last batch
        return StepLog(self._logs.log(run_id, key, attempt), attempt, finished)

    def _view(self, actor: Actor, summary: RunSummary) -> RunView:
        run = self._state(summary)
        summary = as_of(summary, run)
        error = run.metadata.get("problem") or run.error
        origins = self._origins(summary, run)
        source = origins.get(run.ancestry.run) if run.ancestry else None
        return RunView(
            summary=summary,
            event={**run.params, "number": run.number},
            entry=run.entry,
            code=run.code,
            result=run.result,
            error=_error(error) if error else None,
            steps=self._steps(run, origins),
            approvals=tuple(self._approvals(actor, summary, run)),
            may_write=actor.may("write", summary.tenant, summary.repository),
            log_size=self._logs.log(run.id, "", 0).size,
            round=run.round,
            rounds=rounds_of(run.first),
            parent=run.parent,
            restart_of=source,
            restarted_at=run.ancestry.step if run.ancestry else "",
            restart_note=restart_note(run),
            where_ended=where_ended(run),
            cancelling=run.cancel is not None and not run.finished,
            ways_on=ways_on(run, RunLink(run.id, run.number, summary.url), source),
            workspace=str(run.metadata.get("workspace") or ""),
        )

    def _steps(self, run: RunState, origins: Mapping[str, RunLink]) -> tuple[StepView, ...]:
        def rules_of(step: StepState) -> Rules:
            return self._rules(run, step)

        def read() -> tuple[StepView, ...]:
            self._logs.flush()  # the journal may be ahead of the logs' last batch
            return step_views(run, self._log_sizes(run), rules_of, origins)

        if run.ancestry is not None or origins or run.inflight or not all(map(_rests, run.steps.values())):
            return step_views(run, self._log_sizes(run), rules_of, origins)
        views = self._shown.of(f"{run.id} {run.seq}", read)
        return views if run.finished else with_reasons(views, run, rules_of)

    def _log_sizes(self, run: RunState) -> LogSize:
        """Say how large the logs of steps are; those of steps that were adopted are other runs'."""
        of_run = cache(self._logs.sizes)
        return lambda key, attempt: of_run(run.steps[key].origin or run.id)(key, attempt)

    def _origins(self, summary: RunSummary, run: RunState) -> Mapping[str, RunLink]:
        """Link the earlier runs of which this one has adopted something."""
        ids = [run.ancestry.run, *(id for id, _ in run.ancestry.origins)] if run.ancestry else []
        ids += {str(step.reused["run"]) for step in run.steps.values() if step.reused}
        return {link.id: link for link in self._history.links(summary, ids)} if ids else {}

    def _approvals(self, actor: Actor, summary: RunSummary, run: RunState) -> Approvals:
        steps = [run.steps[key] for key in run.approvals]
        return [approval_view(summary, self._rules(run, step), run, step, actor) for step in steps]

    def _rules(self, run: RunState, step: StepState) -> Rules:
        return rules_of(self._environments, run.metadata, step)

    def step(self, actor: Actor, run_id: str, key: str) -> StepState:
        """Return a step of a run as it is folded: for less than the whole view. Raises NotFound."""
        summary = self._history.find(actor, run_id)
        if (found := self._state(summary).steps.get(key)) is None:
            raise NotFound(f"Run #{summary.number} has no step {key!r}.")
        return found

    def permitted_step(self, actor: Actor, run_id: str, key: str) -> tuple[RunState, StepState]:
        """Return a step of a run that the actor may change. Raises NotFound, Denied."""
        summary, run = self._permitted(actor, run_id)
        if key not in run.steps:
            raise NotFound(f"Run #{summary.number} has no step {key!r}.")
        return run, run.steps[key]

    def _permitted(self, actor: Actor, run_id: str) -> tuple[RunSummary, RunState]:
        """Return a run that the actor may change."""
        summary = self._changeable(actor, run_id)
        return summary, self._state(summary)

    def _changeable(self, actor: Actor, run_id: str) -> RunSummary:
        summary = self._history.find(actor, run_id)
        actor.require("write", summary.tenant, summary.repository)
        return summary

    def _state(self, summary: RunSummary) -> RunState:
        """Fold a run: from the engine while it is awake, which knows what is in flight; else from the journal."""
        if summary.finished:
            return self._folded.of(summary.id)
        if (seq := self._history.resting(summary.id)) is not None:
            return self._folded.of(summary.id, seq)
        state = self._engine(self._thread.engine.get(summary.id))
        if state is None:
            raise NotFound(f"There is no run {summary.id!r} any more.")
        return with_inflight(state)

    def _engine(self, work: Coroutine[Any, Any, T]) -> T:
        return answer_of(self._thread, work)


def _open(run: RunState) -> Asked:
    """Return what is told of a run's open questions: its metadata and the steps that wait for people."""
    return run.metadata, tuple(run.steps[key] for key in run.approvals)


def _rests(step: StepState) -> bool:
    """Say whether nothing about a step changes without an entry, but the words on what it waits for."""
    return step.ended_at is not None or step.state == "waiting"


def _earlier(run: RunState, key: str) -> int | None:
    """Return the last attempt of a step of an earlier round, 0 for the round itself; None for all other keys."""
    for one in rounds_of(run.first):
        if key == round_key(one.number):
            return 0
        for step in one.steps:
            if step.key == key:
                return step.attempt
    return None


def _error(error: Mapping[str, Any]) -> dict[str, str]:
    """Show an error of the code, or the problem that kept it from running."""
    kind = error.get("type") or error.get("kind") or ""
    return {
        "type": str(kind),
        "message": str(error.get("text") or error.get("message") or ""),
        "traceback": str(error.get("traceback") or ""),
        "file": str(error.get("file") or ""),
        "line": str(error.get("line") or ""),
        "step": str(error.get("step") or ""),
    }
