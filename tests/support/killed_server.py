"""Run by the tests and killed: boots an isolate and a command, says who they are, waits."""

import asyncio
import sys
from pathlib import Path

from walled import isolates

from stepwell.engine.seams import Code, IsolateSpec
from stepwell_runners.spec import CommandSpec


async def main() -> None:
    where = isolates(Path(sys.argv[1]))
    await where.start()
    isolate = await where.open(IsolateSpec("acme", "turn", Code("digest", {}, "p.py:P")))
    command = await where.command(CommandSpec("acme", ("sh", "-c", "setsid sleep 1000 & sleep 1000"), cwd="/tmp"))
    print(isolate.pid, command.pid, flush=True)
    await command.wait()


asyncio.run(main())
