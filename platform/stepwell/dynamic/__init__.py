"""Dynamic workflows: one engine that runs code it has never seen, chosen for each run by the run's metadata.

    async with embedded("runs.db", load) as engine:
        workflows = bind(engine, {"tenant": "acme"})
        run = await workflows.create({"payload": 1})
        print((await run.finished()).result)

`load(metadata) -> Code` is asked whenever a run wakes. Metadata is kept with the run, out of reach of its code.
docs/dynamic-workflows.md says more.
"""

from stepwell.dynamic.binding import WorkflowsBinding
from stepwell.dynamic.bulk import Action, Bulk, Changed, Refused, Report, sweep
from stepwell.dynamic.dead import Dead, DeadRuns, Death, dead_runs
from stepwell.dynamic.embedding import embedded
from stepwell.dynamic.loading import pin, route
from stepwell.dynamic.workflows import Handle, Start, Status, Workflows, bind
from stepwell.engine.clock import TestClock
from stepwell.engine.local import LogLines
from stepwell.engine.order import Order, Rate
from stepwell.engine.seams import Code
from stepwell.engine.selection import Selection

__all__ = [
    "Action", "Bulk", "Changed", "Code", "Dead", "DeadRuns", "Death", "Handle", "LogLines", "Order", "Rate",
    "Refused", "Report", "Selection", "Start", "Status", "TestClock", "Workflows", "WorkflowsBinding", "bind",
    "dead_runs", "embedded", "pin", "route", "sweep",
]  # fmt: skip
