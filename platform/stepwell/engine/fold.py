"""The fold: a run's whole state, computed from its journal and nothing else.

`fold(entries)` is a pure function, the same for engine, API and pages; `apply` is its one step and changes the state it
is given, because a run of 10,000 entries is folded while it grows.

Steps may appear first in any of asked, done, retry, lost and dropped: an inline `step.do` has no ask of its own.
"""

from collections.abc import Iterable, Mapping
from dataclasses import fields
from itertools import repeat
from typing import Any, Literal

from stepwell.engine.ancestry import Ancestry
from stepwell.engine.entries import FINISHED, Entry, StepKind, StepStatus
from stepwell.engine.order import Order
from stepwell.engine.reasons import why_cancelled, why_failed, why_ordered
from stepwell.engine.state import EVENT_IDS, OPEN, TO_START, AttemptState, EventState, RunState, StepState
from stepwell.errors import Bug
from stepwell.store.journal import Part


def fold(entries: Iterable[Entry]) -> RunState:
    """State of the run that these entries, in order and from the first, tell about."""
    state: RunState | None = None
    for entry in entries:
        if state is None:
            state = RunState(entry.run)
        apply(state, entry)
    if state is None:
        raise Bug("A journal without entries was folded.")
    return state


_NO_PROGRESS = frozenset({"created", "continued", "turn_failed"})
_BEFORE = frozenset({"admitted", "paused", "resumed"})
"""Entries that do not say that a run has begun."""


def apply(state: RunState, entry: Entry) -> None:
    """Go one entry further."""
    if entry.seq != state.seq + 1 and (entry.type != "continued" or state.seq):
        raise Bug(f"Journal of run {state.id!r}: entry {entry.seq} follows {state.seq}.")
    state.seq = entry.seq
    state.updated_at = max(entry.at, state.created_at)
    kind = entry.type
    if kind not in _NO_PROGRESS:
        state.failed_turns = 0
        state.reason = None
        if state.started_at is None and not (state.held or state.adopting or kind in _BEFORE):
            state.started_at = max(state.created_at, _began(state, entry))
    _APPLY[kind](state, entry)
    if state.approvals or state.asks_since is not None:
        _count_wait(state, entry.at)
    if state.paused is not None:
        state.reason = why_ordered("paused", state.paused)


def apply_passed(state: RunState, part: Part) -> bool:
    """Go on by entries each of which tells of a `step.do` that passed at once; false when one by one it must be.

    Who calls it knows that they are of that kind. Together they take a tenth of the time.
    """
    first, last, keys, steps = part.seqs[0], part.seqs[-1], part.keys, state.steps
    if first != state.seq + 1 or last - first + 1 != len(keys) or state.started_at is None:
        return False
    if state.paused is not None or state.ancestry is not None or state.inflight:
        return False
    if len(set(keys)) != len(keys) or not steps.keys().isdisjoint(keys):
        return False
    steps.pass_at_once(keys, zip(part.ats, part.attempts, part.data, repeat(state.created_at)))
    state.seq, state.updated_at = last, max(part.ats[-1], state.created_at)
    state.failed_turns, state.reason = 0, None
    state.counts.setdefault("running", 0)
    state.counts["passed"] = state.counts.get("passed", 0) + len(keys)
    return True


_WORKS = ("running", "queued", "retrying")


def _count_wait(state: RunState, at: float) -> None:
    """Count the time in which nothing but people keeps a run; what it has adopted was another run's."""
    only = bool(state.approvals) and not state.adopting and not any(map(state.counts.get, _WORKS))
    if only and state.asks_since is None:
        state.asks_since = at
    elif not only and state.asks_since is not None:
        state.waited += max(0.0, at - state.asks_since)
        state.asks_since = None


def _move(state: RunState, step: StepState, to: StepStatus) -> None:
    counts = state.counts
    counts[step.state] -= 1
    counts[to] = counts.get(to, 0) + 1
    step.state = to


def _add(state: RunState, step: StepState) -> StepState:
    state.steps[step.key] = step
    state.counts[step.state] = state.counts.get(step.state, 0) + 1
    return step


_TOLD_LATE = frozenset({"done", "retry", "lost"})
"""Types that say of an attempt that it is over, and how many seconds it took."""


def _began(state: RunState, entry: Entry) -> float:
    """When what an entry tells of began; what is adopted is older than the run."""
    seconds: float | None = (entry.data or {}).get("seconds") if entry.type in _TOLD_LATE else None
    if not seconds:
        return entry.at
    first = 0.0 if state.ancestry is not None and state.adopting else state.created_at
    return max(first, entry.at - seconds)


def _step(state: RunState, entry: Entry) -> StepState:
    """The entry's step; an inline one that is first heard of now is added."""
    step = state.steps.get(entry.key)
    if step is None:
        inline = (entry.data or {}).get("inline") or {}
        name = inline.get("name") or entry.key.rpartition("#")[0]
        kind, began = inline.get("kind", "do"), _began(state, entry)
        step = _add(state, StepState(entry.key, name, kind, "running", began, inline.get("fingerprint")))
    return step


def _close(state: RunState, step: StepState, to: StepStatus, at: float) -> None:
    _move(state, step, to)
    step.ended_at = at
    step.due = None
    step.held = False
    state.timers.pop(step.key, None)
    state.approvals.pop(step.key, None)
    state.inflight.pop(step.key, None)
    if state.ancestry is not None:
        step.origin = state.ancestry.origin_of(state.seq)


def _end_attempt(step: StepState, entry: Entry, to: Literal["passed", "failed", "lost", "cancelled"]) -> None:
    """Close the attempt that runs; an inline one is told about only now that it is over."""
    data = entry.data or {}
    if not step.attempts or step.attempts[-1].state != "running":
        if to == "cancelled" or (step.kind != "do" and not entry.attempt):
            return
        started = max(step.asked_at, entry.at - float(data.get("seconds") or 0.0))
        step.attempt = entry.attempt or step.attempt + 1
        step.attempts.append(AttemptState(step.attempt, "running", started))
    last = step.attempts[-1]
    last.state, last.ended_at = to, entry.at
    last.error, last.exit_code = data.get("error"), data.get("exit_code")
    last.connections = data.get("connections")
    last.reason = str(data.get("reason") or "").removeprefix("lost: ") if to == "lost" else ""


def _created(state: RunState, entry: Entry) -> None:
    data = state.first = entry.data
    state.tenant, state.scope, state.number = data["tenant"], data["scope"], data["number"]
    state.title, state.metadata, state.params = data["title"], data["metadata"], data["params"]
    state.code, state.entry, state.created_at = data["code"], data["entry"], entry.at
    state.parent = data.get("parent")
    state.replay, state.python = data.get("replay", 1), data.get("python", "")
    state.round, state.offset = data.get("round", 1), data.get("offset", 0)
    state.ancestry = ancestry = Ancestry.of_json(data.get("ancestry"))
    if ancestry is not None:
        state.created_at = ancestry.at
        state.updated_at = max(entry.at, ancestry.at)  # earlier when the clock was set back
    state.order, state.held = Order.of_json(data.get("order")), bool(data.get("held"))


def _admitted(state: RunState, entry: Entry) -> None:
    state.held = False


def _continued(state: RunState, entry: Entry) -> None:
    data, fresh = entry.data, RunState(state.id)
    for one in fields(RunState):
        setattr(state, one.name, getattr(fresh, one.name))
    _created(state, entry)
    state.seq = state.since = entry.seq
    state.created_at, state.started_at, state.updated_at = data["created_at"], data["started_at"], entry.at
    state.event_ids, state.last_ids = set(data["event_ids"]), list(data["event_ids"])


def _asked(state: RunState, entry: Entry) -> None:
    data = entry.data
    kind: StepKind = data["kind"]
    due: float | None = data.get("due")
    if due is not None:
        state.timers[entry.key] = due
    if kind == "timer":
        return
    held = bool(data.get("held"))
    status: StepStatus = "waiting" if held or due is not None else _FIRST.get(kind, "waiting")
    step = StepState(entry.key, data["name"], kind, status, entry.at, data.get("fingerprint"), due=due, held=held)
    step.options, step.base, step.where = data["options"], tuple(data["base"]), data["where"]
    _add(state, step)
    if kind == "approval" or held:
        state.approvals[step.key] = None


_FIRST: Mapping[str, StepStatus] = {
    "run": "queued", "read": "queued", "image": "queued", "call": "queued", "binding": "running",
}  # fmt: skip


def _called(state: RunState, entry: Entry) -> None:
    step = state.steps[entry.key]
    step.child = entry.data
    _move(state, step, "waiting")


def _released(state: RunState, entry: Entry) -> None:
    step = state.steps[entry.key]
    step.held, step.released_by = False, entry.data.get("by")
    state.approvals.pop(step.key, None)
    if step.due is None:
        _move(state, step, "queued")


def _started(state: RunState, entry: Entry) -> None:
    step = state.steps[entry.key]
    _move(state, step, "running")
    step.attempt = entry.attempt
    step.attempts.append(AttemptState(entry.attempt, "running", entry.at, runner=entry.data.get("runner")))
    if step.started_at is None:
        step.started_at = entry.at


def _retry(state: RunState, entry: Entry) -> None:
    step = _step(state, entry)
    _end_attempt(step, entry, "failed")
    step.failures += 1
    step.losses = 0
    step.error, step.due = entry.data["error"], entry.data["due"]
    step.collected = entry.data.get("collected")
    state.timers[step.key] = entry.data["due"]
    state.inflight.pop(step.key, None)
    _move(state, step, "retrying")


def _lost(state: RunState, entry: Entry) -> None:
    step = _step(state, entry)
    _end_attempt(step, entry, "lost")
    step.losses += 1
    state.inflight.pop(step.key, None)
    _move(state, step, "queued" if step.kind != "do" else "running")


def _fired(state: RunState, entry: Entry) -> None:
    state.timers.pop(entry.key, None)
    step = state.steps.get(entry.key)
    if step is None or step.state not in OPEN:
        return
    step.due = None
    if step.state == "retrying":
        _move(state, step, "running" if step.kind == "do" else "queued")
    elif step.kind == "run":
        if not step.held:
            _move(state, step, "queued")
    elif step.kind == "sleep":
        _close(state, step, "passed", entry.at)
    else:
        kind = "EventTimeout" if step.kind == "event" else "ApprovalTimeout"
        step.error = {"type": kind, "message": f"{step.name!r} waited until its time was over.", "traceback": ""}
        _close(state, step, "failed", entry.at)


def _decision(state: RunState, entry: Entry) -> None:
    state.steps[entry.key].decisions.append(entry.data)


def _event(state: RunState, entry: Entry) -> None:
    data = entry.data
    if data.get("id") is not None:
        state.event_ids.add(data["id"])
        state.last_ids.append(data["id"])
        if len(state.last_ids) > 2 * EVENT_IDS:
            del state.last_ids[:EVENT_IDS]
    state.events[entry.seq] = EventState(entry.seq, entry.at, data["type"], data.get("payload"), data.get("id"))


def _took(state: RunState, entry: Entry) -> None:
    # The code had the event before the wait's time was over, though `fired` may stand earlier in the journal.
    step = state.steps[entry.key]
    event = state.events.pop(entry.data["event"], None)
    step.event, step.error = entry.data["event"], None
    step.value = event.payload if event else None
    _close(state, step, "passed", entry.at)


def _done(state: RunState, entry: Entry) -> None:
    data = entry.data
    if data["ok"] and entry.key not in state.steps and data.get("inline"):
        _passed_at_once(state, entry)
    else:
        _ended_attempt(state, entry, data)


def _ended_attempt(state: RunState, entry: Entry, data: Mapping[str, Any]) -> None:
    step = _step(state, entry)
    ok = bool(data["ok"])
    _end_attempt(step, entry, "passed" if ok else "failed")
    step.value, step.error = data.get("value"), None if ok else data.get("error")
    step.blob, step.collected, step.reused = data.get("blob"), data.get("collected"), data.get("reused")
    step.seconds, step.exit_code, step.layer = data.get("seconds"), data.get("exit_code"), data.get("layer")
    if step.started_at is None and step.attempts:
        step.started_at = step.attempts[0].started_at
    if step.layer:
        state.layers.append((entry.seq, step.layer))
    _close(state, step, "passed" if ok else "failed", entry.at)


def _passed_at_once(state: RunState, entry: Entry) -> None:
    """Do at once for a `step.do` what the others do one after the other: a long journal is full of such entries."""
    state.steps.pass_at_once((entry.key,), ((entry.at, entry.attempt, entry.data, state.created_at),))
    counts = state.counts
    counts.setdefault("running", 0)  # it was
    counts["passed"] = counts.get("passed", 0) + 1
    state.inflight.pop(entry.key, None)
    if state.ancestry is not None:
        step, began = state.steps[entry.key], _began(state, entry)
        step.asked_at = step.started_at = step.attempts[0].started_at = began
        step.origin = state.ancestry.origin_of(state.seq)


def _dropped(state: RunState, entry: Entry) -> None:
    if entry.key.startswith("~"):
        state.timers.pop(entry.key, None)
        return
    step = _step(state, entry)
    if step.state in OPEN:
        _end_attempt(step, entry, "cancelled")
        _close(state, step, "cancelled", entry.at)


def _cancel(state: RunState, entry: Entry) -> None:
    state.cancel = {**entry.data, "at": entry.at}


def _paused(state: RunState, entry: Entry) -> None:
    state.paused = {**entry.data, "at": entry.at}


def _resumed(state: RunState, entry: Entry) -> None:
    state.paused = None


def _overdue(state: RunState, entry: Entry) -> None:
    state.overdue = True


def _undoing(state: RunState, entry: Entry) -> None:
    state.undoing = True


def _turn_failed(state: RunState, entry: Entry) -> None:
    state.reason = entry.data["reason"]
    if entry.data.get("counted", True):
        state.failed_turns += 1
    state.inflight.clear()


def _ended(state: RunState, entry: Entry) -> None:
    final = entry.data["state"]
    if final not in FINISHED:
        raise Bug(f"Run {state.id!r} ended as {final!r}.")
    state.final, state.ended_at, state.paused = final, entry.at, None
    state.result, state.error = entry.data.get("result"), entry.data.get("error")
    state.reason = why_failed(state.error) if state.error else why_cancelled(state)
    for step in state.steps.values():
        if step.state in OPEN:
            _end_attempt(step, entry, "cancelled")
            began = step.attempts or step.child or step.kind not in TO_START
            _close(state, step, "cancelled" if began else "skipped", entry.at)
    state.timers.clear()
    state.approvals.clear()
    state.inflight.clear()


_APPLY = {
    "created": _created, "admitted": _admitted, "continued": _continued, "asked": _asked, "called": _called,
    "released": _released, "started": _started, "retry": _retry, "lost": _lost, "fired": _fired,
    "decision": _decision, "event": _event, "took": _took, "done": _done, "dropped": _dropped, "cancel": _cancel,
    "overdue": _overdue, "undoing": _undoing, "paused": _paused, "resumed": _resumed, "turn_failed": _turn_failed,
    "ended": _ended,
}  # fmt: skip
