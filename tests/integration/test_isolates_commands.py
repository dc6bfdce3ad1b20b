"""Commands in isolates, with the real kernel."""

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from walled import isolates, python, read_all, run, running, until

from stepwell.errors import Invalid, Unavailable
from stepwell_runners.isolates import ZygoteIsolates
from stepwell_runners.mounts import Mounts
from stepwell_runners.spec import CommandSpec, Directory, Limits, Overlay, ToolDir

pytestmark = [pytest.mark.root, pytest.mark.asyncio(loop_scope="module")]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def where(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[ZygoteIsolates]:
    started = isolates(tmp_path_factory.mktemp("isolates"))
    await started.start()
    yield started
    await started.stop()


def _overlay(directory: Path, *lowers: Path) -> Overlay:
    for name in ("upper", "work"):
        (directory / name).mkdir()
    return Overlay(lowers, directory / "upper", directory / "work")


async def test_output_and_exit_code_come_back(where: ZygoteIsolates) -> None:
    ended = await run(where, "echo out; echo err >&2; exit 3")
    assert ended.text == "out\nerr\n"
    assert (ended.exit.code, ended.exit.signal, ended.exit.reason) == (3, None, "exit code 3")


async def test_signal_that_ends_a_command_is_named(where: ZygoteIsolates) -> None:
    ended = await run(where, "kill -SEGV $$")
    assert (ended.exit.code, ended.exit.signal, ended.exit.reason) == (None, 11, "killed by SIGSEGV")


async def test_missing_command_and_directory_end_as_in_a_shell(where: ZygoteIsolates) -> None:
    for spec, words in (
        (CommandSpec("acme", ("no-such-program",)), "command not found"),
        (CommandSpec("acme", ("true",), cwd="/nowhere"), "cannot enter"),
    ):
        process = await where.command(spec)
        assert words in await read_all(process)
        assert (await process.wait()).code == 127


async def test_environment_is_the_given_one_and_nothing_of_the_server(
    where: ZygoteIsolates, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SERVER_SECRET", "do not tell")
    text = (await run(where, "env", env={"GIVEN": "yes"})).text
    assert "GIVEN=yes" in text
    assert "SERVER_SECRET" not in text
    assert "PYTHONHASHSEED" not in text


async def test_overlay_is_written_by_the_tenant_and_owned_by_the_host(where: ZygoteIsolates, tmp_path: Path) -> None:
    base, newer = tmp_path / "base", tmp_path / "newer"
    for layer in (base, newer):
        layer.mkdir()
        (layer / "f").write_text(layer.name)
    (base / "old").write_text("old")
    overlay = _overlay(tmp_path, newer, base)
    ended = await run(
        where, "cat f; echo more >> f; rm old; mkdir d; echo x > d/new; ls", cwd="/workspace", workspace=overlay
    )
    assert ended.text == "newerd\nf\n"
    assert (overlay.upper / "f").read_text() == "newermore\n"
    assert (base / "f").read_text() == "base"
    written = [overlay.upper / "f", overlay.upper / "d", overlay.upper / "d" / "new"]
    assert {(path.stat().st_uid, path.stat().st_gid) for path in written} == {(0, 0)}


async def test_no_host_path_appears_in_an_isolates_mounts(where: ZygoteIsolates, tmp_path: Path) -> None:
    lower = tmp_path / "lower"
    lower.mkdir()
    tools = tmp_path / "tools"
    tools.mkdir()
    spec = {"workspace": _overlay(tmp_path, lower), "tools": (ToolDir(tools, "k"),)}
    text = (await run(where, "cat /proc/self/mountinfo /proc/mounts", **spec)).text
    assert "/workspace" in text
    workspace = [line for line in text.splitlines() if " /workspace " in line]
    assert not any(str(tmp_path) in line for line in workspace)


async def test_tool_directory_is_read_only_unless_it_is_being_filled(where: ZygoteIsolates, tmp_path: Path) -> None:
    filled = await run(where, "echo tool > /tools/key/t", tools=(ToolDir(tmp_path, "key", read_only=False),))
    assert filled.exit.code == 0
    used = await run(where, "cat /tools/key/t; echo x > /tools/key/u", tools=(ToolDir(tmp_path, "key"),))
    assert used.text.startswith("tool\n")
    assert "Read-only" in used.text


async def test_many_lowers_mount(where: ZygoteIsolates, tmp_path: Path) -> None:
    layers = [tmp_path / f"layer-with-a-rather-long-name-{n:02}" for n in range(32)]
    for n, layer in enumerate(layers):
        layer.mkdir()
        (layer / f"f{n}").touch()
    ended = await run(where, "ls /workspace | wc -l", workspace=_overlay(tmp_path, *layers))
    assert ended.text.strip() == "32"


async def test_kernels_that_take_no_layers_by_descriptor_mount_them_by_name(
    where: ZygoteIsolates, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mounts = Mounts(root=True, by_descriptor=False)
    monkeypatch.setattr(where, "_mounts", mounts)
    for name in ("base", "newer"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "f").write_text(name)
    overlay = _overlay(tmp_path, tmp_path / "newer", tmp_path / "base")
    ended = await run(where, "cat f; echo x > f; cat /proc/self/mountinfo", cwd="/workspace", workspace=overlay)
    await mounts.stop()
    assert ended.text.startswith("newer")
    assert ended.exit.code == 0
    assert str(tmp_path) not in ended.text
    assert (overlay.upper / "f").read_text() == "x\n"
    assert (overlay.upper / "f").stat().st_uid == 0


async def test_private_files_are_there_and_named_files_come_back(where: ZygoteIsolates) -> None:
    script = "stat -c %a /run/files/key; cat /run/files/key; echo a=b > /tmp/outputs; mkfifo /tmp/pipe"
    ended = await run(where, script, files={"key": b"secret\n"}, collect=("/tmp/outputs", "/tmp/pipe", "/tmp/missing"))
    assert ended.text == "600\nsecret\n"
    assert ended.exit.collected == {"/tmp/outputs": b"a=b\n"}


async def test_daemons_and_stopped_processes_end_with_the_command(where: ZygoteIsolates) -> None:
    script = "(setsid sleep 1000 &) ; sleep 1000 & kill -STOP $!; echo started"
    ended = await run(where, script)  # the output ends only when nobody holds it any more
    assert ended.text == "started\n"
    assert ended.exit.code == 0


async def test_kill_ends_everything_at_once(where: ZygoteIsolates) -> None:
    process = await where.command(
        CommandSpec("acme", ("sh", "-c", "trap '' TERM; setsid sleep 1000 & sleep 1000"), cwd="/tmp")
    )
    process.kill()
    process.kill()
    end = await asyncio.wait_for(process.wait(), 60)
    assert (end.code, end.reason, end.lost) == (None, "killed by SIGKILL", False)
    assert await read_all(process) == ""


async def test_cancelled_boot_leaves_no_isolate(where: ZygoteIsolates) -> None:
    words = ("sleep", f"1000.{os.getpid()}")  # like no other process of the host
    process = await where.command(CommandSpec("acme", words, cwd="/tmp"))
    await until(lambda: running(words))
    process.kill()
    await process.wait()
    os.close(process.output)
    for _ in range(100):
        task = asyncio.ensure_future(where.command(CommandSpec("acme", words, cwd="/tmp")))
        await asyncio.sleep(0)
        if task.cancel():
            break
        process = await task  # a blank that is quicker than this process needs no waiting
        process.kill()
        await process.wait()
        os.close(process.output)
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (await run(where, "true")).exit.code == 0
    await until(lambda: not running(words))


async def test_memory_bomb_ends_and_names_the_limit(where: ZygoteIsolates) -> None:
    code = "x = []\nwhile True: x.append(bytearray(1 << 20))"
    ended = await python(where, code, limits=Limits(memory=100 << 20))
    assert ended.exit.code != 0
    if where._cgroups.version:
        assert "out of memory (limit 100 MiB)" in ended.exit.reason


async def test_fork_bomb_stays_small(where: ZygoteIsolates) -> None:
    code = """
import os, time
try:
    while True:
        if not os.fork():
            time.sleep(60)
except OSError as error:
    print(type(error).__name__)
"""
    ended = await python(where, code, limits=Limits(processes=40))
    assert ended.text == "BlockingIOError\n"


async def test_file_size_is_bounded(where: ZygoteIsolates) -> None:
    ended = await run(where, "head -c 2000000 /dev/zero > /tmp/f; stat -c %s /tmp/f", limits=Limits(file_size=1 << 20))
    assert str(1 << 20) in ended.text


async def test_tmp_is_bounded(where: ZygoteIsolates) -> None:
    ended = await run(where, "head -c 20000000 /dev/zero > /tmp/f", limits=Limits(tmp=1 << 20))
    assert "No space left" in ended.text


async def test_processor_time_is_bounded(where: ZygoteIsolates) -> None:
    ended = await run(where, "while :; do :; done", limits=Limits(cpu_seconds=1))
    assert ended.exit.signal in (9, 24)


async def test_processors_are_divided(where: ZygoteIsolates) -> None:
    if not where.divides_processors:
        pytest.skip("this host gives no cgroup for cpu")
    busy = "import time; t = time.monotonic(); c = time.process_time()\nwhile time.process_time() < c + 0.1: pass\n"
    ended = await python(where, f"{busy}print(time.monotonic() - t)", limits=Limits(processors=0.1))
    assert float(ended.text) > 0.5  # alone it would have taken a tenth of a second


async def test_big_output_is_kept_in_the_pipe_until_it_is_read(where: ZygoteIsolates) -> None:
    ended = await run(where, "head -c 3000000 /dev/zero | tr '\\0' x")
    assert len(ended.text) == 3_000_000


async def test_tenants_have_different_uids_on_the_host(where: ZygoteIsolates) -> None:
    uids = set()
    for tenant in ("acme", "other"):
        process = await where.command(CommandSpec(tenant, ("sleep", "1000"), cwd="/tmp"))
        uids.add(Path(f"/proc/{process.pid}").stat().st_uid)
        status = Path(f"/proc/{process.pid}/status").read_text()
        uids.add(int(status.split("Uid:")[1].split()[0]))
        process.kill()
        await process.wait()
        os.close(process.output)
    assert len(uids - {0}) == 2


async def test_common_programs_work_inside(where: ZygoteIsolates, tmp_path: Path) -> None:
    script = """set -e
    git init -q r && cd r
    git -c user.name=a -c user.email=a@b commit -q --allow-empty -m x && git log --oneline | wc -l
    python -m venv --without-pip /tmp/v && /tmp/v/bin/python -c 'import sqlite3, ssl, multiprocessing; print("python")'
    python -c 'import multiprocessing as m; print(m.Pool(2).map(abs, [-1, -2]))'"""
    (tmp_path / "lower").mkdir()
    ended = await run(where, script, cwd="/workspace", workspace=_overlay(tmp_path, tmp_path / "lower"))
    assert ended.text == "1\npython\n[1, 2]\n"


async def test_bad_names_are_refused(where: ZygoteIsolates, tmp_path: Path) -> None:
    for name in ("..", "a/b", "", "workspace"):
        with pytest.raises(Invalid):
            await where.command(CommandSpec("acme", ("true",), tools=(ToolDir(tmp_path, name),)))


async def test_directory_that_is_not_there_says_so(where: ZygoteIsolates, tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="missing"):
        await where.command(CommandSpec("acme", ("true",), workspace=Directory(tmp_path / "missing")))
