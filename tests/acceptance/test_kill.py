"""kill -9 of server and zygote at the worst moments: the pushed commit gets its run, nothing that passed runs again.

The proof is on the host's disk: each execution of a command leaves its words in a log file, so a second execution
would leave them twice, whatever the server believes. A few kills here; `make soak` makes ten of each kind.
"""

import os
import random
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from lent_tools import lend
from live import LiveServer, commit_all, git, wait_until

SOAK = bool(os.environ.get("STEPWELL_SOAK"))
ROUNDS = 10 if SOAK else 1
MOMENTS = ("effect", "approval", "push", "random")
VICTIMS = ("server", "zygote")
KILLS = [
    (moment, victim)
    for m, moment in enumerate(MOMENTS)
    for v, victim in enumerate(VICTIMS)
    if SOAK or v == m % len(VICTIMS) or moment == "effect"
]
EXAMPLE = Path(__file__).resolve().parents[2] / "pipelines_examples" / "python-service"
WORDS = (b"test session starts", b"All checks passed", b"Success: no issues", b"EXECUTED deploy")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, tools_kept: Path) -> Iterator[LiveServer]:
    """One server for all kills: what one of them breaks, the next ones see."""
    live = LiveServer(tmp_path_factory.mktemp("kill") / "state")
    lend(tools_kept, live.state)
    live.start()
    live.api("POST", "/repos", json={"tenant": "acme", "name": "service"})
    live.api("PUT", "/repos/acme/service/secrets/DEPLOY_KEY", json={"value": "correct horse battery"})
    yield live
    live.stop()


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory, server: LiveServer) -> Path:
    """A clone of the example whose deploy says that it ran."""
    copy = tmp_path_factory.mktemp("author") / "service"
    shutil.copytree(EXAMPLE, copy)
    deploy = copy / "deploy.sh"
    deploy.write_text(f"echo EXECUTED deploy\n{deploy.read_text()}")
    commit_all(copy, "start")
    git("remote", "add", "origin", f"http://tests:{server.token}@127.0.0.1:{server.port}/acme/service.git", cwd=copy)
    return copy


def pushed(server: LiveServer, sha: str) -> bool:
    rows = server.query("SELECT count(*) FROM push_intents WHERE new = ? AND state = 'done'", sha)
    return bool(rows[0][0])


def run_of(server: LiveServer, sha: str) -> str:
    rows = server.query("SELECT id FROM runs WHERE json_extract(metadata, '$.commit') = ?", sha)
    assert len(rows) <= 1, f"commit {sha} has {len(rows)} runs"
    return str(rows[0][0]) if rows else ""


def between_effect_and_entry(server: LiveServer, sha: str) -> set[str]:
    """Name the steps that have had their effect and are not in the journal as done."""
    run = run_of(server, sha)
    if not run:
        return set()
    seen = {key for key, count in server.executions(run, *WORDS).items() if count}
    return seen - server.passed_steps(run)  # read after the effects: what is missing now was missing then


def catch(server: LiveServer, sha: str) -> set[str]:
    """Freeze the server between a step's effect and its entry; those steps.

    Seen from outside the moment may be over before it can be used, so the server is stopped first and looked at again:
    what is missing from the journal then stays missing until somebody lets the server go on.
    """
    while True:
        wait_until(lambda: between_effect_and_entry(server, sha), 120, "effect of a step that is not journaled")
        server.freeze()
        caught = between_effect_and_entry(server, sha)
        if caught:
            return caught
        server.thaw()


def wait_for_moment(server: LiveServer, moment: str, sha: str, chance: random.Random) -> None:
    if moment == "push":
        time.sleep(chance.uniform(0.0, 0.25))
    elif moment == "random":
        time.sleep(chance.uniform(0.0, 8.0))
    elif moment == "approval":
        run = wait_until(lambda: run_of(server, sha), 60, "run")
        server.wait_for_approval(run)


def push_again_until_done(tree: Path, server: LiveServer, sha: str) -> str:
    """A push that was cut off is made again by its author; one that moved the ref needs nothing."""
    answer = git("push", "-q", "origin", "HEAD:main", cwd=tree, check=False)
    assert answer.returncode == 0, f"the push after the restart failed: {answer.stderr}"
    return wait_until(lambda: run_of(server, sha), 90, f"run of {sha}")


@pytest.mark.timeout(1800 if ROUNDS > 1 else 400)
@pytest.mark.parametrize("round_", range(ROUNDS))
@pytest.mark.parametrize(("moment", "victim"), KILLS)
def test_a_kill_loses_no_run_and_repeats_no_passed_step(
    server: LiveServer, tree: Path, moment: str, victim: str, round_: int
) -> None:
    chance = random.Random(f"{moment} {victim} {round_}")
    sha = commit_all(tree, f"{moment} {victim} {round_} {time.time_ns()}")
    push = subprocess.Popen(
        ["git", "push", "-q", "origin", "HEAD:main"],
        cwd=tree,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    wait_for_moment(server, moment, sha, chance)
    caught = catch(server, sha) if moment == "effect" else set()
    if victim == "server":
        server.kill()
    else:
        server.kill_zygote()
    assert not caught & server.passed_steps(run_of(server, sha)), "the kill came after the entry"
    if caught and victim == "zygote":
        server.thaw()
    run = run_of(server, sha)
    passed_then = server.passed_steps(run) if run else set()
    executed_then = server.executions(run, *WORDS) if run else {}
    push.wait(60)
    if victim == "server":
        server.start()
    run = push_again_until_done(tree, server, sha)
    server.wait_for_approval(run)
    server.approve(run)
    server.wait_for_state(run, {"passed"})
    executed = server.executions(run, *WORDS)
    assert executed["deploy#1"] >= 1, "the deploy left no trace"
    changed = {key for key in passed_then if executed.get(key, 0) != executed_then.get(key, 0)}
    assert not changed, f"passed before the kill and executed again: {changed}"
    done = server.query("SELECT key, count(*) FROM journal WHERE run = ? AND type = 'done' GROUP BY key", run)
    assert all(count == 1 for _, count in done), f"a step finished twice: {done}"
