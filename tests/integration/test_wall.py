"""The wall as an attacker meets it: every attempt must end in the refusal that the table names.

Each attempt is Python code run as a command. What it prints first decides: `refused NAME` with the errno's name, or
`open` when the attempt got through.
"""

import os
import socket
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio
from attempts import ATTEMPTS, PRELUDE, attack
from walled import execute, isolates, python

from stepwell_runners.isolates import ZygoteIsolates
from stepwell_runners.spec import CommandSpec, Overlay

pytestmark = [pytest.mark.root, pytest.mark.asyncio(loop_scope="module")]


@pytest.fixture(scope="module")
def around(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, object]]:
    """What an attacker would like to reach: a server on loopback, one on an abstract socket, a secret file."""
    listener = socket.create_server(("127.0.0.1", 0))
    abstract = socket.socket(socket.AF_UNIX)
    name = f"\0stepwell-test-{os.getpid()}"
    abstract.bind(name)
    abstract.listen()
    secret = tmp_path_factory.mktemp("host") / "secret"
    secret.write_text("of the host")
    os.environ["TEST_SECRET"] = "of the server"
    yield {"port": listener.getsockname()[1], "abstract": name, "secret": str(secret), "pid": os.getpid()}
    del os.environ["TEST_SECRET"]
    listener.close()
    abstract.close()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def where(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[ZygoteIsolates]:
    started = isolates(tmp_path_factory.mktemp("isolates"))
    await started.start()
    yield started
    await started.stop()


@pytest.mark.parametrize("name", ATTEMPTS)
async def test_attempt_of_a_command_is_refused(name: str, where: ZygoteIsolates, around: dict[str, object]) -> None:
    code, expected = ATTEMPTS[name]
    ended = await python(where, attack(code.format(state=str(where.state), **around)))
    assert ended.text.split()[:1] == ["refused"], ended.text
    assert ended.text.split()[1] in expected


async def test_attempts_of_a_turns_code_are_refused_too(where: ZygoteIsolates, around: dict[str, object]) -> None:
    """Its code is process 1 itself: fewer walls stand between it and the host, so the same table must hold."""
    for name, (code, expected) in ATTEMPTS.items():
        if "process 1" in name or name in ("processes of others", "descriptors", "signal to everybody"):
            continue  # itself
        text = await execute(where, attack(code.format(state=str(where.state), **around)))
        assert text.split()[:1] == ["refused"], (name, text)
        assert text.split()[1] in expected, (name, text)


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


async def test_32_bit_calls_are_killed(where: ZygoteIsolates) -> None:
    ended = await python(where, f"{PRELUDE}\nprint(call(0x40000000 | 39))")
    assert "open" not in ended.text
    assert ended.exit.code != 0


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


async def test_table_names_at_least_forty_attempts() -> None:
    assert len(ATTEMPTS) >= 40
