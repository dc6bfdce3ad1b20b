"""An engine that is restarted while a step runs: an own dockerd, on a socket and a directory of its own. Soak only."""

import asyncio
import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from heavy import IMAGE, NoIsolates, attempt, image_of, run
from logged import Log

from stepwell_runners.executor import LocalExecutor

pytestmark = [
    pytest.mark.docker,
    pytest.mark.skipif(not os.environ.get("STEPWELL_SOAK"), reason="it starts an engine of its own: make soak"),
    pytest.mark.skipif(os.geteuid() != 0, reason="an engine is root's"),
]


BRIDGE = "stepwell-test"
"""A bridge of its own: with `--bridge=none` a second dockerd takes the first one's `docker0` away."""


@dataclass
class Engine:
    """A dockerd."""

    place: Path
    survives: bool
    remaps: bool = False
    runtimes: dict[str, Any] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None
    client: Any = field(default=None)

    @property
    def host(self) -> str:
        return f"unix://{self.place}/docker.sock"

    def start(self) -> None:
        """Start it and wait until it answers."""
        import docker
        import docker.errors

        settings = self.place / "daemon.json"
        settings.write_text(json.dumps({"runtimes": self.runtimes}))
        command = [
            "dockerd", "--config-file", str(settings), "-H", self.host,
            "--data-root", f"{self.place}/data", "--exec-root", f"{self.place}/exec",
            "--pidfile", f"{self.place}/pid", "--bridge", BRIDGE, "--iptables=false", "--ip-masq=false",
            *(["--live-restore"] if self.survives else []), *(["--userns-remap=default"] if self.remaps else []),
        ]  # fmt: skip
        with (self.place / "log").open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
        until = time.monotonic() + 60
        while True:
            try:
                self.client = docker.DockerClient(base_url=self.host, version="auto")
                self.client.ping()
                return
            except docker.errors.DockerException:
                assert time.monotonic() < until and self.process.poll() is None, (self.place / "log").read_text()[
                    -3000:
                ]
                time.sleep(0.2)

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        """Ask it to stop, or kill it, and wait until it has."""
        assert self.process is not None
        self.process.send_signal(how)
        self.process.wait(60)
        if how == signal.SIGKILL:  # its containerd dies with it, but passes for alive where process 1 reaps nobody
            (self.place / "exec" / "containerd" / "containerd.pid").unlink(missing_ok=True)


@pytest.fixture
def place() -> Iterator[Path]:
    directory = Path(tempfile.mkdtemp(prefix="stepwell-engine-", dir="/var/tmp"))
    subprocess.run(["ip", "link", "add", BRIDGE, "type", "bridge"], check=True)
    try:
        subprocess.run(["ip", "address", "add", "10.253.77.1/24", "dev", BRIDGE], check=True)
        yield directory
    finally:
        subprocess.run(["ip", "link", "delete", BRIDGE], check=True)
        for line in reversed(Path("/proc/self/mountinfo").read_text().splitlines()):
            if (point := line.split()[4]).startswith(str(directory)):
                subprocess.run(["umount", "-l", point], check=True)
        shutil.rmtree(directory)


@pytest.fixture(params=[False, True], ids=["ends them", "live-restore"])
def engine(request: pytest.FixtureRequest, place: Path) -> Iterator[Engine]:
    one = Engine(place, request.param)
    one.start()
    image_of(one.client)
    yield one
    for container in one.client.containers.list(all=True):
        container.remove(force=True)
    one.stop()


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL], ids=["stopped", "killed"])
@pytest.mark.parametrize("warm", [False, True])
async def test_a_step_survives_its_engines_restart_or_is_lost(
    engine: Engine, place: Path, *, warm: bool, how: signal.Signals
) -> None:
    executor = LocalExecutor.at(place / "state", NoIsolates(), docker_host=engine.host, warm_containers=int(warm))
    if warm:
        assert (await run(executor, attempt("true", network=False))).ok
        await executor.filled()
    log = Log()
    most = 200 if engine.survives else 2000  # an engine that is asked to stop waits for ten seconds
    count = "n=$((n + 1)); echo line $n; echo err $n >&2; sleep 0.05"
    command = f"n=0; while [ $n -lt {most} ]; do {count}; done; echo x > made"
    running = asyncio.create_task(run(executor, attempt(command, image=IMAGE, network=False), log))
    while "line 20\n" not in log.text:
        await asyncio.sleep(0.05)
    await asyncio.to_thread(engine.stop, how)
    await asyncio.to_thread(engine.start)
    outcome = await asyncio.wait_for(running, 90)
    if engine.survives:
        assert outcome.ok and outcome.layer, outcome
        lines = log.text.splitlines()
        assert [line for line in lines if line[0] == "l"] == [f"line {n}" for n in range(1, 201)]
        assert [line for line in lines if line[0] == "e"] == [f"err {n}" for n in range(1, 201)]
    else:
        assert outcome.lost, outcome
        again = await run(executor, attempt("echo again", network=False), log)
        assert again.ok and log.text.endswith("again\n")
    await executor.close()
    assert engine.client.containers.list(all=True) == []
    # Docker 20.10 goes on counting the mount of a volume whose container it removed after a live restore.
    assert engine.client.volumes.list() == [] or engine.survives
    assert list((place / "state" / "work").iterdir()) == []


@pytest.mark.parametrize("warm", [False, True])
async def test_a_step_writes_its_workspace_where_the_engine_maps_users(place: Path, *, warm: bool) -> None:
    place.chmod(0o755)
    engine = Engine(place, survives=False, remaps=True)
    engine.start()
    try:
        image_of(engine.client)
        executor = LocalExecutor.at(place / "state", NoIsolates(), docker_host=engine.host, warm_containers=int(warm))
        for number in range(2):
            log = Log()
            command = "read inner outer rest < /proc/self/uid_map; test $outer -gt 0 && echo x > made"
            outcome = await run(executor, attempt(command, key=f"s{number}#1", network=False), log)
            assert outcome.ok and outcome.layer, (outcome, log.text)
            await executor.filled()
        await executor.close()
        assert engine.client.containers.list(all=True) == []
    finally:
        engine.stop()


@pytest.mark.skipif(shutil.which("runsc") is None, reason="needs runsc of gVisor: install the package runsc")
async def test_steps_run_in_gvisor_where_the_engine_has_it(place: Path) -> None:
    # Older versions take every network for the host's where Linux shows net.core in all of them, unless told otherwise.
    gvisor = {"path": shutil.which("runsc"), "runtimeArgs": ["--network=host"]}
    engine = Engine(place, survives=False, runtimes={"runsc": gvisor})
    engine.start()
    try:
        image_of(engine.client)
        executor = LocalExecutor.at(place / "state", NoIsolates(), docker_host=engine.host, runtime="runsc")
        base: tuple[str, ...] = ()
        for number in range(2):
            log = Log()
            asked = attempt(f"dmesg | grep -c gVisor; ls; echo > f{number}", base, f"s{number}#1", network=False)
            outcome = await run(executor, asked, log)
            assert outcome.ok and outcome.layer, (outcome, log.text)
            base = (*base, outcome.layer)
            await executor.filled()
        assert log.text == "1\nf0\n"
        greedy = attempt("head -c 200m /dev/zero | tail -c 190m", key="m#1", network=False, memory=64 << 20)
        assert ((await run(executor, greedy)).error or {})["type"] == "OutOfMemory"
        assert (await run(executor, attempt("cat /made", key="u#1", network=False, setup="echo > /made"))).ok
        await executor.drop_snapshots()
        await executor.close()
        assert (engine.client.containers.list(all=True), engine.client.volumes.list()) == ([], [])
    finally:
        engine.stop()


async def test_cancelling_while_the_engine_is_away_ends_the_container_when_it_is_back(
    engine: Engine, place: Path
) -> None:
    executor = LocalExecutor.at(place / "state", NoIsolates(), docker_host=engine.host, warm_containers=0)
    log = Log()
    running = asyncio.create_task(run(executor, attempt("echo here; sleep 100", network=False), log))
    await log.arrived.wait()
    await asyncio.to_thread(engine.stop)
    running.cancel()
    await asyncio.to_thread(engine.start)
    begun = time.monotonic()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert time.monotonic() - begun < 60
    assert engine.client.containers.list(all=True) == []
