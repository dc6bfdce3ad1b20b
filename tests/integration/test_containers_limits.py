"""What containers may not have: too many processes, too much disk, a runtime that is none. A real Docker engine."""

import os
from pathlib import Path
from typing import Any

import pytest
from heavy import GO_ON, IMAGE, WAIT_FOR_THE_STEP, NoIsolates, attempt, nothing_left, run
from logged import Log

from stepwell_runners import archives
from stepwell_runners.containers import Containers
from stepwell_runners.executor import LocalExecutor
from stepwell_runners.spec import FILES
from stepwell_runners.streaming import Bounds
from stepwell_runners.workspaces import Form

pytestmark = pytest.mark.docker


async def test_too_many_processes_and_a_runtime_that_is_not_there_are_named(engine: Any, tmp_path: Path) -> None:
    executor = LocalExecutor.at(tmp_path / "state", NoIsolates(), warm_containers=0)
    command = "i=0; while [ $i -lt 40 ]; do sleep 30 & i=$((i + 1)); done"
    outcome = await run(executor, attempt(command, processes=20, network=False))
    assert outcome.exit_code and outcome.error is not None
    assert "no process: it may have 20 at a time, see processes=" in outcome.error["message"], outcome.error
    other = LocalExecutor.at(tmp_path / "other", NoIsolates(), runtime="no-such-runtime", warm_containers=0)
    refused = await run(other, attempt("true", network=False))
    assert refused.final and refused.error is not None and "STEPWELL_RUNTIME" in refused.error["message"], refused
    await nothing_left(other, engine)
    await nothing_left(executor, engine)


async def test_what_services_and_setups_write_is_bounded(
    engine: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stepwell_runners.container_process._LOOK_SECONDS", 0.1)
    executor = LocalExecutor.at(tmp_path / "state", NoIsolates(), warm_containers=0, bounds=Bounds(disk=20 << 20))
    setup = await run(executor, attempt("true", setup="head -c 30000000 /dev/zero > /big; sleep 60"))
    assert setup.error is not None and setup.error["type"] == "SetupFailed" and "GiB" in setup.error["message"]
    beside = {"db": {"image": IMAGE, "command": f"{WAIT_FOR_THE_STEP}; head -c 30000000 /dev/zero > /big; sleep 60"}}
    command = f"{GO_ON}; while nslookup -type=a db; do sleep 0.2; done"
    assert (await run(executor, attempt(f"{command}; true", services=beside, network=False), log := Log())).ok
    assert any(note.startswith("Service 'db' had ended") and "GiB" in note for note in log.notes), log.notes
    await nothing_left(executor, engine)


async def test_what_goes_into_a_volume_of_the_image_is_bounded_too(
    engine: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stepwell_runners.container_process._LOOK_SECONDS", 0.1)
    made = engine.containers.create(IMAGE, "true")
    image = made.commit(repository="stepwell-test/volume", tag="latest", changes="VOLUME /data").tags[0]
    made.remove()
    executor = LocalExecutor.at(tmp_path / "state", NoIsolates(), warm_containers=0, bounds=Bounds(disk=20 << 20))
    try:
        command = "head -c 30000000 /dev/zero > /data/big; sleep 60"
        outcome = await run(executor, attempt(command, image=image, network=False, timeout=60))
        assert outcome.error is not None and "GiB into its container" in outcome.error["message"], outcome
        await nothing_left(executor, engine)
    finally:
        engine.images.remove(image, force=True)


async def test_a_hole_that_comes_out_of_a_container_takes_no_room(
    engine: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Containers, "form", "copy")
    executor = LocalExecutor.at(tmp_path / "state", NoIsolates(), warm_containers=0)
    outcome = await run(executor, attempt("echo x > hole; truncate -s 200M hole", network=False))
    assert outcome.layer, outcome
    hole = executor._workspaces.lowers((outcome.layer,), tmp_path)[0] / "hole"
    assert hole.stat().st_size == 200 << 20 and hole.stat().st_blocks * 512 < 4 << 20
    monkeypatch.setattr("stepwell_runners.archives.MOST_FETCHED", 100 << 20)
    refused = await run(executor, attempt("truncate -s 200M hole", key="two#1", network=False))
    assert refused.final and refused.error is not None and "holes in them included" in refused.error["message"]
    await nothing_left(executor, engine)


async def test_of_what_is_left_beside_the_workspace_only_the_output_is_read(
    engine: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, whole = [], archives._Blocks.read

    def counted(self: archives._Blocks, size: int = -1) -> bytes:
        read.append(len(found := whole(self, size)))
        return found

    monkeypatch.setattr(archives._Blocks, "read", counted)
    monkeypatch.setattr(Containers, "form", "copy")
    executor = LocalExecutor.at(tmp_path / "state", NoIsolates(), warm_containers=0)
    beside = f"truncate -s 300M {FILES}/hole; echo a=b >> $STEPWELL_OUTPUT"
    outcome = await run(executor, attempt(beside, network=False))
    assert outcome.value["outputs"] == {"a": "b"}
    long = await run(executor, attempt("truncate -s 300M $STEPWELL_OUTPUT", key="two#1", network=False), log := Log())
    assert long.ok and "$STEPWELL_OUTPUT is longer than 1 MiB; none of it was kept." in log.notes
    assert sum(read) < 50 << 20
    await nothing_left(executor, engine)


@pytest.mark.parametrize("form", ["copy", "overlay"])
async def test_odd_things_that_a_container_leaves_end_in_words_or_are_kept(
    form: Form, engine: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if form == "overlay" and os.geteuid() != 0:
        pytest.skip("dockerd's overlays are root's")
    monkeypatch.setattr(Containers, "form", form)
    executor = LocalExecutor.at(tmp_path / "state", NoIsolates(), warm_containers=0)
    odd = "rm -f $STEPWELL_OUTPUT; mkdir $STEPWELL_OUTPUT; ln -s a link; ln link second; mkfifo fifo"
    outcome = await run(executor, attempt(odd, network=False))
    assert outcome.ok and outcome.layer, outcome
    left = executor._workspaces.lowers((outcome.layer,), tmp_path)[0]
    assert {path.name: str(path.readlink()) for path in left.iterdir()} == {"link": "a", "second": "a"}
    deep = f"for i in $(seq 17); do mkdir {'d' * 200} && cd {'d' * 200} || exit 3; done"
    refused = await run(executor, attempt(deep, key="two#1", network=False))
    assert refused.final and refused.error is not None and "longer than 3,000 bytes" in refused.error["message"]
    await nothing_left(executor, engine)


async def test_a_disk_that_cannot_hold_what_a_container_has_left_is_named(
    engine: Any, small_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Containers, "form", "copy")  # as with an engine on another host
    executor = LocalExecutor.at(small_disk / "state", NoIsolates(), warm_containers=0)
    outcome = await run(executor, attempt("dd if=/dev/urandom of=big bs=1M count=32", network=False))
    assert outcome.error is not None and not outcome.lost, outcome
    assert outcome.error["type"] == "DiskFull", outcome.error
    assert "The disk that holds the workspace is full." in outcome.error["message"]
    assert (await run(executor, attempt("echo fine > small", network=False))).layer
    await nothing_left(executor, engine)
