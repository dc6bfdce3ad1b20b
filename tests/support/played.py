"""Pipelines that tests of `play` play."""

from asyncio import gather
from collections.abc import Callable
from typing import Any

from stepwell import Event, Pipeline, Step

Run = Callable[[Any, Event, Step], Any]
PUSH = {"kind": "push", "branch": "main", "number": 7}


def pipeline(run: Run) -> type[Pipeline]:
    """Make a class of a run method."""
    return type("P", (Pipeline,), {"run": run})


class Ship(Pipeline):
    """Check; ship main after a yes."""

    async def run(self, event: Event, step: Step) -> Any:
        await gather(
            step.run("lint", "ruff check"), *(step.run(f"test {v}", "pytest", retries=1) for v in ("3.11", "3.12"))
        )
        version = await step.do("version", next_version, event.number)
        if event.branch == "main":
            yes = await step.approval(f"Ship {version}?", fields={"where": ["eu", "us"]}, timeout="7 days")
            await step.run("deploy", f"./deploy.sh {version}", environment="production")
            return yes.by, yes.fields
        return version


def next_version(number: int) -> str:
    """Make a version of a run's number."""
    return f"1.0.{number}"
