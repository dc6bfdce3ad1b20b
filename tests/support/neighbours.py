"""A step of another tenant that listens in its container, and how a step asks for what it says."""

import asyncio
import dataclasses
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from heavy import attempt, run
from logged import Log

from stepwell_runners.executor import LocalExecutor

LISTEN = (
    "(while true; do echo theirs | nc -l -p 8080; done) & until netstat -ltn | grep -q :8080; do sleep 0.05; done; "
    "ip -4 addr show eth0 | sed -n 's/.*inet \\([0-9.]*\\).*/\\1/p'; wait"
)
ASK = "nc -w 2 {0} 8080 < /dev/null 2> /dev/null || echo refused"


@asynccontextmanager
async def listening(executor: LocalExecutor, **options: Any) -> AsyncIterator[str]:
    """Have a step of a neighbour listen; give its address."""
    log = Log()
    theirs = dataclasses.replace(attempt(LISTEN, key="theirs#1", **options), tenant="other", scope="other/api")
    running = asyncio.create_task(run(executor, theirs, log))
    try:
        await asyncio.wait_for(log.arrived.wait(), 60)
        yield log.text.split("\n")[0]
    finally:
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
