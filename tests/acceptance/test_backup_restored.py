"""A backup of a server at work, made and restored by the command line; the restored server goes on with what waited.

Files of steps are part of it: a waiting run's next step stands in them, and what an earlier step deleted stays deleted.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from live import LiveServer, commit_all, git, wait_until, write_pipeline

from stepwell.store.logs import LogStore

PIPELINE = """
from stepwell import Pipeline, manual

class Park(Pipeline):
    on = [manual()]

    async def run(self, event, step):
        await step.run("write", "echo built > made; rm old; mkdir -m 700 closed; ln -s made link")
        await step.approval("Go on?")
        await step.run("look", "test ! -e old && cat made link && stat -c %a closed && git log --format=%s")

class Busy(Pipeline):
    on = [manual()]

    async def run(self, event, step):
        for number in range(2000):
            await step.run("tick", f"echo {number} > tick && sleep 0.05")
"""


def stepwell(state: Path, *args: str) -> subprocess.CompletedProcess[str]:
    program = Path(sys.executable).with_name("stepwell")
    environment = {**os.environ, "STEPWELL_STATE": str(state)}
    return subprocess.run([program, *args], check=False, env=environment, capture_output=True, text=True, timeout=120)


@pytest.mark.timeout(400)
def test_a_backup_under_load_restores_to_a_server_that_goes_on(tmp_path: Path) -> None:
    server = LiveServer(tmp_path / "state")
    server.start()
    try:
        tree = tmp_path / "author"
        write_pipeline(tree, PIPELINE)
        (tree / "old").write_text("old\n")
        commit_all(tree, "park here")
        git("push", "-q", server.create_repository("park"), "HEAD:main", cwd=tree)
        start = [
            server.api("POST", "/repos/acme/park/runs", json={"pipeline": name})["id"] for name in ("Park", "Busy")
        ]
        waiting, busy = (str(run) for run in start)
        server.wait_for_state(waiting, {"waiting"})
        wait_until(lambda: "tick#2" in server.passed_steps(busy), 60, "second tick")
        done = stepwell(server.state, "backup", str(tmp_path / "backup"))
        assert done.returncode == 0, done.stderr
        server.kill()
    finally:
        server.stop()
    new = LiveServer(tmp_path / "elsewhere" / "state", token=server.token)
    new.state.parent.mkdir()
    done = stepwell(new.state, "restore", str(tmp_path / "backup"))
    assert done.returncode == 0, done.stderr
    assert stepwell(new.state, "doctor", "--check-journal").returncode == 0
    before = new.passed_steps(busy)
    assert "tick#1" in before
    new.start()
    try:
        new.approve(waiting)
        new.wait_for_state(waiting, {"passed"})
        log = LogStore(new.state / "logs").log(waiting, "look#1", 1).read()
        assert log.split() == [b"built", b"built", b"700", b"park", b"here"], log
        further = f"tick#{len(before) + 2}"
        wait_until(lambda: further in new.passed_steps(busy), 60, further)
        done_entries = new.query("SELECT key, count(*) FROM journal WHERE run = ? AND type = 'done' GROUP BY key", busy)
        assert before <= {key for key, _ in done_entries} and {count for _, count in done_entries} == {1}
    finally:
        new.stop()
