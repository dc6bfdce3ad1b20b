"""Restarting a run that has ended, from the step at which it came to its end."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from stepwell.dynamic.workflows import bind
from stepwell.engine.engine import Engine
from stepwell.engine.state import RunState

if TYPE_CHECKING:
    from stepwell.store.journal import RunRow


async def restart(
    engine: Engine, row: "RunRow", step: str, successor: str, added: Callable[[RunState], Mapping[str, Any]]
) -> str:
    """Create the run that goes on instead of this one, and give its id.

    `step` is a key; "" is the step that ended the run, and when none did, everything is run again. Raises what
    Workflows.restart and Workflows.create do.
    """
    bound = {name: row.metadata[name] for name in ("tenant",) if name in row.metadata}
    workflows = bind(engine, bound, tenant=row.tenant, scope=row.scope)
    state = await (await workflows.get(row.id)).status()
    metadata = {**state.metadata, **added(state)}
    step = step or ended_at(state)
    if step:
        return (await workflows.restart(row.id, step, id=successor, metadata=metadata)).id
    made = await workflows.create(
        state.params, id=successor, metadata=metadata, title=state.title, code=state.code,
        entry=state.entry,
    )  # fmt: skip
    return made.id


def ended_at(state: RunState) -> str:
    """Name the step at which a run came to its end: the last that failed, else the first that was cut off; or ""."""
    failed = [step for step in state.steps.values() if step.state == "failed"]
    if failed:
        return max(failed, key=lambda step: step.ended_at or 0.0).key
    return next((step.key for step in state.steps.values() if step.state in {"cancelled", "skipped"}), "")
