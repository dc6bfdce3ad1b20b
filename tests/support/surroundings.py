"""What an attacker would like to reach: a server and its files, a service on loopback, and the step of a victim."""

import ctypes
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from stepwell_runners.isolates import ZygoteIsolates
from stepwell_runners.mounts import remove_work
from stepwell_runners.spec import CommandSpec, Overlay

_CREATE, _REMOVE = 0o1600, 0


@asynccontextmanager
async def surroundings(where: ZygoteIsolates, place: Path) -> AsyncIterator[dict[str, object]]:
    """Names and numbers for the places in `attempts.ATTEMPTS`, and behind them what they name."""
    secret, shared = place / "secret", Path(f"/dev/shm/stepwell-test-{os.getpid()}")
    for path in (secret, shared, where.state / "stepwell.db", where.state / "key"):
        path.write_text("of the host")
    overlay = Overlay((place / "lower",), place / "upper", place / "work")
    for path in (*overlay.lowers, overlay.upper, overlay.work):
        path.mkdir(exist_ok=True)
    libc = ctypes.CDLL(None)
    segment = libc.shmget(key := 0x57E9_0000 | os.getpid() & 0xFFFF, 1, _CREATE)
    os.environ["TEST_SECRET"] = "of the server"
    spec = CommandSpec("victim", ("sleep", "3600"), {"KEY": "theirs"}, workspace=overlay, files={"key": b"theirs"})
    victim = await where.command(spec)
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket(socket.AF_UNIX) as abstract:
        abstract.bind(f"\0stepwell-test-{os.getpid()}")
        abstract.listen()
        yield {
            "port": server.getsockname()[1],
            "abstract": abstract.getsockname().decode(),
            "secret": str(secret),
            "state": str(where.state),
            "theirs": str(overlay.upper),
            "shared": shared.name,
            "key": key,
            "pid": os.getpid(),
            "victim": victim.pid,
            "zygote": int(Path(f"/proc/{victim.pid}/stat").read_text().rsplit(")", 1)[1].split()[1]),
        }
    victim.kill()
    await victim.wait()
    os.close(victim.output)
    remove_work(overlay.work)
    libc.shmctl(segment, _REMOVE, None)
    shared.unlink()
    del os.environ["TEST_SECRET"]
