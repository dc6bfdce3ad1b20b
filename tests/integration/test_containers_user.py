"""Container steps of a server that an ordinary user runs, who is in the group of the engine's socket; and of one whose
engine is elsewhere."""

import asyncio
import os
import shutil
import sys
import tempfile
import traceback
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from heavy import IMAGE, NoIsolates, attempt, nothing_left, run
from logged import Log

from stepwell_runners.executor import LocalExecutor

pytestmark = [
    pytest.mark.docker,
    pytest.mark.skipif(os.geteuid() != 0, reason="whoever is no ordinary user must be root to become one"),
]
SOCKET = Path("/var/run/docker.sock")


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory of the ordinary user."""
    directory = Path(tempfile.mkdtemp(prefix="stepwell-user-", dir="/var/tmp"))
    shutil.chown(directory, 65534, 65534)
    yield directory
    shutil.rmtree(directory)


async def _steps(place: Path, engine: Any) -> None:
    executor = LocalExecutor.at(place / "state", NoIsolates(), warm_containers=2)
    assert executor._containers.form == "copy"
    await _steps_over(executor)
    assert (place / "state" / "layers").stat().st_uid == 65534
    await nothing_left(executor, engine)


async def _steps_over(executor: LocalExecutor) -> None:
    """Run a step that starts cold, one that starts warm, and one with a service, on each other's files."""
    log, beside = Log(), {"db": {"image": IMAGE, "command": "echo up; sleep 60", "ready": "true"}}
    base = await run(executor, attempt("id -u; echo made > file", key="a#1", network=False), log)
    assert base.ok and base.layer and log.text == "0\n", (base, log.text)
    await executor.filled()
    warm = await run(executor, attempt("cat file; rm file; echo $$", (base.layer,), "b#1", network=False), log)
    assert warm.ok and warm.layer and log.text == "0\nmade\n1\n", (warm, log.text)
    last = attempt(
        "nslookup -type=a db > /dev/null && ls", (base.layer, warm.layer), "c#1", network=False, services=beside
    )
    seen = await run(executor, last, log)
    assert seen.ok and log.text == "0\nmade\n1\n", (seen, log.text)


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
async def test_an_ordinary_user_runs_steps_warm_ones_and_services(engine: Any, place: Path) -> None:
    if not SOCKET.exists() or SOCKET.stat().st_gid == 0:
        pytest.skip("the engine has no socket of a group's")
    child = os.fork()  # a program of its own could not read the modules of a checkout in root's home
    if child == 0:
        try:
            os.setgroups([SOCKET.stat().st_gid])
            os.setgid(65534)
            os.setuid(65534)
            asyncio.set_event_loop(None)
            asyncio._set_running_loop(None)
            asyncio.run(_steps(place, engine))
        except BaseException:
            (place / "why").write_text(traceback.format_exc())
        sys.stdout.flush()
        os._exit(0)
    await asyncio.to_thread(os.waitpid, child, 0)
    assert not (place / "why").exists(), (place / "why").read_text()


@asynccontextmanager
async def elsewhere() -> AsyncIterator[str]:
    """Give the address at which the engine is reached over TCP."""

    async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while block := await reader.read(1 << 16):
                writer.write(block)
                await writer.drain()
            writer.write_eof()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        back, on = await asyncio.open_unix_connection(str(SOCKET))
        await asyncio.gather(copy(reader, on), copy(back, writer))
        for one in (on, writer):
            one.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"tcp://127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def test_an_engine_elsewhere_is_sent_the_workspace_and_sends_the_layer_back(engine: Any, tmp_path: Path) -> None:
    if not SOCKET.exists():
        pytest.skip("the engine has no socket on this host")
    async with elsewhere() as host:
        executor = LocalExecutor.at(tmp_path / "state", NoIsolates(), docker_host=host, warm_containers=2)
        assert executor._containers.form == "copy"
        await _steps_over(executor)
        await nothing_left(executor, engine)
