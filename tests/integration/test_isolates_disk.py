"""Disk as a limit that is felt: what attackers hide from a count of their files, and what a tenant holds in all."""

import asyncio
import dataclasses
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from logged import Log, attempt

from stepwell.engine.seams import Outcome, Prepared
from stepwell_runners import nameless
from stepwell_runners.executor import LocalExecutor
from stepwell_runners.isolates import ZygoteIsolates
from stepwell_runners.spec import CommandSpec
from stepwell_runners.streaming import Bounds

pytestmark = [pytest.mark.root, pytest.mark.timeout(400)]  # who removes files meanwhile hides growth for a minute

FILL = """
import ctypes, mmap, os, time
def fill(file, size=48 << 20):
    for _ in range(size >> 20):
        os.write(file, bytes(1 << 20))
    os.fsync(file)
"""
HIDDEN = {
    "removed but open": "file = os.open('f', os.O_RDWR | os.O_CREAT); os.remove('f'); fill(file)",
    "never named": "fill(os.open('.', os.O_RDWR | os.O_TMPFILE))",
    "removed, closed, mapped": """
file = os.open('f', os.O_RDWR | os.O_CREAT)
os.remove('f')
fill(file)
kept = mmap.mmap(file, 4096)
os.close(file)
""",
    "set aside, not written": """
file = os.open('f', os.O_RDWR | os.O_CREAT)
os.remove('f')
os.posix_fallocate(file, 0, 48 << 20)
""",
    "by a daemon": """
if os.fork():
    time.sleep(400)
os.setsid()
file = os.open('f', os.O_RDWR | os.O_CREAT)
os.remove('f')
fill(file)
""",
    "by one that forks away all the time": """
file = os.open('f', os.O_RDWR | os.O_CREAT)
os.remove('f')
fill(file)
if os.fork():
    os.close(file)
    time.sleep(400)
while True:
    if os.fork():
        os._exit(0)
""",
    "deeper than a path may be long": """
for _ in range(20):
    os.mkdir('d' * 250)
    os.chdir('d' * 250)
fill(os.open('f', os.O_RDWR | os.O_CREAT))
""",
}


@pytest.fixture
async def isolates(tmp_path: Path) -> AsyncIterator[ZygoteIsolates]:
    started = ZygoteIsolates(tmp_path, lambda _: tmp_path)
    await started.start()
    if not started.walled:
        pytest.skip("this host gives no wall")
    yield started
    await started.stop()


async def _execute(executor: LocalExecutor, code: str, tenant: str = "acme", run: str = "run-1") -> Outcome:
    program = attempt(["python", "-c", f"{FILL}{code}\ntime.sleep(400)"], timeout=300.0)
    return await executor.execute(dataclasses.replace(program, tenant=tenant, run=run), Prepared(), Log())


@pytest.mark.parametrize("attack", HIDDEN)
async def test_hidden_files_count(isolates: ZygoteIsolates, tmp_path: Path, attack: str) -> None:
    executor = LocalExecutor.at(tmp_path, isolates, bounds=Bounds(disk=32 << 20))
    outcome = await _execute(executor, HIDDEN[attack])
    assert outcome.error is not None
    assert outcome.error["type"] == "TooMuchDisk", outcome.error
    assert "STEPWELL_STEP_DISK_GB" in outcome.error["message"]
    assert list((tmp_path / "work").iterdir()) == []


async def test_tenants_attempts_are_bounded_together_and_another_tenant_goes_on(
    isolates: ZygoteIsolates, tmp_path: Path
) -> None:
    bounds = Bounds(disk=100 << 20, tenant_disk=90 << 20)
    executor = LocalExecutor.at(tmp_path, isolates, bounds=bounds)
    write = "fill(os.open('f', os.O_RDWR | os.O_CREAT), {} << 20)"
    other = asyncio.create_task(_execute(executor, write.format(60), "other", "run-3"))
    small = asyncio.create_task(_execute(executor, write.format(40), "acme", "run-1"))
    large = asyncio.create_task(_execute(executor, write.format(70), "acme", "run-2"))
    done, going_on = await asyncio.wait({other, small, large}, return_when=asyncio.FIRST_COMPLETED)
    for task in going_on:
        task.cancel()
    await asyncio.wait(going_on)
    assert done == {large}
    error = large.result().error
    assert error is not None
    assert error["type"] == "TooMuchDisk"
    assert "the tenant's steps that run now" in error["message"]
    assert "STEPWELL_TENANT_DISK_GB" in error["message"]


async def test_files_in_memory_do_not_count_as_disk(isolates: ZygoteIsolates, tmp_path: Path) -> None:
    code = f"""{FILL}
for place in ("/tmp", "/dev/shm"):
    fill(os.open(place, os.O_RDWR | os.O_TMPFILE), 2 << 20)
fill(os.memfd_create("m"), 2 << 20)
print("written", flush=True)
time.sleep(400)
"""
    process = await isolates.command(CommandSpec("acme", ("python", "-c", code), cwd="/tmp"))
    written = asyncio.Event()
    asyncio.get_running_loop().add_reader(process.output, written.set)
    await written.wait()
    asyncio.get_running_loop().remove_reader(process.output)
    assert nameless.held(process.init) == 0
    process.kill()
    await process.wait()
