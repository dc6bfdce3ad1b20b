"""Restarting runs of a bulk from their rows."""

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

    `step` is a key, or a name that only one step has; "" is where the run ended. Raises what Workflows.restart does.
    """
    bound = {name: row.metadata[name] for name in ("tenant",) if name in row.metadata}
    run = await bind(engine, bound, tenant=row.tenant, scope=row.scope).get(row.id)
    made = await run.restart(step, id=successor, metadata=added(await run.status()))
    return made.id
