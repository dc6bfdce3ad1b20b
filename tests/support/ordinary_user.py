"""Run by the tests as an ordinary user: boots isolates and prints what it found as JSON."""

import asyncio
import json
import sys
from pathlib import Path

from attempts import ATTEMPTS, attack
from walled import execute, isolates, python, run

from stepwell.engine.seams import Code, IsolateSpec
from stepwell_runners.isolates import ZygoteIsolates
from stepwell_runners.mounts import remove_work
from stepwell_runners.spec import Overlay


async def _attempts(where: ZygoteIsolates, around: dict[str, object]) -> dict[str, str]:
    found = {}
    for name, (code, expected) in ATTEMPTS.items():
        text = (await python(where, attack(code.format(state=str(where.state), **around)))).text.split()
        if text[:1] != ["refused"] or text[1] not in expected:
            found[name] = " ".join(text)
    return found


async def main() -> None:
    directory, around = Path(sys.argv[1]), json.loads(sys.argv[2])
    where = isolates(directory)
    await where.start()
    overlay = Overlay((directory / "lower",), directory / "upper", directory / "work")
    for name in ("lower", "upper", "work"):
        (directory / name).mkdir()
    (directory / "lower" / "f").write_text("base")
    command = await run(where, "cat f; echo more >> f; rm -f g; id -u", cwd="/workspace", workspace=overlay)
    await where.filled()
    standing = where.standing()
    isolate = await where.open(IsolateSpec("acme", "turn", Code("digest", {}, "p.py:P", tree=str(directory / "lower"))))
    isolate.kill()
    isolate.sock.close()
    found = {
        "claimed": isolate.pid in standing,
        "mode": where.mode,
        "findings": {finding.name: finding.ok for finding in await where.probe()},
        "command": command.text,
        "upper": (directory / "upper" / "f").read_text(),
        "lower": (directory / "lower" / "f").read_text(),
        "turn": await execute(where, "import os; print(os.getpid(), os.getuid())"),
        "got_through": await _attempts(where, around),
    }
    await where.stop()
    remove_work(directory / "work")
    print(json.dumps(found))


asyncio.run(main())
