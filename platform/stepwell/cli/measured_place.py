"""The server that the figures of pages are measured on: `stepwell up` in a process of its own, over a past of its own.

Its repository has a run of 200 steps that has passed, one of 200 steps that waits for people, a log of 100,000 lines,
and RUNS small runs. The first of each kind are pushed and played; the small ones are then copied, journals included,
since thousands of isolates would only measure isolates.
"""

import atexit
import json
import os
import resource
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
import uuid
from contextlib import closing
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx

from stepwell.cli.git_client import GitClient
from stepwell.errors import Unavailable

if TYPE_CHECKING:
    from stepwell.ci.views import RunSummary
    from stepwell.cli.compose import Server

RUNS, STEPS, LINES = 5_000, 200, 100_000
WAIT_SECONDS = 120
PLACE = "/home/bench"
SOURCE = f'''
from asyncio import gather
from stepwell import Pipeline, manual, push

async def work(n=0): return n

class Large(Pipeline):
    """Two hundred steps."""

    on = [manual(hold=["no", "yes"])]

    async def run(self, event, step):
        await step.do("install", work)
        kinds = ("unit", "lint", "build")
        await gather(*(step.do(f"{{kind}} {{n}}", work, n) for kind in kinds for n in range(54)))
        await step.run("noise", "seq -f 'line %.0f of what a long test run has to say, ok' {LINES}")
        await gather(*(step.do(f"deploy {{n}}", work, n) for n in range({STEPS} - 166)))
        if event.inputs["hold"] == "yes":
            await step.approval("Ship it?", timeout="7 days")
        await step.do("end", work)
        await step.do("tidy", work)

class Ship(Pipeline):
    """What most runs are."""

    on = [push(), manual(red=["no", "yes"])]

    async def run(self, event, step):
        await gather(*(step.do(name, work) for name in ("lint", "types", "unit")))
        if event.kind == "manual" and event.inputs["red"] == "yes":
            raise RuntimeError("This one is red.")
        await step.do("package", work)
'''


@dataclass(frozen=True)
class Place:
    """A server with a past: addresses of its runs, and a visitor who is signed in."""

    url: str
    cookie: str
    token: str
    passed: str  # path of the page of a run of 200 steps
    waiting: str
    waiting_id: str
    commit: str


@cache
def place() -> Place:
    """Make it, once a process; it ends with the process."""
    directory = tempfile.TemporaryDirectory(prefix="stepwell-bench-")
    made = Made(Path(directory.name))
    atexit.register(directory.cleanup)
    atexit.register(made.close)
    return made.serve()


class Made:
    """A state directory that is filled and then served."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._state = folder / "state"
        self._server: subprocess.Popen[str] | None = None

    def serve(self, runs: int = RUNS) -> Place:
        """Fill the state, start the server on it, sign in."""
        filled = self._fill(runs)
        url, code = self._start()
        answer = httpx.post(f"{url}/signin", data={"code": code}, headers={"Origin": url})
        return replace(filled, url=url, cookie=answer.cookies["stepwell"])

    def _fill(self, runs: int) -> Place:
        from stepwell.cli.compose import HOME, Server, settings_with

        with Server.start(settings_with(state=self._state, url="")) as server:
            services, admin = server.rooms.services, server.rooms.admin()
            services.catalog.create(admin, HOME, "bench")
            token = server.rooms.token("bench", scopes=("read", "write", "approve", "manage", "own"), days=1)
            commit = self._push(GitClient(server.rooms.settings.base_url, token))
            pushed = _first(server)
            wishes: list[tuple[str, dict[str, str]]] = [
                ("Large", {"hold": "no"}), ("Large", {"hold": "yes"}),
                ("Ship", {"red": "no"}), ("Ship", {"red": "yes"}),
            ]  # fmt: skip
            made = [services.runs.start(admin, HOME, "bench", name, inputs=inputs) for name, inputs in wishes]
            for run, state in zip([pushed, *made], ("passed", "passed", "waiting", "passed", "failed"), strict=True):
                _wait(server, run.id, state)
        copy_runs(self._state / "stepwell.db", [run.id for run in (pushed, *made[2:])], runs)
        return Place("", "", token, made[0].url, made[1].url, made[1].id, commit)

    def _push(self, git: GitClient) -> str:
        tree = self._folder / "tree"
        (tree / ".stepwell").mkdir(parents=True)
        (tree / ".stepwell" / "pipeline.py").write_text(SOURCE)
        for number in range(50):
            (tree / f"module_{number}.py").write_text(f"VALUE = {number}\n" * 40)
        git.run(tree, "init", "--quiet")
        for number in range(20):
            (tree / "README.md").write_text(f"# Measured\n\nAs of change {number}.\n")
            git.run(tree, "add", ".")
            git.run(tree, "commit", "--quiet", "-m", f"Change {number}")
        git.run(tree, "push", "--quiet", f"{git.url}{PLACE}.git", "HEAD:main")
        return git.run(tree, "rev-parse", "HEAD").strip()

    def _start(self) -> tuple[str, str]:
        alone = {"XDG_CONFIG_HOME": str(self._folder), "STEPWELL_URL": "", "PYTHONUNBUFFERED": "1"}
        errors = self._folder / "errors"
        with errors.open("wb") as file:
            self._server = subprocess.Popen(
                [sys.executable, "-m", "stepwell.cli", "up", "--json", "--state", str(self._state)],
                env={**os.environ, **alone}, stdout=subprocess.PIPE, stderr=file, stdin=subprocess.DEVNULL,
                start_new_session=True, text=True,
            )  # fmt: skip
        assert self._server.stdout is not None
        if not (line := self._server.stdout.readline()):
            raise Unavailable(f"The server to be measured ended by itself: {errors.read_text()[-500:]}")
        told = json.loads(line)
        return told["url"], told["signin"].partition("code=")[2]

    def close(self) -> None:
        """End the server."""
        if self._server is None:
            return
        os.killpg(self._server.pid, signal.SIGTERM)
        try:
            self._server.communicate(timeout=20)
        except subprocess.TimeoutExpired:
            os.killpg(self._server.pid, signal.SIGKILL)
            self._server.communicate()


def _first(server: "Server") -> "RunSummary":
    """Return the pushed run: a slow machine begins it some time after the push."""
    until = time.monotonic() + WAIT_SECONDS
    while not (found := server.rooms.services.runs.list(server.rooms.admin()).items):
        if time.monotonic() > until:
            raise Unavailable(f"The push began no run within {WAIT_SECONDS} s. Measure on a quiet machine.")
        time.sleep(0.01)
    return found[0]


def _wait(server: "Server", run: str, state: str) -> None:
    until = time.monotonic() + WAIT_SECONDS
    while (found := server.rooms.services.runs.summary(server.rooms.admin(), run)).state != state:
        if found.finished or time.monotonic() > until:
            raise Unavailable(f"Run #{found.number} is {found.state}, not {state}: {found.reason}")
        time.sleep(0.01)


def copy_runs(database: Path, runs: list[str], count: int) -> None:
    """Add copies of these runs, a minute between any two, the last one as old as its original."""
    with closing(sqlite3.connect(database)) as db:
        db.row_factory = sqlite3.Row
        rows = [dict(db.execute("SELECT * FROM runs WHERE id = ?", (run,)).fetchone()) for run in runs]
        journals = [db.execute("SELECT * FROM journal WHERE run = ?", (run,)).fetchall() for run in runs]
        scope, last = rows[0]["scope"], db.execute("SELECT max(number) FROM runs").fetchone()[0]
        for n in range(1, count + 1):
            row, entries, run = rows[n % len(rows)], journals[n % len(rows)], uuid.uuid4().hex[:24]
            earlier = 60.0 * (count - n)
            times = {name: row[name] - earlier for name in _TIMES if row[name] is not None}
            _insert(db, "runs", {**row, **times, "serial": None, "id": run, "number": last + n})
            for entry in entries:
                _insert(db, "journal", {**dict(entry), "run": run, "at": entry["at"] - earlier})
        db.execute("UPDATE numbers SET last = ? WHERE scope = ?", (last + count, scope))
        db.commit()


_TIMES = ("created_at", "started_at", "ended_at", "updated_at")


def _insert(db: sqlite3.Connection, table: str, row: dict[str, Any]) -> None:
    names = ", ".join(row)
    db.execute(f"INSERT INTO {table}({names}) VALUES ({', '.join('?' * len(row))})", list(row.values()))  # noqa: S608


def take_descriptors() -> None:
    """Allow this process as many connections as the figures need."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
