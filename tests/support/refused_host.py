"""Run by the tests on a host that refuses the wall: says so, and goes on without it when that is asked for."""

import asyncio
import json
import sys
from dataclasses import replace
from pathlib import Path

from walled import isolates, run

from stepwell.errors import Unavailable


async def main() -> None:
    where = isolates(Path(sys.argv[1]))
    await where.start()
    wall = (await where.probe())[0]
    found = {"ok": wall.ok, "detail": wall.detail, "remedy": wall.remedy}
    try:
        await run(where, "true")
    except Unavailable as error:
        found["raised"] = str(error)
    where.options = replace(where.options, wall="none")
    await where.start()
    found["demo"] = (await run(where, "echo anyway")).text
    await where.stop()
    print(json.dumps(found))


asyncio.run(main())
