"""The wall as an attacker meets it: every attempt must end in the refusal that the table names.

Each attempt is Python code. What it prints first decides: `refused NAME` with the errno's name, or `open` when the
attempt got through. `test_isolates_user.py` makes the same attempts behind the wall of an ordinary user.
"""

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from attempts import ATTEMPTS, PRELUDE, PROCESS_1_ITSELF, attack
from surroundings import surroundings
from walled import execute, isolates, python, run

from stepwell_runners.isolates import ZygoteIsolates
from stepwell_runners.spec import CommandSpec, Overlay

pytestmark = [pytest.mark.root, pytest.mark.asyncio(loop_scope="module")]

DEVICES = {
    "memory of the host": "/dev/mem",
    "loop devices": "/dev/loop-control",
    "fuse": "/dev/fuse",
    "virtual machines": "/dev/kvm",
    "tunnels": "/dev/net/tun",
    "kernel log as a file": "/dev/kmsg",
    "kernel memory": "/proc/kcore",
}
NOT_IN_THIS_KERNEL = {"ENOSYS", "EAFNOSUPPORT", "EPROTONOSUPPORT", "ENODEV"}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def where(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[ZygoteIsolates]:
    started = isolates(tmp_path_factory.mktemp("isolates"))
    await started.start()
    yield started
    await started.stop()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def around(where: ZygoteIsolates, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[dict[str, object]]:
    async with surroundings(where, tmp_path_factory.mktemp("host")) as found:
        yield found


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def bare(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[ZygoteIsolates]:
    """No wall at all."""
    started = isolates(tmp_path_factory.mktemp("bare"), wall="none")
    await started.start()
    yield started
    await started.stop()


@pytest.mark.parametrize("name", ATTEMPTS)
async def test_attempt_of_a_command_is_refused(name: str, where: ZygoteIsolates, around: dict[str, object]) -> None:
    attempt = ATTEMPTS[name]
    ended = await python(where, attack(attempt, around))
    assert ended.text.split()[:1] == ["refused"], ended.text
    assert ended.text.split()[1] in attempt.refused


@pytest.mark.parametrize("name", [name for name, attempt in ATTEMPTS.items() if attempt.shown])
async def test_attempt_gets_through_where_no_wall_stands(
    name: str, bare: ZygoteIsolates, around: dict[str, object]
) -> None:
    ended = await python(bare, attack(ATTEMPTS[name], around, sheltered=True))
    if ended.text.startswith("refused ") and ended.text.split()[1] in NOT_IN_THIS_KERNEL:
        pytest.skip(f"this kernel has no such thing: {ended.text.split()[1]}")
    if name in DEVICES and not Path(DEVICES[name]).exists():
        pytest.skip(f"this host has no {DEVICES[name]}")
    assert ended.text == "open\n"


async def test_attempts_of_a_turns_code_are_refused_too(where: ZygoteIsolates, around: dict[str, object]) -> None:
    """Its code is process 1 itself: fewer walls stand between it and the host, so the same table must hold."""
    for name in ATTEMPTS.keys() - PROCESS_1_ITSELF:
        text = await execute(where, attack(ATTEMPTS[name], around))
        assert text.split()[:1] == ["refused"], (name, text)
        assert text.split()[1] in ATTEMPTS[name].refused, (name, text)


async def test_turns_code_holds_its_socket_and_nothing_else(where: ZygoteIsolates) -> None:
    code = """
import os
for name in sorted(os.listdir('/proc/self/fd')):
    try: print(os.readlink('/proc/self/fd/' + name).split(':')[0])
    except OSError: pass  # the listing's own
"""
    assert (await execute(where, code)).split() == ["/dev/null", "/dev/null", "/dev/null", "socket"]


async def test_death_signal_cannot_be_cleared(where: ZygoteIsolates) -> None:
    clear = "x = ctypes.c_int(); libc.prctl(1, 0, 0, 0, 0); libc.prctl(2, ctypes.byref(x), 0, 0, 0); print(x.value)"
    code = f"{PRELUDE}\n{clear}"
    assert await execute(where, code) == "9\n"


async def test_isolate_has_no_capability_and_cannot_gain_one(where: ZygoteIsolates) -> None:
    ended = await python(where, "print(open('/proc/self/status').read())")
    status = dict(line.split(":\t", 1) for line in ended.text.splitlines() if ":\t" in line)
    assert {int(status[name], 16) for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {0}
    assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")


INT_80 = """
import mmap, platform
code = mmap.mmap(-1, 4096, prot=7)
code.write(bytes.fromhex("53b814000000cd805bc3"))  # getpid of 32 bits; rbx, which the caller needs, is kept
print("open", ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(code)))())
"""


@pytest.mark.parametrize("calls", ["print('open', call(0x40000000 | 39))", INT_80], ids=["x32", "i386"])
async def test_32_bit_calls_are_killed(where: ZygoteIsolates, calls: str) -> None:
    ended = await python(where, f"{PRELUDE}\n{calls}")
    assert "open" not in ended.text
    assert ended.exit.code != 0


async def test_link_in_place_of_the_outputs_does_not_show_what_process_1_may_read(where: ZygoteIsolates) -> None:
    ended = await run(where, "ln -s /proc/self/maps /run/files/out", collect=("/run/files/out",))
    assert (ended.exit.code, ended.exit.collected) == (0, {})


async def test_workspace_of_another_tenant_is_out_of_reach(where: ZygoteIsolates, tmp_path: Path) -> None:
    for name in ("lower", "upper", "work"):
        (tmp_path / name).mkdir()
    (tmp_path / "lower" / "theirs").write_text("secret")
    overlay = Overlay((tmp_path / "lower",), tmp_path / "upper", tmp_path / "work")
    victim = await where.command(CommandSpec("victim", ("sleep", "1000"), workspace=overlay))
    code = "import os; print(os.listdir('/workspace'), [p for p in os.listdir('/proc') if p.isdigit()])"
    ended = await python(where, code, tenant="attacker")
    victim.kill()
    await victim.wait()
    os.close(victim.output)
    assert ended.text == "[] ['2']\n"  # itself


async def test_link_in_the_workspace_leads_nowhere_on_the_host(where: ZygoteIsolates, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/etc/shadow")
    text = await execute(where, "try: print(open('link').read())\nexcept OSError as e: print(e.strerror)", tmp_path)
    assert text == "No such file or directory\n"


async def test_setuid_file_in_the_workspace_gives_nothing(where: ZygoteIsolates, tmp_path: Path) -> None:
    for name in ("lower", "upper", "work"):
        (tmp_path / name).mkdir()
    overlay = Overlay((tmp_path / "lower",), tmp_path / "upper", tmp_path / "work")
    code = "import os, shutil; shutil.copy('/usr/bin/id', 'id'); os.chmod('id', 0o6755); os.system('./id -u')"
    ended = await python(where, code, workspace=overlay, cwd="/workspace")
    assert ended.text == "1000\n"


async def test_command_cannot_end_process_1(where: ZygoteIsolates) -> None:
    ended = await run(
        where, "for n in KILL STOP TERM INT HUP CHLD SEGV; do kill -s $n 1; done; echo still here; exit 7"
    )
    assert (ended.text, ended.exit.code) == ("still here\n", 7)


async def test_table_names_at_least_forty_attempts_that_get_through_without_the_wall() -> None:
    assert sum(attempt.shown for attempt in ATTEMPTS.values()) >= 40
