"""Runs that wait for a person cost rows and layers, no process and no memory; a decision wakes one at once.

The layers of runs that have passed are kept for a while as well, and are counted apart.

Forty runs here; `make soak` parks a thousand and then also holds the server's memory to 2 kB a run. What waiting costs
is told apart from what working costs: twice as many runs of the same work go before that do not wait, and leave the
server's caches, threads, the C library's free lists and the interpreter's table of names as large as this work makes
them (docs/decisions/where-the-time-goes.md has what was seen of that table).
"""

import os
import statistics
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pytest
from live import LiveServer, commit_all, git, wait_until, write_pipeline

SOAK = bool(os.environ.get("STEPWELL_SOAK"))
RUNS = 1000 if SOAK else 40
WORKED = 2 * RUNS  # runs that pass before
BLANKS = 4  # what STEPWELL_BLANKS is when nobody sets it
WRITTEN = 1_000_000  # bytes that each run leaves in its workspace
PARK = f"""
from stepwell import Pipeline, manual

class Park(Pipeline):
    on = [manual()]

    async def run(self, event, step):
        await step.run("write", "head -c {WRITTEN} /dev/urandom > blob")
        await step.approval("Go on?")
        await step.run("next", "wc -c < blob")

class Pass(Pipeline):
    on = [manual()]

    async def run(self, event, step):
        await step.run("write", "head -c {WRITTEN} /dev/urandom > blob")
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    live = LiveServer(tmp_path_factory.mktemp("waiting") / "state", {"STEPWELL_MOST_BLANKS": str(BLANKS)})
    live.start()
    tree = tmp_path_factory.mktemp("author")
    write_pipeline(tree, PARK)
    commit_all(tree, "park")
    git("push", "-q", live.create_repository("park"), "HEAD:main", cwd=tree)
    yield live
    live.stop()


def start_all(server: LiveServer, pipeline: str, count: int) -> list[str]:
    """Start that many runs and wait until each waits or has passed."""

    def start(_: int) -> str:
        run: dict[str, Any] = server.api("POST", "/repos/acme/park/runs", json={"pipeline": pipeline})
        return str(run["id"])

    with ThreadPoolExecutor(4) as pool:
        runs = list(pool.map(start, range(count)))

    def all_rest() -> bool:
        rows = server.query("SELECT state, count(*) FROM runs GROUP BY state")
        assert not {"failed", "diverged"} & {state for state, _ in rows}, rows
        return all(state in {"waiting", "passed"} for state, _ in rows)

    wait_until(all_rest, 60 + count, f"{count} runs at rest")
    return runs


def processes(server: LiveServer) -> list[list[str]]:
    """Command lines of everything below the server."""
    assert server.process is not None
    found = []
    for child in psutil.Process(server.process.pid).children(recursive=True):
        try:
            found.append(child.cmdline())
        except psutil.NoSuchProcess:
            continue
    return found


def idle_processes(server: LiveServer) -> int:
    """How many are below the server once its pool of blank isolates stands."""
    assert server.process is not None
    helpers = psutil.Process(server.process.pid).children()
    (zygote,) = (helper for helper in helpers if any("zygote" in word for word in helper.cmdline()))
    wait_until(lambda: len(zygote.children()) == BLANKS, 60, "a full pool of blanks")
    return len(processes(server))


def resident(server: LiveServer) -> int:
    assert server.process is not None
    size: int = psutil.Process(server.process.pid).memory_info().rss
    return size


def settled(server: LiveServer) -> int:
    """Resident memory after the server has given back what it freed, which it does every minute."""
    if SOAK:
        time.sleep(65)
    return resident(server)


def layers_of(server: LiveServer, state: str) -> list[Path]:
    """The layers on which runs in a state stand."""
    rows = server.query("SELECT layer FROM run_layers JOIN runs ON runs.id = run_layers.run WHERE state = ?", state)
    return [server.state / "layers" / Path(*layer.partition("-")[::2]) for (layer,) in rows]


def bytes_of(layers: list[Path]) -> int:
    files = [file for layer in layers for file in layer.rglob("*")]
    return sum(file.stat().st_size for file in files if file.is_file() and not file.is_symlink())


def wake_ms(server: LiveServer, run: str) -> float:
    """Approve, wait for the end; from the decision's entry to the next step's first entry, in milliseconds."""
    server.approve(run)
    server.wait_for_state(run, {"passed"})
    (decided,) = server.query("SELECT at FROM journal WHERE run = ? AND type = 'decision'", run)
    (started,) = server.query("SELECT at FROM journal WHERE run = ? AND type = 'started' AND key = 'next#1'", run)
    return (float(started[0]) - float(decided[0])) * 1000


@pytest.mark.timeout(3600 if SOAK else 400)
def test_waiting_runs_cost_rows_and_layers_only(server: LiveServer) -> None:
    idle = idle_processes(server)
    start_all(server, "Pass", WORKED)
    wait_until(lambda: len(processes(server)) <= idle, 60, "end of the isolates")
    before = settled(server)
    runs = start_all(server, "Park", RUNS)
    wait_until(lambda: len(processes(server)) <= idle, 60, "end of the isolates")
    grown = (settled(server) - before) / RUNS
    rows = server.query("SELECT count(*) FROM journal")[0][0]
    waiting, passed = layers_of(server, "waiting"), layers_of(server, "passed")
    assert set(waiting + passed) == set((server.state / "layers").glob("*/*")), "layers on which no run stands"
    assert (len(waiting), len(passed)) == (RUNS, WORKED)
    layers = bytes_of(waiting)
    assert layers >= RUNS * WRITTEN, "a run's megabyte is not in its layer"
    assert layers < RUNS * (WRITTEN + 100_000), "layers hold more than what the step wrote"
    woken = [wake_ms(server, run) for run in runs[: 30 if SOAK else 5]]
    print(
        f"\n{RUNS} waiting runs: {grown:.0f} bytes of memory a run, {rows} journal rows, "
        f"{layers / 1e6:.0f} MB of layers, approval to next step {statistics.median(woken):.1f} ms (median)"
    )
    if SOAK:
        assert grown < 2048, f"the server grew by {grown:.0f} bytes for each waiting run"
        assert statistics.median(woken) < 50, f"approvals woke runs in {woken} ms"
