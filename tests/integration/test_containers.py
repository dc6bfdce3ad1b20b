"""Container steps against a real Docker engine, with an image made from busybox."""

import asyncio
import dataclasses
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from heavy import IMAGE, NoIsolates, attempt, nothing_left, opened, run
from logged import Log

from stepwell.engine.seams import Attempt
from stepwell_runners.container_process import said_out_of_memory
from stepwell_runners.containers import LABEL
from stepwell_runners.executor import LocalExecutor
from stepwell_runners.images import SNAPSHOTS
from stepwell_runners.snapshot_notes import Keep, SnapshotNotes
from stepwell_runners.snapshots import Snapshots
from stepwell_runners.streaming import Bounds

pytestmark = pytest.mark.docker


@pytest.fixture(params=["overlay", "copy"])
async def executor(
    request: pytest.FixtureRequest, engine: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[LocalExecutor]:
    async with opened(request, engine, tmp_path, monkeypatch) as executor:
        yield executor


async def test_a_container_step_prints_passes_and_leaves_its_files(executor: LocalExecutor) -> None:
    log = Log()
    command = 'pwd; id -u; echo $CI; echo err >&2; mkdir -p sub; echo 1 > sub/file; echo v=1 > "$STEPWELL_OUTPUT"'
    one = await run(executor, attempt(command, key="one#1"), log)
    assert one.ok and one.layer, (one, log.data)
    assert sorted(log.data.decode().split()) == sorted(["/workspace", "0", "true", "err"])
    assert one.value["outputs"] == {"v": "1"}
    two = await run(executor, attempt("cat file; rm file", (one.layer,), "two#1", cwd="sub"), log)
    assert two.ok and two.layer and log.data.endswith(b"1\n")
    three = await run(executor, attempt("test ! -e sub/file && test -d sub", (one.layer, two.layer), "three#1"))
    assert three.ok and three.layer is None


async def test_failures_timeouts_and_junit(executor: LocalExecutor) -> None:
    failed = await run(executor, attempt("echo x > junit.xml; exit 3", junit=["junit.xml"]))
    assert not failed.ok and failed.exit_code == 3 and failed.error is not None
    assert failed.error["message"] == "exit code 3"
    assert failed.collected is not None and failed.collected["reports"] == 1
    slow = await run(executor, attempt("sleep 60", timeout=1.0))
    assert slow.error is not None and slow.error["type"] == "Timeout"


async def test_cancelling_removes_the_container(executor: LocalExecutor) -> None:
    log = Log()
    running = asyncio.create_task(run(executor, attempt("echo here; sleep 60"), log))
    await log.arrived.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


async def test_secrets_come_as_variables_and_files(executor: LocalExecutor) -> None:
    log = Log()
    outcome = await run(executor, attempt('echo "$KEY"; cat "$CONF"'), log, env={"KEY": "k"}, files={"CONF": "f\n"})
    assert outcome.ok and log.data == b"k\nf\n" and outcome.layer is None


async def test_what_a_container_may_not_do(executor: LocalExecutor) -> None:
    log = Log()
    command = (
        "mknod dev c 1 3 || echo no device; grep NoNewPrivs /proc/self/status; ls /sys/class/net; touch s; "
        "chmod 4755 s; arping -c 1 -I lo 127.0.0.1 2>&1 || echo no packets of its own"
    )
    outcome = await run(executor, attempt(command), log)
    assert outcome.ok and outcome.layer
    assert b"no device" in log.data and b"NoNewPrivs:\t1" in log.data
    assert b"no packets of its own" in log.data and b"not permitted" in log.data, log.text
    log = Log()
    assert (await run(executor, attempt("stat -c '%a %u' s", (outcome.layer,), "two#1"), log)).ok
    assert log.data == b"755 0\n"


async def test_a_container_without_network_has_only_the_loopback(executor: LocalExecutor) -> None:
    log = Log()
    assert (await run(executor, attempt("ls /sys/class/net", network=False), log)).ok
    assert log.data == b"lo\n"


async def test_out_of_memory_is_named(executor: LocalExecutor) -> None:
    kinds = []
    for n in range(3):  # the engine itself is not told of each, on a busy host
        command = attempt("head -c 200m /dev/zero | tail -c 190m", key=f"oom#{n}", memory=32 << 20)
        outcome = await run(executor, command)
        assert not outcome.ok and outcome.error is not None
        assert "memory" in outcome.error["message"] and "(limit 32 MiB)" in outcome.error["message"], outcome.error
        kinds.append(outcome.error["type"])
        if kinds[-1] == "OutOfMemory":
            return
    pytest.fail(f"of three steps out of memory none is said to be: {kinds}")


async def test_who_kills_itself_is_not_out_of_memory(executor: LocalExecutor) -> None:
    outcome = await run(executor, attempt("exit 137", memory=32 << 20))
    assert outcome.error is not None and outcome.error["type"] == "CommandFailed", outcome.error
    assert outcome.error["message"].startswith(
        "exit code 137: it was killed, most often for want of memory (limit 32 MiB)"
    )


class _Late:
    """An ended container of which the engine says late, or never, that it was out of memory."""

    def __init__(self, *told: bytes) -> None:
        self.id = "c" * 64
        self.asked: dict[str, Any] = {}
        self.client = self.api = self
        self._told = told
        self.closed = False

    def events(self, **asked: Any) -> "_Late":
        self.asked = asked
        return self

    def __next__(self) -> bytes:
        if not self._told:
            raise StopIteration
        return self._told[0]

    def close(self) -> None:
        self.closed = True


def test_a_late_word_of_the_engine_counts() -> None:
    late, never = _Late(b'{"status": "oom"}'), _Late()
    assert said_out_of_memory(late) and late.closed
    assert late.asked["filters"] == {"container": late.id, "event": "oom"}
    assert late.asked["until"] - late.asked["since"] == 4
    assert not said_out_of_memory(never) and not never.closed


async def test_what_a_container_writes_elsewhere_is_bounded(
    engine: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stepwell_runners.container_process._LOOK_SECONDS", 0.1)
    executor = LocalExecutor.at(tmp_path / "state", NoIsolates(), warm_containers=0, bounds=Bounds(disk=20 << 20))
    outcome = await run(executor, attempt("head -c 30000000 /dev/zero > /big; sleep 60", network=False))
    assert outcome.error is not None and outcome.error["type"] == "TooMuchDisk", outcome
    assert "into its container" in outcome.error["message"]
    assert (await run(executor, attempt("head -c 3000000 /dev/zero > /big; sleep 0.5", network=False))).ok
    await nothing_left(executor, engine)


async def test_what_cannot_start_is_named_and_final(executor: LocalExecutor) -> None:
    for asked, words in [
        (attempt("true", image="stepwell-test/missing:1"), "Image 'stepwell-test/missing:1' is not on this host"),
        (attempt(["no-such-program"]), "cannot start"),
        (attempt("true", network=["a.example.org"]), "list of hosts"),
        (attempt("true", setup="true", setup_inputs=["missing.txt"]), "'missing.txt', which is not a regular file"),
    ]:
        outcome = await run(executor, asked)
        assert not outcome.ok and outcome.final and outcome.error is not None and words in outcome.error["message"]


async def test_setup_runs_once_per_content(executor: LocalExecutor, engine: Any) -> None:
    base = await run(executor, attempt("echo one > inputs.txt", key="base#1"))
    assert base.layer
    stamp = executor._workspaces.state.parent.name  # another key for every test

    def asked(key: str, layers: tuple[str, ...]) -> Attempt:
        setup = f"cat inputs.txt > /made; echo {stamp} > /dev/null; echo setting up"
        return attempt("cat /made", layers, key, setup=setup, setup_inputs=["inputs.txt"])

    try:
        first, second, third = Log(), Log(), Log()
        assert (await run(executor, asked("one#1", (base.layer,)), first)).ok
        assert (await run(executor, asked("two#1", (base.layer,)), second)).ok
        assert first.data == b"setting up\none\n" and second.data == b"one\n"
        changed = await run(executor, attempt("echo two > inputs.txt", (base.layer,), "changed#1"))
        assert changed.layer
        assert (await run(executor, asked("three#1", (base.layer, changed.layer)), third)).ok
        assert third.data == b"setting up\ntwo\n"
        failed = await run(executor, attempt("true", setup=f"exit 4 # {stamp}"))
        assert not failed.ok and not failed.final and failed.error is not None
        assert failed.error == {"type": "SetupFailed", "message": "setup= failed: exit code 4.", "traceback": ""}
    finally:
        await executor.drop_snapshots()
        assert engine.images.list(filters={"label": f"{LABEL}={executor._containers._label[LABEL]}"}) == []


async def test_a_snapshot_is_of_a_branch_and_of_the_limits_that_its_setup_saw(engine: Any, tmp_path: Path) -> None:
    executor = LocalExecutor.at(tmp_path / "state", NoIsolates(), warm_containers=0)
    setup = f"echo setting up; cat /sys/fs/cgroup/memory.max /sys/fs/cgroup/cpu.max > /made || true # {tmp_path.name}"

    async def made(*makers: str, **options: Any) -> bool:
        log = Log()
        assert (await run(executor, attempt("true", setup=setup, network=False, **options), log, setups=makers)).ok
        return b"setting up" in log.data

    try:
        assert await made("main", "topic") and not await made("main", "topic")
        assert await made("main") and not await made("main", "other")
        assert await made("release/1")
        for limits in ({"memory": 32 << 20}, {"processes": 20}, {"cpu": 0.5}):
            assert await made("main", **limits), limits
        assert not await made("main", timeout=60.0)
    finally:
        await executor.drop_snapshots()


async def test_snapshots_are_counted_and_the_oldest_give_way(engine: Any, tmp_path: Path) -> None:
    executor = LocalExecutor.at(tmp_path / "state", NoIsolates(), warm_containers=0, snapshots=Keep(1_500_000))
    notes = SnapshotNotes(tmp_path / "state")

    async def set_up(name: str) -> None:
        setup = f"head -c 1000000 /dev/zero > /{name}; echo {tmp_path.name}"
        assert (await run(executor, attempt(f"test -s /{name}", setup=setup, network=False))).ok

    await set_up("one")
    await set_up("one")
    (first,) = notes.all()
    assert (first.scope, first.hits) == ("acme/api", 1) and 1_000_000 <= first.size < 1_100_000
    await set_up("two")
    (second,) = notes.all()
    assert second.key != first.key
    ours = {"label": f"{LABEL}={executor._containers._label[LABEL]}"}
    assert [image.tags for image in engine.images.list(filters=ours)] == [[f"{SNAPSHOTS}:{second.key}"]]
    await executor.drop_snapshots()
    assert (notes.all(), engine.images.list(filters=ours)) == ([], [])
    await nothing_left(executor, engine)


@pytest.mark.parametrize("how", ["collect", "drop"])
def test_a_snapshot_that_goes_while_they_are_looked_at_is_no_trouble(
    engine: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    labels, keys = {LABEL: tmp_path.name}, [f"{tmp_path.name}-{how}-{number}" for number in range(2)]
    notes, listed = SnapshotNotes(tmp_path), engine.api.images
    for key in keys:
        box = engine.containers.create(IMAGE, ["true"])
        box.commit(SNAPSHOTS, key, changes=f"LABEL {LABEL}={tmp_path.name}\nENV KEY={key}")
        box.remove()
        notes.made(key, "acme/api", "make", 10)

    def late(*asked: Any, **narrowed: Any) -> Any:
        found = listed(*asked, **narrowed)
        engine.api.remove_image(f"{SNAPSHOTS}:{keys[0]}")
        return found

    snapshots = Snapshots(labels, notes, Keep(0), lambda: "")
    with monkeypatch.context() as patched:
        patched.setattr(engine.api, "images", late)
        getattr(snapshots, how)(engine)
    assert notes.all() == []
    assert engine.images.list(filters={"label": f"{LABEL}={tmp_path.name}"}) == []


async def test_recover_removes_our_orphans_only(executor: LocalExecutor, engine: Any) -> None:
    assert (await run(executor, attempt("true"))).ok
    ours = engine.containers.create(IMAGE, ["sleep", "60"], labels=executor._containers._label)
    ours.start()
    other = engine.containers.create(IMAGE, ["true"], labels={LABEL: "another"})
    try:
        await executor.recover(lambda layer: True, lambda run: False)
        assert engine.containers.list(all=True, filters={"id": other.id}) != []
        assert engine.containers.list(all=True, filters={"id": ours.id}) == []
    finally:
        other.remove(force=True)


async def test_without_an_engine_the_step_fails_at_once_and_says_what_to_do(tmp_path: Path) -> None:
    executor = LocalExecutor.at(tmp_path, NoIsolates(), docker_host=f"unix://{tmp_path}/none.sock")
    await executor.recover(lambda layer: True, lambda run: False)
    outcome = await run(executor, dataclasses.replace(attempt("true")))
    assert not outcome.ok and outcome.final and outcome.error is not None
    assert outcome.error["type"] == "Unavailable" and "Start Docker on this host" in outcome.error["message"]


async def test_a_cache_is_restored_and_saved_around_a_container(executor: LocalExecutor) -> None:
    cache = [{"key": "deps", "paths": ["lib/deps"], "fallback": []}]
    one = await run(executor, attempt("mkdir -p lib/deps; echo 1 > lib/deps/a", cache=cache))
    log = Log()
    two = await run(executor, attempt("cat lib/deps/a; echo 2 > lib/deps/b", cache=cache), log)
    assert one.ok and two.ok and one.layer is None and two.layer is None, (one, two)
    assert log.data == b"1\n" and any(note.endswith("is saved: 2 files, 4 bytes.") for note in log.notes)


async def test_a_container_step_is_reused_by_the_id_of_its_image(executor: LocalExecutor) -> None:
    made = await run(executor, attempt("mkdir in; echo 1 > in/a", key="make#1"))
    base = (made.layer or "",)
    one = await run(executor, attempt("cat in/a > out", base, reuse=["in/**"]))
    two = await run(executor, dataclasses.replace(attempt("cat in/a > out", base, reuse=["in/**"]), run="run-2"))
    assert one.ok and one.reused is None and two.reused == {"run": "run-1", "number": 0} and two.layer
