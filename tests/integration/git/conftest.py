"""A git server on loopback and stock clients: real uvicorn, real git, a handler that remembers what it was asked."""

import asyncio
import os
import socket
import subprocess
import threading
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import uvicorn
from starlette.applications import Starlette

from stepwell.errors import Denied, NotFound
from stepwell.repos import PushContext, RefUpdate, Repositories
from stepwell.repos.wire import Wire, WireLimits
from stepwell_web.git import Access, Action, Unauthorized, git_routes

TOKENS = {"owner-token": "owner", "viewer-token": "viewer", "stranger-token": "stranger"}
NAMES = {("acme", "api"): "repo1", ("acme", "gone"): "repo2", ("globex", "site"): "repo3"}


async def authorize(tenant: str, repo: str, user: str | None, password: str | None, action: Action) -> Access:
    actor = TOKENS.get(password or "")
    if actor is None:
        raise Unauthorized("Token missing or not valid.")
    repository = NAMES.get((tenant, repo))
    if repository is None or actor == "stranger":
        raise NotFound(f"There is no repository {tenant}/{repo}, or you may not see it.")
    if action == "write" and actor == "viewer":
        raise Denied(f"You may read {tenant}/{repo} but not push to it.")
    return Access(repository, actor)


@dataclass
class RecordingHandler:
    """Remembers the calls; `decide` and `follow` can be replaced by a test."""

    calls: list[tuple[str, PushContext, list[RefUpdate]]] = field(default_factory=list)
    decide: Callable[[PushContext, list[RefUpdate]], Awaitable[str | None]] | None = None
    follow: Callable[[PushContext, list[RefUpdate]], Awaitable[list[str]]] | None = None

    async def pre_receive(self, context: PushContext, updates: list[RefUpdate]) -> str | None:
        self.calls.append(("pre", context, updates))
        return await self.decide(context, updates) if self.decide else None

    async def post_receive(self, context: PushContext, updates: list[RefUpdate]) -> list[str]:
        self.calls.append(("post", context, updates))
        if self.follow:
            return await self.follow(context, updates)
        return [f"stepwell: run #12 Ship → http://127.0.0.1/{context.tenant}/{context.name}/runs/12"]


class Server:
    """uvicorn in a thread with the git endpoint alone."""

    def __init__(self, state: Path, limits: WireLimits | None = None) -> None:
        self.state = state
        self.handler = RecordingHandler()
        self.repositories = Repositories(state)
        self.wire = Wire(state, self.repositories, self.handler, limits)
        app = Starlette(routes=git_routes(self.wire, authorize))
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._uvicorn = uvicorn.Server(uvicorn.Config(app, log_level="warning", lifespan="off"))
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=self._uvicorn.config.get_loop_factory()) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        await self.wire.wait_for_orphans()
        await self._uvicorn.serve(sockets=[self._listener])
        await self.wire.close()

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._uvicorn.should_exit = True
        self._thread.join(30)
        assert not self._thread.is_alive()
        self.repositories.close()

    def url(self, path: str = "acme/api.git", token: str | None = "owner-token") -> str:
        who = f"someone:{token}@" if token else ""
        return f"http://{who}127.0.0.1:{self.port}/{path}"

    @property
    def origin(self) -> Path:
        return self.repositories.path("repo1")


class Client:
    """A stock git client with an empty home."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.env = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_AUTHOR_NAME": "Author",
            "GIT_AUTHOR_EMAIL": "author@example.com",
            "GIT_COMMITTER_NAME": "Author",
            "GIT_COMMITTER_EMAIL": "author@example.com",
            "LC_ALL": "C.UTF-8",
        }

    def run(self, *arguments: str, fails: bool = False, env: dict[str, str] | None = None) -> str:
        """Run git here and return what it printed, both streams."""
        done = subprocess.run(
            ["git", *arguments],
            cwd=self.folder,
            env=self.env | (env or {}),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=110,
            check=False,
        )
        output = done.stdout.decode("utf-8", "replace").strip()
        assert (done.returncode != 0) is fails, output
        return output

    def start(self, *arguments: str) -> "subprocess.Popen[bytes]":
        return subprocess.Popen(
            ["git", *arguments], cwd=self.folder, env=self.env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )

    def commit(
        self, message: str = "a change", files: dict[str, str] | None = None, env: dict[str, str] | None = None
    ) -> str:
        """Commit files and return the sha; the working copy is made at first use."""
        if not (self.folder / ".git").exists():
            self.run("init", "-q", "-b", "main")
        for name, text in (files or {"file.txt": message}).items():
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        self.run("add", "-A")
        self.run("commit", "-q", "--allow-empty", "-m", message, env=env)
        return self.run("rev-parse", "HEAD")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    running = Server(tmp_path / "state")
    running.repositories.create("repo1")
    running.start()
    yield running
    running.stop()


@pytest.fixture
def make_server(tmp_path: Path) -> Iterator[Callable[..., Server]]:
    """Return a function that starts a server with limits, or on a state, of the test's own."""
    made: list[Server] = []

    def make(limits: WireLimits, state: Path | None = None) -> Server:
        running = Server(state or tmp_path / f"state{len(made)}", limits)
        if state is None:
            running.repositories.create("repo1")
        running.start()
        made.append(running)
        return running

    yield make
    for running in made:
        running.stop()


@pytest.fixture
def client(tmp_path: Path) -> Client:
    return Client(tmp_path / "client")


@pytest.fixture
def make_client(tmp_path: Path) -> Callable[[str], Client]:
    return lambda name: Client(tmp_path / name)


@pytest.fixture
def repositories(tmp_path: Path) -> Iterator[Repositories]:
    """Repositories on disk, without a server: one, `repo1`."""
    made = Repositories(tmp_path / "state")
    made.create("repo1")
    yield made
    made.close()


@pytest.fixture
def work(repositories: Repositories, client: Client) -> Client:
    """A working copy whose `origin` is the repository on disk."""
    client.run("init", "-q", "-b", "main")
    client.run("remote", "add", "origin", str(repositories.path("repo1")))
    return client
