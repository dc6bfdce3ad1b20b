"""Isolates for tests: an entry that executes what it is sent, and helpers that run one command to its end."""

import asyncio
import json
import os
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stepwell.engine.seams import Code, IsolateSpec
from stepwell_runners.command import CommandProcess
from stepwell_runners.isolates import ZygoteIsolates
from stepwell_runners.options import IsolateOptions
from stepwell_runners.spec import CommandSpec, Exit

ENTRY = """
import contextlib, io, json, traceback

def serve(sock):
    names = {}
    for line in sock.makefile("rb"):
        text = io.StringIO()
        with contextlib.redirect_stdout(text):
            try:
                exec(json.loads(line), names)
            except BaseException as error:
                print("raised", type(error).__name__, error)
        sock.sendall(json.dumps(text.getvalue()).encode() + b"\\n")
"""


@dataclass(frozen=True)
class Ended:
    """A command that has run to its end."""

    text: str
    exit: Exit


def isolates(directory: Path, **options: Any) -> ZygoteIsolates:
    """Isolates whose state is below `directory` and whose code is what they are sent."""
    entry = directory / "executes.py"
    entry.write_text(ENTRY)
    chosen = IsolateOptions(**{"entry": "executes:serve", "library": {"executes.py": entry}} | options)
    return ZygoteIsolates(directory / "state", Path, chosen)


async def read_all(process: CommandProcess) -> str:
    """Everything the command prints until nobody can print any more."""
    loop = asyncio.get_running_loop()
    text = b""
    while True:
        try:
            chunk = os.read(process.output, 1 << 16)
        except BlockingIOError:
            ready: asyncio.Event = asyncio.Event()
            loop.add_reader(process.output, ready.set)
            await ready.wait()
            loop.remove_reader(process.output)
            continue
        if not chunk:
            os.close(process.output)
            return text.decode(errors="replace")
        text += chunk


async def run(where: ZygoteIsolates, script: str, **spec: Any) -> Ended:
    """Run a shell script to its end."""
    tenant = spec.pop("tenant", "acme")
    process = await where.command(CommandSpec(tenant, ("sh", "-c", script), **{"cwd": "/tmp"} | spec))
    return Ended(await read_all(process), await process.wait())


async def python(where: ZygoteIsolates, code: str, **spec: Any) -> Ended:
    """Run Python code as a command to its end."""
    tenant = spec.pop("tenant", "acme")
    process = await where.command(CommandSpec(tenant, ("python", "-c", code), **{"cwd": "/tmp"} | spec))
    return Ended(await read_all(process), await process.wait())


async def execute(where: ZygoteIsolates, code: str, tree: Path | None = None, tenant: str = "acme") -> str:
    """Execute code in a turn's isolate; what it printed."""
    isolate = await where.open(
        IsolateSpec(tenant, "turn", Code("digest", {}, "p.py:P", tree=str(tree) if tree else None))
    )
    loop = asyncio.get_running_loop()
    await loop.sock_sendall(isolate.sock, json.dumps(code).encode() + b"\n")
    answer = b""
    while not answer.endswith(b"\n"):
        chunk = await loop.sock_recv(isolate.sock, 1 << 16)
        if not chunk:
            break
        answer += chunk
    isolate.sock.close()
    isolate.kill()
    await isolate.ended()
    return str(json.loads(answer)) if answer else ""


async def until(fact: Callable[[], object], seconds: float = 60) -> None:
    """Wait until something is so, however many others use the machine."""
    async with asyncio.timeout(seconds):
        while not fact():
            await asyncio.sleep(0.01)


async def until_full(where: ZygoteIsolates, size: int) -> set[int]:
    """Wait until so many blanks stand; their pids as the host sees them."""
    await until(lambda: len(where.standing()) >= size)
    return set(where.standing())


def alive(pids: Iterable[int]) -> list[int]:
    """Those of these processes that are there, as one that has ended is until it is reaped."""
    return [pid for pid in pids if Path(f"/proc/{pid}").exists()]


def children(pid: int) -> list[int]:
    """The processes that this one has started and not reaped."""
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def running(words: Sequence[str]) -> list[int]:
    """Processes of the host with this command."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if (entry / "cmdline").read_text() == "".join(f"{word}\0" for word in words):
                found.append(int(entry.name))
    return found
