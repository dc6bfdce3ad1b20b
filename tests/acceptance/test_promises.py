"""Promises of the design that authors rely on most, kept across a kill -9 of the server."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from live import LiveServer, commit_all, git, wait_until, write_pipeline

HEAD = "from asyncio import gather\nfrom stepwell import Pipeline, StepFailed, push\n\n"

FINALLY = (
    HEAD
    + """
class Guarded(Pipeline):
    on = [push()]

    async def run(self, event, step):
        try:
            await step.approval("Go on?")
        finally:
            await step.run("clean up", "echo EXECUTED")
"""
)

SIBLINGS = (
    HEAD
    + """
REPORT = '<testsuite name="%s" tests="1"><testcase name="a"/></testsuite>'

class Siblings(Pipeline):
    on = [push()]

    async def run(self, event, step):
        await gather(*(
            step.run(f"test {name}", f"echo '{REPORT % name}' > junit.xml; sleep 0.2; grep -q {name} junit.xml",
                     junit=["junit.xml"])
            for name in ("one", "two", "three")
        ))
        await step.run("look", "ls")
"""
)

FILES = (
    HEAD
    + """
class Files(Pipeline):
    on = [push()]

    async def run(self, event, step):
        await step.run("write", "echo first > made; mkdir -p build && echo a > build/a && rm README")
        try:
            await step.run("fail", "echo x > trace; exit 1")
        except StepFailed:
            pass
        await step.run("look", "test ! -e README && test ! -e trace && cat made build/a")
        return await step.read("made")
"""
)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    live = LiveServer(tmp_path_factory.mktemp("promises") / "state")
    live.start()
    yield live
    live.stop()


def push(server: LiveServer, tree: Path, name: str, source: str) -> str:
    """Push a pipeline to a new repository; the id of its run."""
    (tree / "README").write_text("read me\n")
    write_pipeline(tree, source)
    sha = commit_all(tree, "try")
    git("push", "-q", server.create_repository(name), "HEAD:main", cwd=tree)
    rows = server.query("SELECT id FROM runs WHERE json_extract(metadata, '$.commit') = ?", sha)
    return str(rows[0][0])


def test_finally_around_an_approval_runs_once_and_after_it(server: LiveServer, tmp_path: Path) -> None:
    run = push(server, tmp_path, "finally", FINALLY)
    server.wait_for_state(run, {"waiting"})
    server.kill()
    server.start()
    server.wait_for_state(run, {"waiting"})
    assert not server.executions(run), "finally ran before the approval"
    server.approve(run)
    server.wait_for_state(run, {"passed"})
    wait_until(lambda: server.executions(run) == {"clean up#1": 1}, 60, "one execution of finally in the logs")


def test_siblings_writing_the_same_report_pass(server: LiveServer, tmp_path: Path) -> None:
    run = push(server, tmp_path, "siblings", SIBLINGS)
    server.wait_for_state(run, {"passed"})
    assert len(server.passed_steps(run)) == 4


def test_a_step_sees_the_files_of_the_steps_before_it(server: LiveServer, tmp_path: Path) -> None:
    run = push(server, tmp_path, "files", FILES)
    server.wait_for_state(run, {"passed"})
    assert server.run(run)["result"] == "first\n"


def test_cancel_ends_a_running_step_and_the_run(server: LiveServer, tmp_path: Path) -> None:
    run = push(server, tmp_path, "cancel", FINALLY.replace('step.approval("Go on?")', 'step.run("long", "sleep 600")'))
    wait_until(
        lambda: server.query("SELECT 1 FROM journal WHERE run = ? AND type = 'started'", run), 60, "started step"
    )
    server.api("POST", f"/runs/{run}/cancel", json={"reason": "no more"})
    wait_until(lambda: server.state_of(run) == "cancelled", 60, "cancelled run")
    wait_until(lambda: server.executions(run)["clean up#1"] == 1, 60, "finally within the grace")
