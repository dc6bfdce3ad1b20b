"""Blanks: isolates made ahead. Each serves one tenant, once; until then it knows nothing, afterwards it is gone."""

import asyncio
import ctypes
import os
import secrets
import signal
import socket
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Literal

import pytest
import pytest_asyncio
from live import wait_until
from walled import ENTRY, alive, children, execute, isolates, run, until, until_full

from stepwell.engine.seams import Code, IsolateSpec
from stepwell_runners import blanks
from stepwell_runners.blank import Blank
from stepwell_runners.cgroups import Cgroup
from stepwell_runners.isolate import Isolate
from stepwell_runners.isolates import ZygoteIsolates
from stepwell_runners.link import Reply
from stepwell_runners.mounts import Mounts
from stepwell_runners.spec import CommandSpec, Directory, Limits, Mount

pytestmark = [pytest.mark.root, pytest.mark.asyncio(loop_scope="module")]
SIZE = 3


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def where(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[ZygoteIsolates]:
    started = isolates(tmp_path_factory.mktemp("isolates"), blanks=SIZE, most_blanks=SIZE)
    await started.start()
    yield started
    await started.stop()


def _spec(tenant: str) -> IsolateSpec:
    return IsolateSpec(tenant, "turn", Code("digest", {}, "pipeline.py:P"))


async def _close(isolate: Isolate) -> None:
    isolate.kill()
    await isolate.ended()
    isolate.sock.close()


async def test_blank_serves_one_tenant_once_and_another_takes_its_place(where: ZygoteIsolates) -> None:
    seen: set[int] = set()
    uids = set()
    for tenant in ("acme", "other", "acme", "other"):
        standing = await until_full(where, SIZE)
        assert not standing & seen
        isolate = await where.open(_spec(tenant))
        assert isolate.pid in standing
        seen.add(isolate.pid)
        uids.add((tenant, Path(f"/proc/{isolate.pid}").stat().st_uid))
        await _close(isolate)
    assert len(seen) == 4
    assert len(uids) == 2


async def test_burst_beyond_the_pool_gets_isolates_of_their_own(where: ZygoteIsolates) -> None:
    standing = await until_full(where, SIZE)
    burst = await asyncio.gather(*(where.open(_spec("acme")) for _ in range(3 * SIZE)))
    pids = {isolate.pid for isolate in burst}
    assert len(pids) == 3 * SIZE
    assert standing < pids
    await asyncio.gather(*map(_close, burst))


async def test_nothing_of_a_tenant_is_in_the_blank_that_another_gets(where: ZygoteIsolates) -> None:
    secret = secrets.token_hex(16)
    leave = """
        echo $KEY > /tmp/left; echo $KEY > /dev/shm/left; ipcmk -M 64
        python -c 'import socket; s = socket.socket(socket.AF_UNIX); s.bind("\\0left"); s.listen(); s.accept()' &
        echo $KEY > /run/files/left; sleep 1000"""
    await until_full(where, SIZE)
    command = await where.command(CommandSpec("victim", ("sh", "-c", leave), {"KEY": secret}, "/tmp"))
    code = "import os; print(os.listdir('/tmp'), os.listdir('/dev/shm'), os.listdir('/run/files'), len(os.environ))"
    look = f"{code}; print(open('/proc/net/unix').read().count('left'), open('/proc/sysvipc/shm').read().count('\\n'))"
    standing = await until_full(where, SIZE)
    isolate = await where.open(_spec("attacker"))
    assert isolate.pid in standing
    namespaces = {name: _namespaces(pid) for name, pid in (("victim", command.pid), ("attacker", isolate.pid))}
    assert not namespaces["victim"] & namespaces["attacker"]
    await _close(isolate)
    await until_full(where, SIZE)
    text = await execute(where, look)
    assert text == f"[] [] [] {len(where.environment)}\n0 1\n"  # one line of headings
    for pid in {*await until_full(where, SIZE), _zygote(where)}:
        assert not _holds(pid, secret.encode())
    assert _holds(os.getpid(), secret.encode())  # or the search would find nothing anywhere
    command.kill()
    await command.wait()
    os.close(command.output)


async def test_blank_holds_its_socket_and_nothing_of_the_zygotes(where: ZygoteIsolates) -> None:
    for pid in await until_full(where, SIZE):
        held = sorted(str(path.readlink()) for path in Path(f"/proc/{pid}/fd").iterdir())
        if "anon_inode:[landlock-ruleset]" in held:  # where the kernel has it: rules that wait to be completed
            held.remove("anon_inode:[landlock-ruleset]")
        assert [name.split(":")[0] for name in held] == ["/1", *["/dev/null"] * 3, "socket"]  # "/1": its own, in a proc


async def test_dead_blank_is_thrown_away(where: ZygoteIsolates) -> None:
    standing = await until_full(where, SIZE)
    for pid in standing:
        os.kill(pid, signal.SIGKILL)
    isolate = await where.open(_spec("acme"))
    assert isolate.pid not in standing
    await _close(isolate)
    assert not await until_full(where, SIZE) & standing


async def test_blank_that_spoke_unasked_is_thrown_away(where: ZygoteIsolates) -> None:
    standing = await until_full(where, SIZE)
    for pid in standing:
        end = _socket_of(pid)
        os.write(end, b'{"ready": true}\n')
        os.close(end)
    isolate = await where.open(_spec("acme"))
    assert isolate.pid not in standing
    await _close(isolate)
    await until(lambda: not alive(standing))


async def test_bounds_other_than_the_usual_hold_in_a_blank_too(where: ZygoteIsolates) -> None:
    standing = await until_full(where, SIZE)
    for memory in (64 << 20, 4 << 30):
        limits = Limits(memory=memory, processes=7)
        process = await where.command(CommandSpec("acme", ("sleep", "1000"), cwd="/tmp", limits=limits))
        assert process.pid in standing
        group = process.isolate.cgroup
        if group is not None:
            assert str(process.pid) in (group.memory / "cgroup.procs").read_text()
            name = "memory.max" if group.memory == group.pids else "memory.limit_in_bytes"
            assert (group.memory / name).read_text() == f"{memory}\n"
            assert (group.pids / "pids.max").read_text() == "7\n"
        process.kill()
        await process.wait()
        os.close(process.output)


async def test_pool_of_a_dead_zygote_is_made_anew(where: ZygoteIsolates) -> None:
    standing = await until_full(where, SIZE)
    os.kill(_zygote(where), signal.SIGKILL)
    await until(lambda: not where.standing())
    assert await execute(where, "print('again')") == "again\n"
    assert not await until_full(where, SIZE) & standing


async def test_blanks_do_not_keep_a_worn_zygote(tmp_path: Path) -> None:
    where = isolates(tmp_path, blanks=SIZE, most_blanks=SIZE, isolates_per_zygote=SIZE + 2)
    await where.start()
    standing = await until_full(where, SIZE)
    first = _zygote(where)
    for n in range(3):
        assert await execute(where, f"print({n})") == f"{n}\n"
    await until(lambda: not alive([first]))
    assert not await until_full(where, SIZE) & standing
    await where.stop()


async def test_pool_that_nobody_asks_is_given_back_until_somebody_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blanks, "_LOOK_SECONDS", 3600.0)  # it looks when it is told to
    where = isolates(tmp_path, blanks=SIZE, blanks_idle_seconds=3600)
    await where.start()
    standing = await until_full(where, SIZE)
    await where.rested()  # one that rehearses is not given back before the next look
    assert where._blanks is not None
    assert where._blanks._looking is not None  # began with the first isolate
    _look(where)
    await where.filled()
    assert set(where.standing()) == standing  # the hour is not over
    where._blanks._demand._idle_seconds = 0.0
    _look(where)
    parents = [parent / where._cgroups._name for parent in where._cgroups.parents.values()]
    await until(lambda: not where.standing() and not any(any(parent.glob("i*")) for parent in parents))
    await until(lambda: not alive(standing) and not children(_zygote(where)))
    await where.filled()
    _look(where)
    assert where._blanks._looking is None  # nothing is left to look at
    where._blanks._demand._idle_seconds = 3600.0
    assert await execute(where, "print('again')") == "again\n"
    assert len(await until_full(where, SIZE)) == SIZE
    await where.stop()


async def test_pool_has_what_the_largest_burst_had_and_shrinks_when_that_is_long_ago(tmp_path: Path) -> None:
    where = isolates(tmp_path, blanks=2, most_blanks=6)
    await where.start()
    clock = _clocked(where)
    await until_full(where, 2)
    assert where.wanted() == 2
    for burst in (5, 20):
        clock.now += 1
        await asyncio.gather(*map(_close, await asyncio.gather(*(where.open(_spec("acme")) for _ in range(burst)))))
        await where.filled()
        assert len(where.standing()) == where.wanted() == min(burst, 6)  # never more than the most
    standing = set(where.standing())
    clock.now += 301
    await _close(await where.open(_spec("acme")))  # a single one is no burst
    await where.filled()
    assert len(where.standing()) == where.wanted() == 2
    await until(lambda: len(alive(standing)) == 2)
    await where.stop()


async def test_usual_number_is_made_again_at_once_while_more_wait_for_a_calm_moment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blanks, "_CALM_SECONDS", 3600.0)
    where = isolates(tmp_path, blanks=2, most_blanks=6)
    await where.start()
    clock = _clocked(where)
    await until_full(where, 2)
    before = set[int]()
    for burst in (5, 2, 3):
        clock.now += 1
        await asyncio.gather(*map(_close, await asyncio.gather(*(where.open(_spec("acme")) for _ in range(burst)))))
        assert (await until_full(where, 2)).isdisjoint(before)
        assert (where.wanted(), len(where.standing())) == (5, 2)
        before |= set(where.standing())
    await where.stop()


async def test_pool_beyond_the_usual_number_waits_for_free_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = 0
    monkeypatch.setattr(blanks, "available", lambda _: left)
    where = isolates(tmp_path, blanks=2, most_blanks=6)
    await where.start()
    _clocked(where)
    await asyncio.gather(*map(_close, await asyncio.gather(*(where.open(_spec("acme")) for _ in range(6)))))
    await where.filled()
    assert len(where.standing()) == 2
    left = 1 << 40
    _look(where)
    await where.filled()
    assert len(where.standing()) == 6
    left = 0
    _look(where)
    await where.filled()
    assert len(where.standing()) == 2
    await where.stop()


REHEARSING = f"{ENTRY}\nrehearsals = []\n\ndef rehearse():\n    rehearsals.append(1)\n"
_COUNT = "import sys; print(len(sys.modules['rehearses'].rehearsals))"


def _rehearsing(tmp_path: Path, entry: str, **options: int) -> ZygoteIsolates:
    file = tmp_path / "rehearses.py"
    file.write_text(entry)
    return isolates(tmp_path, entry="rehearses:serve", library={"rehearses.py": file}, **options)


async def test_blanks_rehearse_once_in_a_calm_moment_and_no_others_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blanks, "_CALM_SECONDS", 0.0)
    where = _rehearsing(tmp_path, REHEARSING, blanks=2, most_blanks=2)
    await where.start()
    await where.rested()
    assert len(where.standing()) == 2
    monkeypatch.setattr(blanks, "_CALM_SECONDS", 3600.0)
    counts = [await execute(where, _COUNT) for _ in range(3)]
    assert counts == ["1\n", "1\n", "0\n"]  # the third comes from nothing, or has had no calm moment
    await where.stop()


async def test_blank_that_cannot_rehearse_is_thrown_away_and_the_others_serve_as_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(blanks, "_CALM_SECONDS", 0.0)
    where = _rehearsing(tmp_path, f"{ENTRY}\ndef rehearse():\n    raise OSError(5, 'no')\n", blanks=2, most_blanks=2)
    await where.start()
    await where.rested()
    assert "Isolates cannot rehearse: start: OSError: [Errno 5] no" in caplog.text
    assert len(where.standing()) == 1
    assert await execute(where, "print('here')") == "here\n"
    assert len(await until_full(where, 2)) == 2  # and stay
    await where.rested()
    assert len(where.standing()) == 2
    await where.stop()


async def test_no_blank_stands_where_none_is_wanted_and_none_outlives_stop(tmp_path: Path) -> None:
    where = isolates(tmp_path, blanks=0)
    await where.start()
    assert await execute(where, "print(1)") == "1\n"
    await asyncio.sleep(0.1)  # longer than a pool waits before it is filled
    await until(lambda: not children(_zygote(where)))
    await where.stop()
    where.options = type(where.options)(**vars(where.options) | {"blanks": SIZE})
    await where.start()
    standing = await until_full(where, SIZE)
    assert (await run(where, "echo 1")).text == "1\n"
    await where.stop()
    assert not alive(standing)


class _Clock:
    """Time that stands still unless it is told to go on."""

    def __init__(self) -> None:
        self.now = time.monotonic()

    def __call__(self) -> float:
        return self.now


def _clocked(where: ZygoteIsolates) -> _Clock:
    """Have the pool judge what is asked for by a clock that stands still: a burst is one, however slow the machine."""
    assert where._blanks is not None
    clock = _Clock()
    where._blanks._demand._clock = clock
    return clock


def _look(where: ZygoteIsolates) -> None:
    """Have the pool look now at how many are wanted, instead of some seconds later."""
    assert where._blanks is not None
    assert where._blanks._looking is not None
    where._blanks._looking.cancel()
    where._blanks._look()


def _zygote(where: ZygoteIsolates) -> int:
    assert where._blanks is not None
    zygote = where._blanks._zygotes.in_use
    assert zygote is not None
    assert zygote.link.process is not None
    return zygote.link.process.pid


def _namespaces(pid: int) -> set[str]:
    return {
        str(Path(f"/proc/{pid}/ns/{name}").readlink()) for name in ("mnt", "pid", "net", "ipc", "uts", "cgroup", "user")
    }


def _holds(pid: int, text: bytes) -> bool:
    """Whether this is anywhere in the writable memory of a process."""
    process = Path(f"/proc/{pid}")
    with (process / "maps").open() as maps, (process / "mem").open("rb", buffering=0) as memory:
        for line in maps:
            span, mode, *_ = line.split()
            if mode.startswith("rw") and "[v" not in line:
                start, end = (int(word, 16) for word in span.split("-"))
                memory.seek(start)
                try:
                    if text in memory.read(end - start):
                        return True
                except OSError:
                    continue  # a hole
    return False


def _socket_of(pid: int) -> int:
    """A descriptor of a blank's own end of its socket."""
    libc = ctypes.CDLL(None, use_errno=True)
    pidfd = os.pidfd_open(pid)
    end = int(libc.syscall(ctypes.c_long(438), pidfd, 3, 0))  # pidfd_getfd
    os.close(pidfd)
    assert end >= 0, os.strerror(ctypes.get_errno())
    return end


@pytest_asyncio.fixture(loop_scope="module")
async def bounded(tmp_path: Path) -> AsyncIterator[ZygoteIsolates]:
    """No isolates but those that are asked for, each in a cgroup."""
    started = isolates(tmp_path, blanks=0)
    await started.start()
    problem = started._cgroups.problem
    if not problem:
        yield started
    await started.stop()
    if problem:
        pytest.skip(f"needs cgroups: {problem}")


async def test_cgroup_of_an_isolate_that_we_killed_is_not_asked_why_and_goes_a_moment_later(
    bounded: ZygoteIsolates, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Cgroup] = []

    def ask(group: Cgroup) -> bool:
        asked.append(group)
        return False

    monkeypatch.setattr(Cgroup, "out_of_memory", ask)
    assert (await run(bounded, "exit 3")).exit.code == 3
    assert len(asked) == 1
    isolate = await bounded.open(_spec("acme"))
    group = isolate.cgroup
    assert group is not None
    await _close(isolate)
    assert len(asked) == 1
    assert group.memory.exists()
    await until(lambda: not any(path.exists() for path in group.paths))


async def test_isolate_that_dies_on_its_way_into_its_cgroup_is_made_again(
    bounded: ZygoteIsolates, monkeypatch: pytest.MonkeyPatch
) -> None:
    attach = Cgroup.attach
    killed: list[int] = []

    def late(group: Cgroup, pid: int) -> None:  # on a thread
        if not killed:
            killed.append(pid)
            os.kill(pid, signal.SIGKILL)
            wait_until(lambda: not group.memory.exists(), 60, "end of the cgroup")
        attach(group, pid)

    monkeypatch.setattr(Cgroup, "attach", late)
    assert (await run(bounded, "echo here")).text == "here\n"
    assert len(killed) == 1


async def test_isolate_that_dies_before_its_cgroup_has_its_bounds_is_made_again(
    bounded: ZygoteIsolates, monkeypatch: pytest.MonkeyPatch
) -> None:
    hear = Blank._hear
    killed: list[int] = []

    async def late(blank: Blank, awaited: Literal["blank", "ready"]) -> tuple[Isolate, list[int]]:
        isolate, received = await hear(blank, awaited)
        if not killed:
            killed.append(isolate.pid)
            isolate.kill()
            await isolate.ended()
            while isolate.cgroup is not None and isolate.cgroup.memory.exists():
                await asyncio.sleep(0.001)
        return isolate, received

    monkeypatch.setattr(Blank, "_hear", late)
    assert (await run(bounded, "echo here", limits=Limits(memory=100 << 20))).text == "here\n"
    assert len(killed) == 1


async def test_isolate_that_is_gone_before_it_has_its_mounts_is_made_again(
    bounded: ZygoteIsolates, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    send = Mounts.send
    hung_up: list[int] = []

    async def late(
        mounts: Mounts, number: int, owner: int, seen: Sequence[Mount], target: socket.socket
    ) -> "asyncio.Future[Reply]":
        if not hung_up:
            hung_up.append(number)
            target.shutdown(socket.SHUT_RDWR)
        return await send(mounts, number, owner, seen, target)

    monkeypatch.setattr(Mounts, "send", late)
    (tmp_path / "seen").mkdir()
    (tmp_path / "seen" / "f").write_text("here\n")
    workspace = Directory(tmp_path / "seen", read_only=True)
    assert (await run(bounded, "cat /workspace/f", workspace=workspace)).text == "here\n"
    assert len(hung_up) == 1
