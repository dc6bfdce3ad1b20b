"""Dynamic workflows: one engine that runs code it has never seen, chosen for each run by the run's metadata.

    isolates = ProcessIsolates()
    engine = Engine(SqliteJournal("runs.db"), isolates, route(load), logs=NoLogs())
    await engine.start()
    workflows = bind(engine, {"tenant": "acme"})
    handle = await workflows.create(params={"n": 1})
    print((await handle.finished()).result)

`load(metadata) -> Code` is asked whenever a run wakes. Metadata is kept with the run, out of reach of its code.
docs/dynamic-workflows.md says more.
"""

from stepwell.dynamic.binding import WorkflowsBinding
from stepwell.dynamic.loading import pin, route
from stepwell.dynamic.workflows import Handle, Start, Status, Workflows, bind
from stepwell.engine.order import Order, Rate
from stepwell.engine.seams import Code

__all__ = [
    "Code", "Handle", "Order", "Rate", "Start", "Status", "Workflows", "WorkflowsBinding", "bind", "pin", "route",
]  # fmt: skip
