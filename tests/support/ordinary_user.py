"""Run by the tests as an ordinary user: boots isolates and prints what it found as JSON."""

import asyncio
import json
import sys
from pathlib import Path

from attempts import ATTEMPTS, PROCESS_1_ITSELF, attack
from surroundings import surroundings
from walled import execute, isolates, python, run

from stepwell.engine.seams import Code, IsolateSpec
from stepwell_runners import nameless
from stepwell_runners.isolates import ZygoteIsolates
from stepwell_runners.mounts import remove_work
from stepwell_runners.spec import CommandSpec, Overlay


async def _got_through(where: ZygoteIsolates, around: dict[str, object]) -> dict[str, str]:
    """What was not refused as it should be, to a command or to a turn's code."""
    found = {}
    for name, attempt in ATTEMPTS.items():
        program = attack(attempt, around)
        texts = {name: (await python(where, program)).text}
        if name not in PROCESS_1_ITSELF:
            texts[f"{name}, of a turn"] = await execute(where, program)
        for which, text in texts.items():
            if text.split()[:1] != ["refused"] or text.split()[1] not in attempt.refused:
                found[which] = text
    return found


async def _nameless(where: ZygoteIsolates, overlay: Overlay) -> int:
    """Bytes that a command holds in a file that it has removed, as the host finds them."""
    code = "import os, time; f = open('g', 'wb'); os.remove('g'); f.write(bytes(1 << 20)); f.flush(); time.sleep(100)"
    process = await where.command(CommandSpec("acme", ("python", "-c", code), workspace=overlay))
    async with asyncio.timeout(60):
        while not (found := nameless.held(process.init)):
            await asyncio.sleep(0.05)
    process.kill()
    await process.wait()
    return found


async def main() -> None:
    directory = Path(sys.argv[1])
    where = isolates(directory)
    await where.start()
    overlay = Overlay((directory / "lower",), directory / "upper", directory / "work")
    for name in ("lower", "upper", "work"):
        (directory / name).mkdir()
    (directory / "lower" / "f").write_text("base")
    second = Overlay((directory / "lower",), directory / "second" / "upper", directory / "second" / "work")
    for place in (second.upper, second.work):
        place.mkdir(parents=True)
    command = await run(where, "cat f; echo more >> f; rm -f g; id -u", cwd="/workspace", workspace=overlay)
    await where.filled()
    standing = where.standing()
    isolate = await where.open(IsolateSpec("acme", "turn", Code("digest", {}, "p.py:P", tree=str(directory / "lower"))))
    isolate.kill()
    isolate.sock.close()
    (directory / "host").mkdir()
    async with surroundings(where, directory / "host") as around:
        got_through = await _got_through(where, around)
    found = {
        "claimed": isolate.pid in standing,
        "mode": where.mode,
        "findings": {finding.name: finding.ok for finding in await where.probe()},
        "command": command.text,
        "nameless": await _nameless(where, second),
        "upper": (directory / "upper" / "f").read_text(),
        "lower": (directory / "lower" / "f").read_text(),
        "turn": await execute(where, "import os; print(os.getpid(), os.getuid())"),
        "got_through": got_through,
    }
    await where.stop()
    for mounted in (overlay, second):
        remove_work(mounted.work)
    print(json.dumps(found))


asyncio.run(main())
