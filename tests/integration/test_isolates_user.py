"""Isolates of a server that an ordinary user runs, and of one without the wall."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pyseccomp  # type: ignore[import-untyped]
import pytest
from walled import execute, isolates, run

from stepwell.errors import Unavailable
from stepwell_runners.spec import CommandSpec, Directory, Egress, Overlay, ToolDir

REPOSITORY = Path(__file__).parents[2]
# The shell in between matters: setpriv itself still has root's capabilities when it looks for the program.
USER = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "sh", "-c", 'exec "$0" "$@"')


def _interpreter() -> str | None:
    """One that the ordinary user can run too: the own one may live in root's home."""
    for path in (os.path.realpath(sys.executable), "/usr/bin/python3.11", "/usr/bin/python3"):
        check = [*USER, path, "-c", "import sys; sys.exit(sys.version_info < (3, 11))"]
        if Path(path).exists() and subprocess.run(check, capture_output=True, cwd="/", check=False).returncode == 0:
            return path
    return None


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory of the ordinary user with a copy of the code: the checkout may be out of its reach."""
    directory = Path(tempfile.mkdtemp(prefix="stepwell-user-", dir="/var/tmp"))
    directory.chmod(0o755)
    for root in ("platform", "runners", "tests/support"):
        shutil.copytree(REPOSITORY / root, directory / root, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(pyseccomp.__file__, directory / "runners")
    (directory / "home").mkdir()
    shutil.chown(directory / "home", 65534, 65534)
    yield directory
    shutil.rmtree(directory)


def _as_user(place: Path, script: str, *arguments: str, first: str = "") -> subprocess.CompletedProcess[str]:
    """Run a script of tests/support as the ordinary user, after a shell line in a user namespace of its own."""
    interpreter = _interpreter()
    if interpreter is None:
        pytest.skip("no Python 3.11 or newer that an ordinary user can run")
    paths = ":".join(str(place / root) for root in ("platform", "runners", "tests/support"))
    program = [interpreter, "-B", str(place / "tests/support" / script), str(place / "home"), *arguments]
    before = (
        ["unshare", "--user", "--map-user=1000", "--keep-caps", "sh", "-c", f'{first}; exec "$0" "$@"'] if first else []
    )
    return subprocess.run(
        [*USER, *before, *program],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": paths, "HOME": "/nonexistent"},
        cwd="/",
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.root
def test_ordinary_user_gets_the_wall_too(place: Path) -> None:
    ended = _as_user(place, "ordinary_user.py")
    assert ended.returncode == 0, ended.stderr
    found = json.loads(ended.stdout)
    assert found["mode"] == "user"
    assert found["findings"]["wall"]
    assert found["claimed"]
    assert found["command"] == "base1000\n"
    assert (found["upper"], found["lower"]) == ("basemore\n", "base")
    assert found["nameless"] > 0
    assert found["turn"] == "1 1000\n"
    assert found["got_through"] == {}


@pytest.mark.root
def test_host_without_user_namespaces_is_told_what_to_change(place: Path) -> None:
    none = "echo 0 > /proc/sys/user/max_user_namespaces && exec setpriv --ambient-caps=-all --inh-caps=-all"
    ended = _as_user(place, "refused_host.py", first=f'{none} "$0" "$@"')
    assert ended.returncode == 0, ended.stderr
    found = json.loads(ended.stdout)
    assert not found["ok"]
    assert "max_user_namespaces" in found["remedy"]
    assert "max_user_namespaces" in found["raised"]
    assert found["demo"] == "anyway\n"


async def test_without_the_wall_commands_and_code_work_and_probe_says_so(tmp_path: Path) -> None:
    where = isolates(tmp_path, wall="none")
    await where.start()
    (tmp_path / "ws").mkdir()
    (tmp_path / "tool").mkdir()
    (tmp_path / "tool" / "t").write_text("tool")
    ended = await run(
        where,
        "pwd; cat $TOOL/t; cat $KEY; echo a=b > $OUT; exit 4",
        cwd="/workspace",
        workspace=Directory(tmp_path / "ws"),
        tools=(ToolDir(tmp_path / "tool", "k"),),
        env={"TOOL": "/tools/k", "KEY": "/run/files/key", "OUT": "/run/files/out"},
        files={"key": b"secret"},
        collect=("/run/files/out",),
        network=Egress(),
    )
    assert ended.text == f"{tmp_path}/ws\ntoolsecret"
    assert ended.exit.code == 4
    assert list(ended.exit.collected.values()) == [b"a=b\n"]
    assert await execute(where, "import os; print(os.getcwd())", tmp_path / "ws") == f"{tmp_path}/ws\n"
    assert not where.walled
    assert not (await where.probe())[0].ok
    await where.stop()


async def test_without_the_wall_what_a_command_started_ends_with_it(tmp_path: Path) -> None:
    where = isolates(tmp_path, wall="none")
    await where.start()
    ended = await run(where, "setsid sleep 1000 & (setsid sleep 1000 &) ; echo started")
    assert ended.text == "started\n"
    process = await where.command(CommandSpec("acme", ("sh", "-c", "setsid sleep 1000 & sleep 1000"), cwd="/tmp"))
    process.kill()
    assert (await process.wait()).code is None
    os.set_blocking(process.output, True)
    assert os.read(process.output, 1) == b""  # nobody holds the other end any more
    os.close(process.output)
    await where.stop()


async def test_without_the_wall_layers_are_refused(tmp_path: Path) -> None:
    where = isolates(tmp_path, wall="none")
    await where.start()
    with pytest.raises(Unavailable, match="plain directory"):
        await run(where, "true", workspace=Overlay((tmp_path,), tmp_path, tmp_path))
    assert not where.overlays
    await where.stop()
