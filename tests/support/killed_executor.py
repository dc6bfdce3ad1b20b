"""Run by the tests and killed: begins one attempt in a container, says what it printed, waits.

Arguments: state directory, form, command, options as JSON; the second attempt of the same name waits for `warm`.
"""

import asyncio
import json
import sys
from pathlib import Path

from heavy import NoIsolates, attempt, run
from logged import Log

from stepwell_runners.containers import Containers
from stepwell_runners.executor import LocalExecutor


class Told(Log):
    """Says every byte at once."""

    def write(self, data: bytes) -> None:
        super().write(data)
        print(data.decode(), end="", flush=True)


async def main() -> None:
    state, form, command, options = Path(sys.argv[1]), sys.argv[2], sys.argv[3], json.loads(sys.argv[4])
    Containers.form = form  # type: ignore[assignment,method-assign]
    warm = options.pop("warm", False)
    executor = LocalExecutor.at(state, NoIsolates(), warm_containers=int(warm))
    if warm:
        assert (await run(executor, attempt("true", key="before#1", **options))).ok
        await executor.filled()
    await run(executor, attempt(command, **options), Told())
    print("over", flush=True)


asyncio.run(main())
