"""A restarted run: what it adopts, with rows and due times, ready to be written in the transaction that creates it."""

import asyncio
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from stepwell.engine.adoption import adopt
from stepwell.engine.entries import Entry
from stepwell.engine.fold import fold
from stepwell.engine.hearing import holds
from stepwell.engine.live import Live
from stepwell.engine.parts import Parts
from stepwell.engine.specs import Restart
from stepwell.engine.state import RunState, StepState
from stepwell.errors import Conflict, NotFound, Unavailable
from stepwell.store.journal import NewRun


async def successor(new: NewRun, restart: Restart, parts: Parts) -> NewRun:
    """Have a new run adopt another one's beginning. Raises NotFound, Conflict."""
    entries = parts.journal.entries(restart.run)
    if not entries:
        raise NotFound(f"There is no run {restart.run!r}.")
    source = fold(entries)
    if not source.finished:
        raise Conflict(
            f"Run #{source.number} is {source.state}. Cancel or terminate it first: "
            "steps that have run once must not run in two runs side by side."
        )
    same_code = new.data["code"] == source.code
    adoption = adopt(entries, restart.step, run=new.id, now=new.at, same_code=same_code)
    # The prefix was lived through under these.
    rules: dict[str, Any] = {"replay": source.replay, "python": source.python}
    if source.round > 1:
        rules |= {"round": source.round, "offset": source.offset}
    data = {**new.data, **rules, "ancestry": adoption.ancestry.as_json()}
    first = Entry(new.id, 1, entries[0].at, "created", "", 0, 0, {**data, "number": 0})
    live = _held_anew(_draft([first, *adoption.entries]), parts)
    await _require_layers(live.state, parts)
    await _adopt_blobs(live.state, restart.run, parts)
    write = live.write()
    write.entries = write.entries[1:]  # the first one gets its number from the journal
    return replace(new, data=data, adopted=write, began_at=first.at)


def _draft(entries: Iterable[Entry]) -> Live:
    live: Live | None = None
    for entry in entries:
        if live is None:
            live = Live(RunState(entry.run), 0, 0)
        live.add(entry, ack=False)
    assert live is not None
    return live


def _held_anew(live: Live, parts: Parts) -> Live:
    """Ask the gate about steps that will run again: the rules of today count, and what was adopted of decisions."""
    held = {step.key for step in live.state.steps.values() if _may_start(step) and holds(live, step, parts)}
    if not held:
        return live
    entries = (entry for entry, _ in live.draft)
    return _draft(_hold(entry) if entry.type == "asked" and entry.key in held else entry for entry in entries)


def _may_start(step: StepState) -> bool:
    return step.state == "queued" and bool(step.options.get("environment")) and step.released_by is None


def _hold(entry: Entry) -> Entry:
    return entry._replace(data={**entry.data, "held": True})


async def _adopt_blobs(state: RunState, source: str, parts: Parts) -> None:
    steps = state.steps.values()
    ids = list(dict.fromkeys(step.blob["id"] for step in steps if step.blob))
    lists = list(dict.fromkeys(step.collected["id"] for step in steps if step.collected))
    try:
        if ids or lists:
            await asyncio.to_thread(parts.blobs.adopt, state.id, source, ids, lists)
    except Unavailable as error:
        raise Conflict(
            f"{error} Restart from the step that made it or one before it, or run everything again."
        ) from error


async def _require_layers(state: RunState, parts: Parts) -> None:
    layers = [layer for _, layer in state.layers]
    if not layers or parts.executor is None:
        return
    missing = {layer for layer in layers if not parts.journal.layer_in_use(layer)}
    missing.update(await parts.executor.missing(layers))
    if missing:
        names = [step.name for step in state.steps.values() if step.layer in missing]
        raise Conflict(
            f"The files that step {names[0]!r} left are not kept any more: those of ended runs go after "
            "STEPWELL_KEEP_LAYERS_DAYS. Restart from that step or one before it, or run everything again."
        )
