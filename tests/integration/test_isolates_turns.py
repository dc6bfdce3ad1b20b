"""Isolates for code and their zygotes."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from walled import execute, isolates, python, until

from stepwell.engine.seams import Code, IsolateSpec
from stepwell.errors import Unavailable
from stepwell_runners.cgroups import Cgroups
from stepwell_runners.isolates import ZygoteIsolates
from stepwell_runners.spec import CommandSpec

pytestmark = [pytest.mark.root, pytest.mark.asyncio(loop_scope="module")]
SPEC = IsolateSpec("acme", "turn", Code("digest", {}, "pipeline.py:P"))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def where(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[ZygoteIsolates]:
    started = isolates(tmp_path_factory.mktemp("isolates"))
    await started.start()
    yield started
    await started.stop()


async def test_code_runs_as_process_1_of_its_own_world(where: ZygoteIsolates) -> None:
    assert await execute(where, "import os; print(os.getpid(), os.getuid())") == "1 1000\n"


async def test_tree_is_the_read_only_workspace(where: ZygoteIsolates, tmp_path: Path) -> None:
    (tmp_path / "f").write_text("of the commit")
    code = (
        "import os; print(open('f').read(), os.getcwd())\ntry: open('f', 'a')\nexcept OSError as e: print(e.strerror)"
    )
    assert await execute(where, code, tmp_path) == "of the commit /workspace\nRead-only file system\n"


async def test_hash_seed_is_fixed_and_modules_are_there_before_the_fork(where: ZygoteIsolates) -> None:
    code = "import sys; print(hash('stepwell'), 'asyncio' in sys.modules, 'site' in sys.modules)"
    first, second = await execute(where, code), await execute(where, code)
    assert first == second
    assert first.endswith("True False\n")


async def test_isolates_share_nothing_that_they_write(where: ZygoteIsolates) -> None:
    look = "import os, builtins; print(os.path.exists('/tmp/x'), hasattr(builtins, 'x'))"
    code = f"{look}; open('/tmp/x', 'w'); builtins.x = 1"
    assert await execute(where, code) == await execute(where, code) == "False False\n"


async def test_threads_abort_and_randomness_work_after_a_raw_clone(where: ZygoteIsolates) -> None:
    threads = "import threading as t; x=[]; y=t.Thread(target=x.append, args=(1,)); y.start(); y.join(); print(x)"
    assert await execute(where, threads) == "[1]\n"
    code = "import random; print(random.random())"
    assert await execute(where, code) != await execute(where, code)
    ended = await python(where, "import os; os.abort()")
    assert ended.exit.reason == "killed by SIGABRT"


async def test_end_of_an_isolate_is_told_in_words(where: ZygoteIsolates) -> None:
    isolate = await where.open(SPEC)
    await asyncio.get_running_loop().sock_sendall(isolate.sock, b'"import os; os._exit(3)"\n')
    assert await isolate.ended() == "exit code 3"
    assert not (await isolate.exit()).lost
    isolate.sock.close()


async def test_closing_the_socket_ends_an_isolate(where: ZygoteIsolates) -> None:
    isolate = await where.open(SPEC)
    isolate.sock.close()
    assert await asyncio.wait_for(isolate.ended(), 60) == "exit code 0"


async def test_kill_ends_a_busy_isolate(where: ZygoteIsolates) -> None:
    isolate = await where.open(SPEC)
    await asyncio.get_running_loop().sock_sendall(isolate.sock, b'"while True: pass"\n')
    isolate.kill()
    assert await asyncio.wait_for(isolate.ended(), 60) == "killed by SIGKILL"
    isolate.sock.close()


async def test_isolates_boot_side_by_side(where: ZygoteIsolates) -> None:
    texts = await asyncio.gather(*(execute(where, f"print({n})") for n in range(20)))
    assert texts == [f"{n}\n" for n in range(20)]


async def test_worn_zygote_is_replaced_and_ends_with_its_last_isolate(tmp_path: Path) -> None:
    where = isolates(tmp_path, isolates_per_zygote=3)
    await where.start()
    first = await where.open(SPEC)
    parents = {_parent(first.pid)}
    async with asyncio.timeout(60):  # its successor starts in the background
        while len(parents) == 1:
            isolate = await where.open(SPEC)
            parents.add(_parent(isolate.pid))
            isolate.kill()
            await isolate.ended()
            isolate.sock.close()
    assert Path(f"/proc/{_parent(first.pid)}").exists()
    first.kill()
    assert await first.ended() == "killed by SIGKILL"
    first.sock.close()
    await where.stop()


async def test_isolates_of_a_dead_zygote_are_lost_and_the_next_one_boots(tmp_path: Path) -> None:
    where = isolates(tmp_path)
    await where.start()
    isolate = await where.open(SPEC)
    command = await where.command(CommandSpec("acme", ("sleep", "1000"), cwd="/tmp"))
    os.kill(_parent(isolate.pid), signal.SIGKILL)
    assert await asyncio.wait_for(isolate.ended(), 60) == "zygote died"
    end = await asyncio.wait_for(command.wait(), 60)
    assert (end.lost, end.code) == (True, None)
    await until(lambda: _state(command.pid) in ("gone", "Z"))  # who reaps it is the host's business
    assert await execute(where, "print('again')") == "again\n"
    isolate.sock.close()
    os.close(command.output)
    await where.stop()


async def test_killed_server_takes_its_isolates_along_and_leaves_no_cgroup_to_the_next(tmp_path: Path) -> None:
    script = Path(__file__).parents[1] / "support" / "killed_server.py"
    paths = os.pathsep.join([str(script.parent), *filter(None, sys.path)])
    server = subprocess.Popen(
        [sys.executable, str(script), str(tmp_path)], stdout=subprocess.PIPE, env=os.environ | {"PYTHONPATH": paths}
    )
    assert server.stdout is not None
    pids = [int(word) for word in server.stdout.readline().split()]
    zygote = _parent(pids[0])
    server.kill()
    server.wait()
    server.stdout.close()
    assert len(pids) == 2
    await until(lambda: all(_state(pid) in ("gone", "Z") for pid in (zygote, *pids)))
    found = Cgroups.find()
    assert not any(path for parent in found.parents.values() for path in parent.glob(f"stepwell-{server.pid}-*"))
    found.close()


async def test_stop_kills_what_runs_and_refuses_afterwards(tmp_path: Path) -> None:
    where = isolates(tmp_path)
    await where.start()
    command = await where.command(CommandSpec("acme", ("sleep", "1000"), cwd="/tmp"))
    await asyncio.wait_for(where.stop(), 60)
    assert not (await command.wait()).lost
    assert _state(command.pid) == "gone"
    with pytest.raises(Unavailable, match="stopped"):
        await where.open(SPEC)
    os.close(command.output)


async def test_entry_that_cannot_be_imported_is_named(tmp_path: Path) -> None:
    where = isolates(tmp_path, entry="no_such_module:serve")
    await where.start()
    with pytest.raises(Unavailable, match="no_such_module"):
        await where.open(SPEC)
    assert not (await where.probe())[0].ok
    await where.stop()


async def test_probe_tells_of_a_full_wall(where: ZygoteIsolates) -> None:
    found = {finding.name: finding for finding in await where.probe()}
    assert found["wall"].ok
    assert "root" in found["wall"].detail


def _parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[1])


def _state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except FileNotFoundError:
        return "gone"
