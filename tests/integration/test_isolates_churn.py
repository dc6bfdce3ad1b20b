"""Isolates by the hundred: nothing of them stays behind, and nothing grows.

The soak boots 500 a minute for a quarter of an hour; the short version some hundred as fast as they go.
"""

import asyncio
import os
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio
from walled import children, execute, isolates, run

from stepwell_runners.isolate import CGROUP_SECONDS
from stepwell_runners.isolates import ZygoteIsolates
from stepwell_runners.mounts import remove_work
from stepwell_runners.spec import Directory, Egress, Overlay

SOAK = bool(os.environ.get("STEPWELL_SOAK"))
ROUNDS = 750 if SOAK else 15
AT_ONCE = 10
ROUND_SECONDS = 60 / (500 / AT_ONCE) if SOAK else 0.0
WARM_UP = 60 if SOAK else 5  # rounds until allocators and thread pools have their full size
GROWTH = 4 << 20  # bytes that server, zygote and mounter together may take on

pytestmark = [pytest.mark.root, pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(3600 if SOAK else 300)]


@dataclass(frozen=True)
class Traces:
    """What isolates could leave, counted."""

    descriptors: int
    mounts: int
    cgroups: int
    processes: int
    directories: int
    blanks: int


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def where(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[ZygoteIsolates]:
    started = isolates(tmp_path_factory.mktemp("isolates"), most_blanks=0)  # a pool of the same size all the time
    await started.start()
    yield started
    await started.stop()


async def test_hundreds_of_isolates_leave_nothing_and_take_no_memory(where: ZygoteIsolates, tmp_path: Path) -> None:
    for round_ in range(WARM_UP):
        await _round(where, tmp_path, round_)
    before, memory = await _settled(where, tmp_path), _memory(where)
    for round_ in range(ROUNDS):
        begun = time.monotonic()
        await _round(where, tmp_path, round_)
        await asyncio.sleep(max(0.0, begun + ROUND_SECONDS - time.monotonic()))
    assert await _settled(where, tmp_path, before) == before
    assert _memory(where) < memory + GROWTH


async def _round(where: ZygoteIsolates, place: Path, number: int) -> None:
    """Turns and commands of two tenants, with trees, layers, a network, daemons, violent ends."""
    await asyncio.gather(*(_one(where, place, n, f"{number}-{n}") for n in range(AT_ONCE)))


async def _one(where: ZygoteIsolates, place: Path, kind: int, name: str) -> None:
    tenant = ("acme", "other")[kind % 2]
    if kind < 4:
        text = await execute(where, "print(open('/proc/self/stat').read()[:3])", place, tenant)
        assert text.startswith("1 (")
    elif kind < 8:
        folder = place / name
        overlay = Overlay((place,), folder / "upper", folder / "work")
        for path in (overlay.upper, overlay.work):
            path.mkdir(parents=True)
        script = "echo here > made; setsid sleep 100 & (sleep 100 &); true"
        ended = await run(where, script, workspace=overlay, cwd="/workspace", tenant=tenant)
        assert ended.exit.code == 0
        assert (overlay.upper / "made").read_text() == "here\n"
        remove_work(overlay.work)
        (overlay.upper / "made").unlink()
        overlay.upper.rmdir()
        folder.rmdir()
    elif kind == 8:
        ended = await run(where, "echo $https_proxy; kill -9 $$", network=Egress(), tenant=tenant)
        assert ended.exit.reason == "killed by SIGKILL"
    else:
        ended = await run(where, "ls missing", workspace=Directory(place, read_only=True), tenant=tenant)
        assert ended.exit.code == 2


async def _settled(where: ZygoteIsolates, place: Path, wanted: Traces | None = None) -> Traces:
    """Count when the pool is full again and the kernel has counted cgroups empty."""
    for _ in range(1000):
        await where.filled()
        found = _traces(where, place)
        if found == wanted:
            break
        if wanted is None and _blanks_alone(where, found) and found == await _a_moment_later(where, place):
            break
        await asyncio.sleep(0.01)
    return found


def _blanks_alone(where: ZygoteIsolates, found: Traces) -> bool:
    """Whether all that the zygote has, and all cgroups, are of blanks."""
    zygote, _ = _helpers(where)
    return len(children(zygote)) == found.blanks and found.cgroups == len(where._cgroups.parents) * found.blanks


async def _a_moment_later(where: ZygoteIsolates, place: Path) -> Traces:
    await asyncio.sleep(CGROUP_SECONDS + 0.2)
    return _traces(where, place)


def _traces(where: ZygoteIsolates, place: Path) -> Traces:
    processes = [os.getpid(), *_helpers(where)]
    name = where._cgroups._name  # other servers may run here
    folders = [path for parent in where._cgroups.parents.values() for path in parent.glob(f"{name}/i*")]
    return Traces(
        descriptors=sum(len(list(Path(f"/proc/{pid}/fd").iterdir())) for pid in processes),
        mounts=sum(_mounts(pid, place, where.state) for pid in processes),
        cgroups=len(folders),
        processes=sum(len(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()) for pid in processes),
        directories=sum(1 for top in (place, where.state) for _ in top.rglob("*")),
        blanks=len(where.standing()),
    )


def _mounts(pid: int, place: Path, state: Path) -> int:
    """What this process sees mounted: all in a namespace of its own, in the host's what is ours and not others'."""
    lines = Path(f"/proc/{pid}/mountinfo").read_text().splitlines()
    at_root = next(line for line in lines if line.split()[4] == "/")
    if " - tmpfs " in at_root:  # the zygote's
        return len(lines)
    return sum(str(place) in line or str(state) in line for line in lines)


def _helpers(where: ZygoteIsolates) -> list[int]:
    """Zygote and mounter."""
    assert where._blanks is not None
    zygote = where._blanks._zygotes.in_use
    assert zygote is not None
    assert zygote.link.process is not None
    assert where._mounts is not None
    assert where._mounts._link is not None
    assert where._mounts._link.process is not None
    return [zygote.link.process.pid, where._mounts._link.process.pid]


def _memory(where: ZygoteIsolates) -> int:
    """Bytes that server, zygote and mounter hold for themselves."""
    found = 0
    for pid in (os.getpid(), *_helpers(where)):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Private_Dirty"):
                found += int(line.split()[1]) << 10
    return found
