"""Containers that wait for an attempt, against a real Docker engine; the pool's rules are tests of the unit."""

import asyncio
import dataclasses
import os
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from heavy import IMAGE, NoIsolates, attempt, cold_starts, nothing_left, opened, run
from logged import Log

from stepwell_runners import slots
from stepwell_runners.container_jobs import dispose
from stepwell_runners.executor import LocalExecutor

pytestmark = pytest.mark.docker


@pytest.fixture
async def executor(
    request: pytest.FixtureRequest, engine: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[LocalExecutor]:
    """An executor with one container that waits: nothing is counted that was made for its first step."""
    async with opened(request, engine, tmp_path, monkeypatch, warm=4) as executor:
        assert (await run(executor, attempt("true", network=False))).ok
        await executor.filled()
        yield executor


def waiting(executor: LocalExecutor) -> list[Any]:
    """The containers that wait, of all kinds."""
    return [one.container for use in executor._containers.pool._uses.values() for one in use.waiting]


@pytest.mark.parametrize("executor", ["overlay", "copy"], indirect=True)
async def test_a_step_in_a_container_that_waited_is_like_any_other(
    executor: LocalExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    cold = cold_starts(monkeypatch)
    log = Log()
    command = (
        'pwd; id -u; echo err >&2; cat; hostname > /dev/null; echo "$A B"; cat $CONF; mkdir -p sub; '
        'echo 1 > sub/file; touch /tmp/mark; echo v=1 > "$STEPWELL_OUTPUT"'
    )
    asked = attempt(command, key="one#1", network=False, env={"A": "a'$HOME\n\"z"})
    one = await run(executor, asked, log, files={"CONF": "secret\n"})
    assert one.ok and one.layer, (one, log.text)
    assert sorted(log.text.split("\n")) == sorted(["/workspace", "0", "err", "a'$HOME", '"z B', "secret", ""])
    assert one.value["outputs"] == {"v": "1"}
    assert len(executor.first_outputs()) == 1 and executor.first_outputs()[0] > 0
    await executor.filled()
    two = attempt(["sh", "-c", "cat file; ls /tmp; exit 3"], (one.layer,), "two#1", cwd="sub", network=False)
    failed = await run(executor, two, log)
    assert failed.exit_code == 3 and log.text.endswith("1\n"), "another attempt's container was used again"
    assert cold == []


async def test_what_is_no_program_of_the_image_is_named(executor: LocalExecutor) -> None:
    outcome = await run(executor, attempt(["no-such-program"], network=False))
    assert outcome.final and outcome.error is not None
    assert "cannot start: 'no-such-program' is no program" in outcome.error["message"]


async def test_cancelling_and_limits_work_as_in_any_other(executor: LocalExecutor) -> None:
    log = Log()
    running = asyncio.create_task(run(executor, attempt("echo here; sleep 60", network=False), log))
    await log.arrived.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    await executor.filled()
    slow = await run(executor, attempt("sleep 60", network=False, timeout=0.5))
    assert slow.error is not None and slow.error["type"] == "Timeout"


async def test_tenants_kinds_and_other_images_do_not_share(
    executor: LocalExecutor, engine: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    cold = cold_starts(monkeypatch)
    ours = {container.id for container in waiting(executor)}
    assert len(ours) == 1
    stranger = attempt("true", network=False)
    assert (await run(executor, dataclasses.replace(stranger, tenant="other"))).ok
    assert (await run(executor, attempt("true", network=False, memory=64 << 20))).ok
    assert len(cold) == 2 and ours <= {container["Id"] for container in engine.api.containers()}


@pytest.mark.parametrize("executor", ["overlay", "copy"], indirect=True)
async def test_a_second_push_finds_a_container_of_its_setup_waiting(
    executor: LocalExecutor, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    setup = f"echo {tmp_path.name} > /made; echo setting up"
    asked = attempt("cat /made", network=False, setup=setup)
    try:
        assert (await run(executor, asked, log := Log())).ok and "setting up" in log.text
        await executor.filled()
        cold, before = cold_starts(monkeypatch), {one.id for one in waiting(executor)}
        second = await run(executor, dataclasses.replace(asked, run="run-2"), log := Log())
        assert second.ok and log.text == f"{tmp_path.name}\n"
        assert cold == [] and len(before - {one.id for one in waiting(executor)}) == 1
    finally:
        await executor.close()
        await executor.drop_snapshots()


async def test_a_container_that_died_while_it_waited_is_not_used(executor: LocalExecutor) -> None:
    (dead,) = waiting(executor)
    dead.kill()
    dead.wait()
    log = Log()
    assert (await run(executor, attempt("echo alive", network=False), log)).ok
    assert log.text == "alive\n"


async def test_one_that_dies_as_it_is_told_loses_the_attempt(
    executor: LocalExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    (dead,) = waiting(executor)
    dead.kill()
    dead.wait()
    monkeypatch.setattr("stepwell_runners.container_jobs.WaitingContainer.usable", lambda _: True)
    outcome = await run(executor, attempt("echo alive", network=False))
    assert outcome.lost and not outcome.ok


async def test_variables_are_in_no_description_of_the_container(executor: LocalExecutor, engine: Any) -> None:
    (container,) = waiting(executor)
    log = Log()
    running = asyncio.create_task(run(executor, attempt("echo $KEY; sleep 60", network=False), log, env={"KEY": "s3x"}))
    await log.arrived.wait()
    assert log.text == "s3x\n"
    assert "s3x" not in str(engine.api.inspect_container(container.id))
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


async def test_a_container_goes_when_its_server_is_gone(executor: LocalExecutor, engine: Any) -> None:
    ((waits,),) = [use.waiting for use in executor._containers.pool._uses.values() if use.waiting]
    waits.stream._sock.shutdown(socket.SHUT_RDWR)
    assert waits.container.wait(timeout=60)["StatusCode"] == 0


async def test_where_the_engine_sees_no_mounts_of_ours_steps_start_cold(
    engine: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if os.geteuid() != 0:
        pytest.skip("mounting takes root")
    monkeypatch.setattr(slots.Slot, "is_seen_by", lambda self, pid: False)
    executor = LocalExecutor.at(tmp_path / "state", NoIsolates(), warm_containers=2)
    for _ in range(2):
        assert (await run(executor, attempt("true", network=False))).ok
        await executor.filled()
        assert waiting(executor) == []
    await nothing_left(executor, engine)


async def test_an_image_without_a_shell_starts_cold(engine: Any, tmp_path: Path) -> None:
    name = "stepwell-test/no-shell"
    try:
        without = engine.containers.run(IMAGE, ["rm", "/bin/sh"], detach=True)
        without.wait()
        without.commit(name, "latest")
        without.remove()
        executor = LocalExecutor.at(tmp_path / "state", NoIsolates(), warm_containers=2)
        for _ in range(2):
            log = Log()
            asked = attempt(["echo", "here"], image=f"{name}:latest", network=False)
            assert (await run(executor, asked, log)).ok and log.text == "here\n"
            await executor.filled()
            assert waiting(executor) == []
        await nothing_left(executor, engine)
    finally:
        engine.images.remove(f"{name}:latest", force=True)


@pytest.mark.parametrize("executor", ["overlay", "copy"], indirect=True)
@pytest.mark.skipif(not os.environ.get("STEPWELL_SOAK"), reason="fifty containers at a time take a while: make soak")
async def test_fifty_steps_at_once_all_end_right(executor: LocalExecutor) -> None:
    async def one(number: int) -> None:
        log = Log()
        command = f"echo {number}; echo {number} > made; exit {number % 2}"
        outcome = await run(executor, attempt(command, key=f"s{number}#1", network=False), log)
        assert (log.text, outcome.exit_code, bool(outcome.layer)) == (f"{number}\n", number % 2, number % 2 == 0)

    await asyncio.gather(*map(one, range(50)))


async def test_who_removes_what_another_is_removing_waits_for_its_end(engine: Any) -> None:
    def removed(container: Any) -> bool:
        dispose(container)
        return not engine.containers.list(all=True, filters={"id": container.id})

    for _ in range(3):
        container = engine.containers.run(IMAGE, ["/bin/busybox", "sleep", "600"], detach=True, network_mode="none")
        assert await asyncio.gather(*(asyncio.to_thread(removed, container) for _ in range(4))) == [True] * 4


async def test_a_program_that_waits_leads_no_private_file_out_of_its_container(
    executor: LocalExecutor, engine: Any, tmp_path: Path
) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root's containers have a directory of the host's")
    outside = tmp_path / "outside"
    outside.write_text("the host's")
    outside.chmod(0o600)
    image = _with_shell(engine, f'[ -e /run/files ] && ln -s "{outside}" /run/files/CONF')
    try:
        assert (await run(executor, attempt(["true"], image=image, network=False))).ok
        await executor.filled()
        (one,) = [one for kind, use in executor._containers.pool._uses.items() if kind.image == _id(engine, image)
                  for one in use.waiting]  # fmt: skip
        assert one.slot is not None
        async with asyncio.timeout(60):
            while not (one.slot.files / "CONF").is_symlink():
                await asyncio.sleep(0.02)
        asked = attempt(["cat", "/run/files/CONF"], key="two#1", image=image, network=False)
        refused = await run(executor, asked, files={"CONF": "secret"})
        assert outside.read_text() == "the host's" and outside.stat().st_mode & 0o777 == 0o600
        assert refused.final and refused.error is not None and "/run/files" in refused.error["message"]
    finally:
        await executor._containers.pool.stop()
        engine.images.remove(image, force=True)


def _id(engine: Any, image: str) -> str:
    return str(engine.images.get(image).id)


def _with_shell(engine: Any, first: str) -> str:
    """Make an image whose `sh` does something before it reads what it is told."""
    script = f'#!/bin/busybox ash\n{first}\nexec /bin/busybox ash "$@"\n'
    argv = ["busybox", "ash", "-c", 'rm /bin/sh && printf %s "$0" > /bin/sh && chmod 755 /bin/sh', script]
    container = engine.containers.run(IMAGE, argv, entrypoint=[], detach=True, network_mode="none")
    try:
        assert container.wait()["StatusCode"] == 0, container.logs()
        container.commit(repository="stepwell-test/shell", tag="latest")
    finally:
        container.remove(force=True)
    return "stepwell-test/shell:latest"
