"""Containers that outlive a killed server: taken over by the next one, every line kept, the command begun once."""

import asyncio
import dataclasses
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from heavy import IMAGE, NATURAL, NoIsolates, attempt, nothing_left, run
from logged import Log

from stepwell.engine.seams import Attempt
from stepwell_runners.containers import LABEL, Containers
from stepwell_runners.executor import LocalExecutor
from stepwell_runners.workspaces import Form

pytestmark = pytest.mark.docker
SOAK = bool(os.environ.get("STEPWELL_SOAK"))
WAYS = [("overlay", True, 3), ("copy", False, 0), *([("overlay", False, 0), ("copy", True, 0)] if SOAK else [])]
REASONS = ["forgotten", "another command", *(["ended", "erased", "another tenant", "another boot"] if SOAK else [])]
LONG = pytest.mark.skipif(not SOAK, reason="seldom goes wrong and takes seconds: make soak")
PROGRAM = Path(__file__).parents[1] / "support" / "killed_executor.py"
LINES = [f"line {number}" for number in range(1, 41)]
# It says line by line what it counts in the workspace; nobody can write more than its first lines before it is killed.
COUNT = (
    "echo begun >> begun; n=0; while [ $n -lt 40 ]; do n=$((n + 1)); echo line $n; "
    "while [ $n = 5 ] && [ ! -e /tmp/on ]; do sleep 0.05; done; done; "
    'echo v=1 > "$STEPWELL_OUTPUT"; cat begun; exit $CODE'
)


@contextmanager
def begun(state: Path, form: Form, command: str, **options: Any) -> Iterator[subprocess.Popen[str]]:
    """Begin an attempt in a process of its own, which is killed at the end of the block at the latest."""
    arguments = [str(state), form, command, json.dumps(options)]
    with subprocess.Popen(
        [sys.executable, str(PROGRAM), *arguments], stdout=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": str(PROGRAM.parent)},
    ) as process:  # fmt: skip
        try:
            yield process
        finally:
            process.kill()


def second(command: str, **options: Any) -> Attempt:
    """The next attempt of the step that was lost."""
    return dataclasses.replace(attempt(command, **options), number=2)


def ours(executor: LocalExecutor, engine: Any) -> list[Any]:
    label = f"{LABEL}={executor._containers._label[LABEL]}"
    return list(engine.containers.list(all=True, filters={"label": label}))


@pytest.mark.parametrize(("form", "warm", "code"), WAYS)
async def test_a_container_outlives_its_server_and_is_followed_to_its_end(
    engine: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, form: Form, warm: bool, code: int
) -> None:
    if form == "overlay" and os.geteuid() != 0:
        pytest.skip("dockerd's overlays are root's")
    options = {"network": False, "env": {"CODE": str(code)}}
    with begun(tmp_path / "state", form, COUNT, warm=warm, **options) as process:
        assert process.stdout is not None
        while process.stdout.readline() != "line 5\n":
            assert process.poll() is None
        process.send_signal(signal.SIGKILL)
    monkeypatch.setattr(Containers, "form", form)
    executor = LocalExecutor.at(tmp_path / "state", NoIsolates(), warm_containers=0)
    await executor.recover(lambda layer: True, lambda run: False)
    (container,) = ours(executor, engine)
    assert container.status == "running"
    log = Log()
    following = asyncio.create_task(run(executor, second(COUNT, **options), log))
    await log.arrived.wait()
    assert container.exec_run(["touch", "/tmp/on"]).exit_code == 0
    outcome = await following
    assert log.text.splitlines() == [*LINES, "begun"], "a line was lost, or the command was begun twice"
    assert any("server was restarted" in note for note in log.notes)
    assert outcome.exit_code == code and not outcome.lost
    if code == 0:
        assert outcome.layer and outcome.value["outputs"] == {"v": "1"}
        seen = await run(executor, attempt("cat begun", (outcome.layer,), "after#1", network=False), log)
        assert seen.ok and log.text.endswith("begun\nbegun\n")
    await nothing_left(executor, engine)


async def test_one_that_ended_while_no_server_was_there_has_its_result(engine: Any, tmp_path: Path) -> None:
    command = "echo one; echo two >&2; echo made > file; until [ -e /tmp/on ]; do sleep 0.05; done"
    with begun(tmp_path / "state", NATURAL, command) as process:
        assert process.stdout is not None and process.stdout.readline() in ("one\n", "two\n")
        process.send_signal(signal.SIGKILL)
    executor = LocalExecutor.at(tmp_path / "state", NoIsolates(), warm_containers=0)
    (container,) = ours(executor, engine)
    container.exec_run(["touch", "/tmp/on"])
    assert container.wait(timeout=30)["StatusCode"] == 0
    await executor.recover(lambda layer: True, lambda run: False)
    log = Log()
    outcome = await run(executor, second(command), log)
    assert outcome.ok and outcome.layer and sorted(log.text.split()) == ["one", "two"]
    await nothing_left(executor, engine)


@pytest.mark.parametrize("why", REASONS)
async def test_what_nobody_wants_any_more_is_removed(
    engine: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, why: str
) -> None:
    with begun(tmp_path / "state", NATURAL, "echo here; sleep 60", network=True) as process:
        assert process.stdout is not None and process.stdout.readline() == "here\n"
        process.send_signal(signal.SIGKILL)
    executor = LocalExecutor.at(tmp_path / "state", NoIsolates(), warm_containers=0)
    shared = {"label": f"{LABEL}={executor._containers._label[LABEL]}"}
    assert len(engine.networks.list(filters=shared)) == 1
    if why == "another boot":
        monkeypatch.setattr("stepwell_runners.survivors._boot", lambda: "another")
    await executor.recover(lambda layer: True, lambda run: why == "ended")
    assert len(ours(executor, engine)) == (why not in ("ended", "another boot"))
    assert len(engine.networks.list(filters=shared)) == len(ours(executor, engine)), (
        "a container goes on without network"
    )
    if why == "forgotten":
        await executor.forget("run-1")
    elif why == "erased":
        await executor.erase(["run-1"], [])
    elif why == "another command":
        assert (await run(executor, second("true", network=True))).ok
    elif why == "another tenant":
        stranger = dataclasses.replace(second("echo here; sleep 60", network=True, timeout=1.0), tenant="other")
        assert (await run(executor, stranger)).error is not None
    await nothing_left(executor, engine)


@LONG
async def test_an_attempts_services_are_not_kept(engine: Any, tmp_path: Path) -> None:
    beside = {"db": {"image": IMAGE, "command": "sleep 60"}}
    with begun(tmp_path / "state", NATURAL, "echo here; sleep 60", network=False, services=beside) as process:
        assert process.stdout is not None and process.stdout.readline() == "here\n"
        process.send_signal(signal.SIGKILL)
    executor = LocalExecutor.at(tmp_path / "state", NoIsolates(), warm_containers=0)
    await executor.recover(lambda layer: True, lambda run: False)
    await nothing_left(executor, engine)


@LONG
async def test_containers_that_waited_go_at_the_next_start(engine: Any, tmp_path: Path) -> None:
    with begun(tmp_path / "state", NATURAL, "echo here; exit 0", network=False, warm=True) as process:
        assert process.stdout is not None and process.stdout.readline() == "here\n"
        assert process.stdout.readline() == "over\n"
        process.send_signal(signal.SIGKILL)
    executor = LocalExecutor.at(tmp_path / "state", NoIsolates(), warm_containers=0)
    await executor.recover(lambda layer: True, lambda run: False)
    await nothing_left(executor, engine)
