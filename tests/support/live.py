"""A real server in a process of its own, a real git client, and eyes on what the server keeps on disk.

Used by acceptance tests: they push, kill and approve as people and hosts do, over git and HTTP only.
What they assert about journals and logs they read from the state directory, not from the server's answers.
"""

import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import httpx
import psutil

from stepwell.store.logs import LogStore
from stepwell.store.packed import unpack
from stepwell.store.store import Store
from stepwell.tenants import Tenants
from stepwell.tenants.actors import ACTIONS

TENANT = "acme"
T = TypeVar("T")
FINISHED = {"passed", "failed", "cancelled", "diverged"}


def wait_until(probe: Callable[[], T], seconds: float, what: str) -> T:
    """Poll until `probe` gives something true; fail naming what was waited for."""
    begun = time.monotonic()
    while True:
        if found := probe():
            return found
        waited = time.monotonic() - begun
        if waited > seconds:
            raise AssertionError(f"after {seconds:g} s there was still no {what}")
        time.sleep(min(max(0.002, waited / 50), 0.02))  # what takes long is not looked at 500 times a second


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@dataclass
class LiveServer:
    """`stepwell up` on a state directory; may be killed and started again on the same port."""

    state: Path
    environment: dict[str, str] = field(default_factory=dict)
    port: int = field(default_factory=free_port)
    token: str = ""
    command: tuple[str, ...] = (str(Path(sys.executable).with_name("stepwell")),)
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start and wait until it answers."""
        self.state.mkdir(parents=True, exist_ok=True)
        log = (self.state.parent / f"{self.state.name}.server.log").open("ab")
        settings = {"STEPWELL_STATE": str(self.state), "STEPWELL_PORT": str(self.port)}
        self.process = subprocess.Popen(
            [*self.command, "up"],
            env={**os.environ, **settings, **self.environment},
            stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        log.close()
        try:
            wait_until(self._answers, 60, f"answer from {self.url}")
            self.token = self.token or self._issue_token()
        except BaseException as error:
            self.stop()
            error.add_note(f"its last words: {self.last_words()}")
            raise

    def _answers(self) -> bool:
        assert self.process is not None
        if self.process.poll() is not None:
            raise AssertionError(f"the server ended with {self.process.returncode}: {self.last_words()}")
        try:
            return httpx.get(f"{self.url}/healthz", timeout=5).status_code == 200
        except httpx.HTTPError:
            return False

    def last_words(self) -> str:
        """The end of what the server printed."""
        log = self.state.parent / f"{self.state.name}.server.log"
        return log.read_text(errors="replace")[-4000:] if log.exists() else "nothing"

    @contextmanager
    def _tenants(self) -> Iterator[Tenants]:
        store = Store(self.state / "stepwell.db")
        yield Tenants(store, self.state / "key")
        store.close()

    def _issue_token(self) -> str:
        with self._tenants() as tenants:
            actor = tenants.people.actor(tenants.bootstrap().id)
            if TENANT not in actor.roles:
                tenants.create(actor, TENANT)
                actor = tenants.people.actor(actor.person)
            return tenants.tokens.issue(actor, "tests", scopes=ACTIONS).secret

    def signin_link(self) -> str:
        """A link that signs the first person in once."""
        with self._tenants() as tenants:
            return f"{self.url}/signin?code={tenants.links.issue('admin')}"

    def kill(self) -> None:
        """End the server alone as the kernel would: nothing is flushed, nobody is told."""
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def freeze(self) -> None:
        """Stop every thread of the server where it is, so that a test can look before it acts."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)
        wait_until(lambda: psutil.Process(self.pid).status() == psutil.STATUS_STOPPED, 60, "a frozen server")

    def thaw(self) -> None:
        """Let a frozen server go on."""
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def kill_zygote(self) -> None:
        """End the zygote, as the out-of-memory killer might."""
        assert self.process is not None
        children = psutil.Process(self.process.pid).children(recursive=True)
        for child in children:
            with _gone_is_fine():
                if any("zygote" in word for word in child.cmdline()):
                    child.kill()
                    return
        raise AssertionError(f"no zygote below the server: {[c.cmdline() for c in children]}")

    def stop(self) -> None:
        """End the server as an operator would."""
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(60)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()

    # the API as programs use it

    def api(self, method: str, path: str, **arguments: Any) -> Any:
        """Call the JSON API as the owner; an error answer fails the test with its text."""
        headers = {"Authorization": f"Bearer {self.token}"}
        answer = httpx.request(method, f"{self.url}/api/v1{path}", headers=headers, timeout=60, **arguments)
        assert answer.status_code < 400, f"{method} {path}: {answer.status_code} {answer.text}"
        return answer.json() if answer.content else None

    def create_repository(self, name: str) -> str:
        """Create a repository; its clone URL with the token in it."""
        self.api("POST", "/repos", json={"tenant": TENANT, "name": name})
        return self.clone_url(name)

    def clone_url(self, name: str) -> str:
        """A repository's address with the token in it."""
        return f"http://tests:{self.token}@127.0.0.1:{self.port}/{TENANT}/{name}.git"

    def runs(self, repository: str) -> list[dict[str, Any]]:
        """Runs of a repository, newest first."""
        items: list[dict[str, Any]] = self.api("GET", "/runs", params={"tenant": TENANT, "repository": repository})[
            "items"
        ]
        return items

    def run(self, run: str) -> dict[str, Any]:
        """A run in full."""
        view: dict[str, Any] = self.api("GET", f"/runs/{run}")
        return {**view["summary"], **view}

    def state_of(self, run: str) -> str:
        """The run's state as the database says."""
        row = self.query("SELECT state FROM runs WHERE id = ?", run)
        return str(row[0][0]) if row else ""

    def wait_for_state(self, run: str, states: set[str], seconds: float = 120) -> str:
        """Wait until the run is in one of the states, or fail when it ended otherwise."""

        def reached() -> str:
            state = self.state_of(run)
            if state in states:
                return state
            if state in FINISHED:
                raise AssertionError(f"run {run} is {state}, expected {states}: {self.run(run)}")
            return ""

        return wait_until(reached, seconds, f"run {run} in {states}, it is {self.state_of(run)}")

    def wait_for_approval(self, run: str, seconds: float = 120) -> None:
        """Wait until the run asks people; it may be waiting for a new zygote before."""

        def asks() -> bool:
            assert self.state_of(run) not in FINISHED, f"run {run} ended without asking: {self.run(run)}"
            return bool(self.query("SELECT 1 FROM runs WHERE id = ? AND approvals > 0", run))

        wait_until(asks, seconds, f"question of run {run}, it is {self.state_of(run)}")

    def approve(self, run: str, comment: str = "") -> None:
        """Approve the open question of the run."""
        waiting = self.run(run)["approvals"]
        assert waiting, f"run {run} waits for no approval"
        self.api("POST", f"/runs/{run}/decisions", json={"key": waiting[0]["key"], "approve": True, "comment": comment})

    # what is on disk, whoever runs

    def query(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        """Read from the database as a bystander."""
        database = sqlite3.connect(f"file:{self.state}/stepwell.db?mode=ro", uri=True, timeout=10)
        try:
            return database.execute(sql, values).fetchall()
        finally:
            database.close()

    def passed_steps(self, run: str) -> set[str]:
        """Keys of the steps that the journal shows as passed."""
        done = self.query("SELECT key, data FROM journal WHERE run = ? AND type = 'done'", run)
        return {key for key, data in done if json.loads(unpack(data))["ok"]}

    def executions(self, run: str, *markers: bytes) -> Counter[str]:
        """How often each step really ran: each execution leaves a line of its own in a log on the host's disk."""
        markers = markers or (b"EXECUTED",)
        logs = LogStore(self.state / "logs")
        counted: Counter[str] = Counter()
        keys = self.query("SELECT DISTINCT key FROM journal WHERE run = ? AND key != ''", run)
        for (key,) in keys:
            for attempt in logs.attempts(run, key):
                text = logs.log(run, key, attempt).read(0, 1 << 20)
                counted[key] += sum(map(text.count, markers))
        return counted


@contextmanager
def _gone_is_fine() -> Iterator[None]:
    try:
        yield
    except psutil.NoSuchProcess:
        return


def git(*arguments: str, cwd: Path, check: bool = True, **more: Any) -> subprocess.CompletedProcess[str]:
    """Run the stock git client with no configuration of this machine."""
    environment = {
        "PATH": os.environ["PATH"], "HOME": str(cwd), "GIT_CONFIG_NOSYSTEM": "1", "GIT_TERMINAL_PROMPT": "0",
        "GIT_AUTHOR_NAME": "Author", "GIT_AUTHOR_EMAIL": "author@example.org",
        "GIT_COMMITTER_NAME": "Author", "GIT_COMMITTER_EMAIL": "author@example.org",
    }  # fmt: skip
    return subprocess.run(
        ["git", "-c", "init.defaultBranch=main", *arguments],
        cwd=cwd, env=environment, check=check, capture_output=True, text=True, timeout=120, **more,
    )  # fmt: skip


def commit_all(tree: Path, message: str) -> str:
    """Commit the working tree, making the repository at first; the commit's id."""
    if not (tree / ".git").exists():
        git("init", "-q", cwd=tree)
    git("add", "-A", cwd=tree)
    git("commit", "-q", "--allow-empty", "-m", message, cwd=tree)
    return git("rev-parse", "HEAD", cwd=tree).stdout.strip()


def write_pipeline(tree: Path, source: str) -> None:
    """Put a pipeline into a working tree."""
    (tree / ".stepwell").mkdir(parents=True, exist_ok=True)
    (tree / ".stepwell" / "pipeline.py").write_text(source)
