"""Many tenants side by side, one of them hostile in processors, memory, processes, disk and output.

The others pass whatever it does, and each of its attempts ends at the limit that it went beyond. The soak has a hundred
tenants, 99 honest steps at any time, and also holds their time: its 95th percentile at most doubles. It wants a machine
with nothing else to do, and minutes: `STEPWELL_SOAK=1 pytest -s tests/integration/test_isolates_neighbours.py`.
"""

import asyncio
import dataclasses
import os
import statistics
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from logged import Log, attempt

from stepwell.engine.seams import Prepared
from stepwell_runners.command import CommandProcess
from stepwell_runners.executor import LocalExecutor
from stepwell_runners.isolates import ZygoteIsolates
from stepwell_runners.spec import CommandSpec
from stepwell_runners.streaming import Bounds

SOAK = bool(os.environ.get("STEPWELL_SOAK"))
TENANTS = 99 if SOAK else 6
STEPS = 5 if SOAK else 2  # of each tenant, one after the other, before and beside the hostile one
HONEST = "echo here > file; seq 1 20000 | sort -n | tail -1"
FORKS = """
import os, time
while True:
    try:
        if not os.fork():
            while True: pass
    except OSError:
        time.sleep({seconds}); raise
"""
BOMBS: dict[str, str | list[str]] = {
    "TooMuchOutput": "yes",
    "OutOfMemory": "tail /dev/zero",
    "TooMuchDisk": "i=0; while :; do i=$((i+1)); head -c 4M /dev/zero > f$i; sleep 0.02; done",
    "TooManyProcesses": ["python", "-c", FORKS.format(seconds=20 if SOAK else 3)],
}

pytestmark = [pytest.mark.root, pytest.mark.timeout(600 if SOAK else 300)]


@pytest.fixture
async def isolates(tmp_path: Path) -> AsyncIterator[ZygoteIsolates]:
    started = ZygoteIsolates(tmp_path, lambda _: tmp_path)
    await started.start()
    if not started.walled or not started.divides_processors:
        pytest.skip("this host gives no wall, or no cgroups for processors")
    yield started
    await started.stop()


@pytest.fixture
def executor(isolates: ZygoteIsolates, tmp_path: Path) -> LocalExecutor:
    return LocalExecutor.at(tmp_path, isolates, bounds=Bounds(output=8 << 20, disk=64 << 20))


async def _seconds(executor: LocalExecutor, tenant: int) -> float:
    """What one honest step takes."""
    asked = dataclasses.replace(attempt(HONEST), tenant=f"honest-{tenant}", run=f"run-{tenant}")
    log, begun = Log(), time.monotonic()
    outcome = await executor.execute(asked, Prepared(), log)
    assert outcome.ok, outcome.error
    assert log.text == "20000\n"
    return time.monotonic() - begun


async def _honest(executor: LocalExecutor, steps: int = STEPS) -> float:
    """The 95th percentile of what the steps of all honest tenants take, who do not wait for each other."""
    found: list[float] = []

    async def tenant(number: int) -> None:
        for _ in range(steps):
            found.append(await _seconds(executor, number))

    async with asyncio.TaskGroup() as tenants:
        for number in range(TENANTS):
            tenants.create_task(tenant(number))
    return statistics.quantiles(found, n=20)[-1]


async def _hostile(executor: LocalExecutor, kind: str, quiet: asyncio.Event) -> None:
    """Attack again and again, at once with what follows, until it is quiet; at least once."""
    while True:
        asked = dataclasses.replace(
            attempt(BOMBS[kind], memory=128 << 20, processes=64), tenant="hostile", run=f"hostile-{kind}"
        )
        outcome = await executor.execute(asked, Prepared(), Log())
        assert outcome.error is not None
        assert outcome.error["type"] == kind, outcome.error
        if quiet.is_set():
            return


def _weight(process: CommandProcess) -> int:
    """What its cgroup weighs, of 1024."""
    group = process.isolate.cgroup
    assert group is not None
    assert group.cpu is not None
    if (group.cpu / "cpu.shares").exists():
        return int((group.cpu / "cpu.shares").read_text())
    return round(int((group.cpu / "cpu.weight").read_text()) * 10.24)


async def test_many_isolates_of_a_tenant_weigh_little_more_than_one_of_another(isolates: ZygoteIsolates) -> None:
    many = [await isolates.command(CommandSpec("many", ("sleep", "1000"), cwd="/tmp")) for _ in range(5)]
    one = await isolates.command(CommandSpec("one", ("sleep", "1000"), cwd="/tmp"))
    assert [_weight(process) for process in many] == [256] * 5
    assert _weight(one) == 1024
    for process in (*many[1:], one):
        process.kill()
        await process.wait()
        os.close(process.output)
    assert _weight(many[0]) == 1024
    many[0].kill()
    await many[0].wait()
    os.close(many[0].output)


async def test_hostile_tenant_meets_its_limits_and_the_others_pass(executor: LocalExecutor) -> None:
    await _honest(executor, steps=1)  # warms up
    before = await _honest(executor)
    quiet = asyncio.Event()
    async with asyncio.TaskGroup() as attacks:
        for kind in BOMBS:
            attacks.create_task(_hostile(executor, kind, quiet))
        during = await _honest(executor)
        quiet.set()
    print(f"\n95th percentile of {TENANTS} tenants' steps: {before:.3f} s alone, {during:.3f} s beside a hostile one")
    if SOAK:
        assert during < 2 * before
