"""Children: runs that other runs make, and what the one's end means for the other.

A child is a run like any other, with its parent in its first entry. Code makes it by `step.call` and waits for its end,
or by `self.env.workflows` and does not. What connects the two that wait is written in one transaction, so neither can
know what the other does not:
  the child has ended              → `done` of the parent's step, drafted with the child's `ended`
  the parent gives the step up     → `cancel` of the child, drafted with the parent's `dropped` or `ended`
Only its creation takes two, since the child's number is known by then: the parent's step is `queued` until `called`
says which run it is. The id of the child follows from the parent and the step, so that a creation repeated after a
crash makes no second one; and a child that finds its parent not waiting for it any more is cancelled when it is taken
up. Meanwhile the parent hibernates: no task waits here.
"""

import hashlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from stepwell.authoring.calling import params_of
from stepwell.engine.control import draft_cancel, draft_termination
from stepwell.engine.entries import Entry
from stepwell.engine.live import Live
from stepwell.engine.order import Order
from stepwell.engine.parts import Parts
from stepwell.engine.specs import RunRef, RunSpec
from stepwell.engine.state import OPEN, RunState, StepState
from stepwell.errors import Conflict, Invalid, TryLater

BY = "stepwell"

Heritage = Callable[[RunState, str], Mapping[str, Any]]
"""(parent, entry of the child) → what the child's metadata say otherwise than those of its parent."""


def all_metadata(parent: RunState, entry: str) -> Mapping[str, Any]:
    """Let a child have the very metadata of its parent."""
    return {}


@dataclass(frozen=True)
class Child:
    """A run that the step `key` of another makes. Of this only entry, params and title are the code's to say."""

    id: str
    key: str
    entry: str
    params: Mapping[str, Any]
    title: str
    waits: bool = False  # the step waits for its end


@dataclass(frozen=True)
class Acts:
    """What children have the engine do: find a run, forget one that rests, create one."""

    load: Callable[[str], Live | None]
    forget: Callable[[Live], None]
    create: Callable[[RunSpec], Awaitable[RunRef]]


class Children:
    """Makes children, and keeps them in step with parents that wait. Belongs on the engine's loop."""

    def __init__(self, parts: Parts, heritage: Heritage, acts: Acts) -> None:
        self._parts = parts
        self._heritage = heritage
        self._acts = acts
        self._beginning: set[tuple[str, str]] = set()  # (run, key) of calls
        self._making: dict[str, int] = {}  # root of a tree → children under way

    async def make(self, parent: RunState, child: Child) -> RunRef:
        """Create a child; the same again gives the one there is. Raises Invalid, Conflict, TryLater."""
        spec = self._spec(parent, child)
        created = False
        if self._parts.journal.glance(child.id) is None:
            created = await self._create(parent, spec)
        known = self._acts.load(child.id)
        if known is None or (known.state.tenant, known.state.parent) != (spec.tenant, spec.parent):
            raise Conflict(f"The id {child.id!r} is taken by another run. Please report this.")
        self._acts.forget(known)
        return RunRef(known.id, known.state.number, created)

    async def _create(self, parent: RunState, spec: RunSpec) -> bool:
        root = root_of(parent)
        self._check_bounds(parent, root)
        self._making[root] = self._making.get(root, 0) + 1
        try:
            return (await self._acts.create(spec)).created
        finally:
            self._making[root] -= 1
            if not self._making[root]:
                del self._making[root]

    def _check_bounds(self, parent: RunState, root: str) -> None:
        limits, depth = self._parts.limits, depth_of(parent) + 1
        if depth > limits.child_depth:
            raise Invalid(
                f"This run is {depth - 1} deep below one that nobody made; at most {limits.child_depth} are allowed. "
                "Does a pipeline call itself? Call the steps from a function instead."
            )
        if self._parts.journal.descendants(root) + self._making.get(root, 0) >= limits.children:
            raise Invalid(
                f"There are {limits.children:,} runs below the first one already; no more are allowed. "
                "Do more in each of them."
            )

    def _spec(self, parent: RunState, child: Child) -> RunSpec:
        family = {
            "run": parent.id, "number": parent.number, "key": child.key, "root": root_of(parent),
            "depth": depth_of(parent) + 1, "waits": child.waits,
        }  # fmt: skip
        metadata = {**parent.metadata, **self._heritage(parent, child.entry)}
        return RunSpec(
            child.id, parent.tenant, parent.scope, child.title, metadata, child.params, parent.code, child.entry,
            family, order=Order(priority=parent.order.priority),
        )  # fmt: skip

    # -- step.call ----------------------------------------------------------------------------------------------------

    def queued(self, live: Live) -> list[str]:
        """Give the keys of calls that nobody has begun to make."""
        if live.state.paused or live.state.held:
            return []
        keys = [step.key for step in live.state.steps.values() if step.kind == "call" and step.state == "queued"]
        return [key for key in keys if (live.id, key) not in self._beginning and key not in live.withheld]

    async def begin(self, run: str, key: str) -> None:
        """Make the run that a queued step asks for."""
        parent = self._acts.load(run)
        if parent is None or (run, key) in self._beginning:
            return
        ref, refusal = None, ""
        self._beginning.add((run, key))
        try:
            ref = await self.make(parent.state, _called(parent.state, parent.state.steps[key]))
        except (Invalid, Conflict) as error:
            refusal = str(error)
        except TryLater:
            return  # nothing was kept; the run is taken up again when the disk has room
        finally:
            self._beginning.discard((run, key))
        parent = self._acts.load(run)
        if parent is not None:
            self._go_on(parent, key, ref, refusal)
            self._acts.forget(parent)

    def _go_on(self, parent: Live, key: str, ref: RunRef | None, refusal: str) -> None:
        step = parent.state.steps.get(key)  # none, if the run has gone on under a fresh journal
        child = self._acts.load(ref.id) if ref is not None else None
        if child is None:
            if step is not None and step.state == "queued":
                error = {"type": "CallRefused", "message": refusal, "traceback": ""}
                self._parts.commits.append(parent, "done", key, {"ok": False, "error": error, "seconds": 0.0})
        elif step is not None and step.state == "queued":
            self._parts.commits.append(parent, "called", key, {"run": child.id, "number": child.state.number})
            self._tell(child.state, parent)
        elif step is None or step.state not in OPEN:
            self._abandon(child, parent.state)
        if child is not None:
            self._acts.forget(child)

    # -- what one's entry means for the other -------------------------------------------------------------------------

    def heed(self, live: Live, entry: Entry) -> None:
        """Draft what an entry that was just drafted means for the runs that are connected by it."""
        if entry.type == "dropped":
            self._abandoned(live, [live.state.steps[entry.key]] if entry.key in live.state.steps else [])
        elif entry.type == "ended":
            steps = live.state.steps.values()
            self._abandoned(live, [step for step in steps if step.ended_at == live.state.ended_at])
            self._report(live)

    def check(self, live: Live) -> None:
        """See to what only a crash or another server can have left behind."""
        for step in list(live.state.steps.values()):
            if step.kind == "call" and step.state == "waiting" and step.child is not None:
                child = self._acts.load(step.child["run"])
                if child is not None:
                    self._tell(child.state, live)
                    self._acts.forget(child)
        family = live.state.parent
        if family is not None and family.get("waits") and not live.state.finished:
            self._check_parent(live, family)

    def _check_parent(self, child: Live, family: Mapping[str, Any]) -> None:
        parent = self._acts.load(family["run"])
        step = parent.state.steps.get(family["key"]) if parent is not None else None
        if parent is None or step is None or step.state not in OPEN or child_id(parent.id, step.key) != child.id:
            self._abandon(child, parent.state if parent is not None else None)
        if parent is not None:
            self._acts.forget(parent)

    def _abandoned(self, parent: Live, steps: list[StepState]) -> None:
        for step in steps:
            if step.kind == "call" and step.state in {"cancelled", "skipped"}:
                # It may be there and not known as the step's yet.
                child = self._acts.load(child_id(parent.id, step.key))
                if child is not None:
                    self._abandon(child, parent.state)
                    self._acts.forget(child)

    def _abandon(self, child: Live, parent: RunState | None) -> None:
        cancel = (parent.cancel if parent is not None else None) or {}
        who = f"run #{parent.number}" if parent is not None else "the run"
        reason = f"{who}, which called it, waits for it no more"
        if cancel.get("now"):
            draft_termination(child, self._parts, BY, reason)
        else:
            draft_cancel(child, self._parts, BY, reason, bool(cancel.get("undo")))

    def _report(self, child: Live) -> None:
        if child.state.parent is not None and child.state.parent.get("waits"):
            parent = self._acts.load(child.state.parent["run"])
            if parent is not None:
                self._tell(child.state, parent)
                self._acts.forget(parent)

    def _tell(self, child: RunState, parent: Live) -> None:
        """Draft the result of the parent's step if its run has ended and it waits for exactly this one."""
        if not child.finished or child.parent is None:
            return
        step = parent.state.steps.get(child.parent["key"])
        if step is None or step.kind != "call" or step.state not in OPEN or child_id(parent.id, step.key) != child.id:
            return
        if step.child is None:
            self._parts.commits.append(parent, "called", step.key, {"run": child.id, "number": child.number})
        seconds = max(0.0, (child.ended_at or 0.0) - (child.started_at or child.created_at))
        data = {**self._outcome(child, parent), "seconds": round(seconds, 6)}
        self._parts.commits.append(parent, "done", step.key, data)

    def _outcome(self, child: RunState, parent: Live) -> dict[str, Any]:
        if child.state == "passed" and parent.size < self._parts.limits.journal_bytes:
            return {"ok": True, "value": child.result}
        message = f"run #{child.number} ({child.entry.rpartition(':')[2] or child.title}) {_ending(child)}"
        traceback = str((child.error or {}).get("traceback") or "")
        return {"ok": False, "error": {"type": "CallFailed", "message": message, "traceback": traceback}}


def child_id(run: str, key: str) -> str:
    """Give the id of the run that a step calls."""
    return hashlib.sha256(f"call\0{run}\0{key}".encode()).hexdigest()[:24]


def root_of(state: RunState) -> str:
    """Give the id of the first run of a tree: this one, when no other made it."""
    return str(state.parent["root"]) if state.parent else state.id


def depth_of(state: RunState) -> int:
    """Count the runs above a run."""
    return int(state.parent["depth"]) if state.parent else 0


def _called(parent: RunState, step: StepState) -> Child:
    entry, event = str(step.options["entry"]), step.options.get("event") or {}
    params = params_of(parent.params, event)
    title = entry if parent.title == parent.entry else parent.title  # one that nobody gave
    return Child(child_id(parent.id, step.key), step.key, entry, params, title, waits=True)


def _ending(child: RunState) -> str:
    if child.state == "passed":
        return "passed, but its result finds no room in the journal of this run."
    if child.state == "cancelled" and child.error is None:
        return f"was {child.reason}."
    return f"{'was ' if child.state == 'cancelled' else ''}{child.state}: {child.reason}"
