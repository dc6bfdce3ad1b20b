"""Run by the tests and killed: a host of dynamic workflows, as somebody would embed it, for all tenants at once.

Arguments: the database, the folder of codes, and "go" when the tenants' events are to be sent. Says "up" when it runs,
and at the end how each tenant's run came out.
"""

import asyncio
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tenants import TENANTS, Tenant

from stepwell.dynamic import Code, Start, WorkflowsBinding, bind, pin, route
from stepwell.engine.engine import Engine
from stepwell.engine.local import NoLogs, ProcessIsolates
from stepwell.store.journal_sqlite import SqliteJournal

DATABASE, CODES, GO = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:] == ["go"]


async def load(metadata: Mapping[str, Any]) -> Code:
    return pin(**json.loads((CODES / f"{metadata['tenant']}.json").read_text()))


async def serve(engine: Engine, tenant: Tenant) -> tuple[str, list[Any]]:
    """Start the tenant's run, or find it; say how it ended."""
    workflows = bind(engine, {"tenant": tenant.name})
    (run,) = await workflows.create_batch([Start({"payload": tenant.number}, id=f"run of {tenant.name}")])
    if GO and tenant.wait == "event" and not (await run.status()).finished:
        await run.send_event(f"{tenant.word} go", tenant.payload, id="go")
    state = await run.finished()
    return tenant.name, [state.state, state.result or state.reason, sorted(state.steps)]


async def main() -> None:
    isolates = ProcessIsolates()
    engine = Engine(SqliteJournal(DATABASE), isolates, route(load), logs=NoLogs())
    engine.offer("workflows", WorkflowsBinding(engine))
    await engine.start()
    print("up", flush=True)
    ended = await asyncio.gather(*(serve(engine, tenant) for tenant in TENANTS))
    print(json.dumps(dict(ended)), flush=True)
    await engine.stop()
    await isolates.close()


asyncio.run(main())
