"""What an earlier server left running when it was killed."""

import asyncio
import fcntl
import os
import subprocess
from pathlib import Path

import pytest

from stepwell.errors import TryLater, Unavailable
from stepwell.repos import Repositories
from stepwell.repos.hooks import check_hooks, install_hooks
from stepwell.repos.wire import Wire


class Silent:
    async def pre_receive(self, context: object, updates: object) -> str | None:
        return None

    async def post_receive(self, context: object, updates: object) -> list[str]:
        return []


async def test_start_waits_until_earlier_pushes_have_ended(tmp_path: Path) -> None:
    wire = Wire(tmp_path, Repositories(tmp_path), Silent())
    with (tmp_path / "pushes.lock").open("rb") as lock:
        fcntl.flock(lock, fcntl.LOCK_SH)
        orphan = subprocess.Popen(["cat"], stdin=subprocess.PIPE, pass_fds=[lock.fileno()])
    with pytest.raises(TryLater):
        await wire.wait_for_orphans(timeout_s=0)
    waiting = asyncio.create_task(wire.wait_for_orphans())
    await asyncio.sleep(0)
    assert not waiting.done()
    orphan.communicate()
    await waiting


@pytest.mark.parametrize("phase", ["pre-receive", "post-receive"])
def test_hook_whose_server_died_ends_and_refuses(tmp_path: Path, phase: str) -> None:
    hooks = install_hooks(tmp_path / "hooks")
    from_hook, out = os.pipe()
    into, to_hook = os.pipe()
    for fd in (from_hook, to_hook):
        os.close(fd)
    env = {"PATH": os.environ["PATH"], "STEPWELL_HOOK_OUT": str(out), "STEPWELL_HOOK_IN": str(into)}
    done = subprocess.run(
        [hooks / phase], check=False, input=b"a b c\n", env=env, pass_fds=[out, into], capture_output=True, timeout=20
    )
    assert done.returncode != 0 or phase == "post-receive"
    if phase == "pre-receive":
        assert b"the server went away" in done.stderr
    os.close(out)
    os.close(into)


def test_hooks_that_git_would_skip_are_noticed(tmp_path: Path) -> None:
    hooks = install_hooks(tmp_path / "hooks")
    (hooks / "pre-receive").chmod(0o644)
    with pytest.raises(Unavailable, match="cannot be executed"):
        check_hooks(hooks)
