"""kill -9 of the server while a container step runs: its container goes on, and nothing is printed twice or lost.

The engine is asked how often a container of the server was started: none waits, so once for each command.
A kill here; `make soak` makes twenty, at moments from before the container is made until after it has ended.
"""

import hashlib
import os
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import docker
import pytest
from heavy import IMAGE
from live import LiveServer, commit_all, git, wait_until, write_pipeline

from stepwell.store.logs import LogStore

pytestmark = pytest.mark.docker
MOMENTS = [n * 0.2 for n in range(20)] if os.environ.get("STEPWELL_SOAK") else [None]
LINES = [f"line {number}" for number in range(1, 41)]
PIPELINE = f"""
from stepwell import Pipeline, push

COUNT = 'n=0; while [ $n -lt 40 ]; do n=$((n + 1)); echo line $n; sleep 0.05; done; echo made > made'

class Count(Pipeline):
    on = [push()]
    async def run(self, event, step):
        await step.run("count", COUNT, image="{IMAGE}", network=False)
        await step.run("after", "cat made")
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    state = tmp_path_factory.mktemp("heavy") / "state"
    live = LiveServer(state, environment={"STEPWELL_WARM_CONTAINERS": "0"})
    live.start()
    yield live
    live.stop()


def starts(engine: docker.DockerClient, state: Path, since: datetime) -> int:
    """How many containers of this server were started since then."""
    label = f"stepwell.state={hashlib.sha256(str(state.resolve()).encode()).hexdigest()[:16]}"
    asked = {"type": "container", "event": "start", "label": label}
    return len(list(engine.events(since=since, until=datetime.now(UTC), filters=asked, decode=True)))


@pytest.mark.parametrize("moment", MOMENTS)
def test_the_command_is_begun_once_and_every_line_is_kept(
    server: LiveServer, engine: docker.DockerClient, tmp_path: Path, moment: float | None
) -> None:
    since = datetime.now(UTC)
    name = "once" if moment is None else f"at-{round(moment * 10)}"
    write_pipeline(tmp_path / "tree", PIPELINE)
    commit_all(tmp_path / "tree", "Count")
    git("push", "-q", server.create_repository(name), "HEAD:main", cwd=tmp_path / "tree")
    run = str(wait_until(lambda: server.runs(name), 60, "a run")[0]["id"])
    logs = LogStore(server.state / "logs")
    if moment is None:
        wait_until(lambda: b"line 10\n" in logs.log(run, "count#1", 1).read(0, 4096), 60, "ten lines")
    else:
        time.sleep(moment)
    server.kill()
    had_ended = b"line 40\n" in logs.log(run, "count#1", 1).read(0, 4096)
    server.start()
    server.wait_for_state(run, {"passed"})
    log = logs.log(run, "count#1", max(logs.attempts(run, "count#1")))
    assert [line.text.decode() for line in log.lines(0, 100) if not line.note] == LINES
    if not had_ended:  # else it may have, and not been journaled: the one moment at which a step runs again
        assert starts(engine, server.state, since) == 1
    assert list((server.state / "work").iterdir()) == []
    kept = f" {server.state / 'lazy'} "  # where a server that runs mounts trees before they are checked out
    mounts = Path("/proc/self/mountinfo").read_text().splitlines()
    assert [mount for mount in mounts if str(server.state) in mount and kept not in mount] == []
