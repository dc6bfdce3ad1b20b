"""Dynamic workflows: one engine that runs code it has never seen, chosen for each run by the run's metadata.

    async with embedded("runs.db", load) as engine:
        workflows = bind(engine, {"tenant": "acme"})
        run = await workflows.create({"payload": 1})
        print((await run.finished()).result)

`load(metadata) -> Code` is asked whenever a run wakes. Metadata is kept with the run, out of reach of its code.
docs/dynamic-workflows.md says more.
"""

from stepwell.dynamic.binding import WorkflowsBinding
from stepwell.dynamic.embedding import embedded
from stepwell.dynamic.loading import pin, route
from stepwell.dynamic.workflows import Handle, Start, Status, Workflows, bind
from stepwell.engine.order import Order, Rate
from stepwell.engine.seams import Code

__all__ = [
    "Code", "Handle", "Order", "Rate", "Start", "Status", "Workflows", "WorkflowsBinding", "bind", "embedded", "pin",
    "route",
]  # fmt: skip
