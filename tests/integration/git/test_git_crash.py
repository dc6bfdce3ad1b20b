"""kill -9 of the server at the points of a push that matter."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from stepwell.repos import Repositories
from stepwell.repos.wire import Wire, WireLimits

SERVER = """
import asyncio, socket, sys, threading
from pathlib import Path
import uvicorn
from starlette.applications import Starlette
from stepwell.repos import Repositories, many_refs
from stepwell.repos.wire import Wire
from stepwell_web.git import Access, git_routes

class Handler:
    async def pre_receive(self, context, updates):
        await self.hang("pre")
    async def post_receive(self, context, updates):
        await self.hang("post")
        return []
    async def hang(self, phase):
        if phase == sys.argv[2]:
            print("asked", flush=True)
            await asyncio.Event().wait()

async def authorize(*_):
    return Access("repo1", "owner")

def rewrite(*asked, real=many_refs.rewrite_packed):
    if sys.argv[2] == "written":
        real(*asked)
    print("asked", flush=True)
    threading.Event().wait()

many_refs.rewrite_packed = rewrite

state = Path(sys.argv[1])
app = Starlette(routes=git_routes(Wire(state, Repositories(state), Handler()), authorize))
listener = socket.create_server(("127.0.0.1", 0))
print(listener.getsockname()[1], flush=True)
uvicorn.Server(uvicorn.Config(app, lifespan="off", log_level="error")).run([listener])
"""


@pytest.fixture
def killed_in(tmp_path: Path, client: Any) -> Iterator[Any]:
    """Return a function that pushes, kills the server in a phase, and waits as the next server would."""
    servers: list[subprocess.Popen[str]] = []

    async def push_and_kill(phase: str, *refs: str) -> tuple[Repositories, str]:
        repositories = Repositories(tmp_path / "state")
        repositories.create("repo1")
        command = [sys.executable, "-c", SERVER, str(tmp_path / "state"), phase]
        server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        servers.append(server)
        assert server.stdout
        port = server.stdout.readline().strip()
        sha = client.commit()
        push = client.start("push", f"http://a:b@127.0.0.1:{port}/acme/api.git", "main", *refs)
        assert server.stdout.readline() == "asked\n"
        server.kill()
        assert push.wait(60) != 0
        await Wire(tmp_path / "state", repositories, NeverAsked()).wait_for_orphans()
        return repositories, sha

    yield push_and_kill
    for server in servers:
        server.kill()
        server.communicate()


class NeverAsked:
    async def pre_receive(self, context: object, updates: object) -> str | None:
        raise AssertionError("no push reaches this handler")

    async def post_receive(self, context: object, updates: object) -> list[str]:
        raise AssertionError("no push reaches this handler")


async def test_push_not_yet_permitted_moves_nothing(killed_in: Any) -> None:
    repositories, sha = await killed_in("pre")
    assert repositories.reader("repo1").branches() == {}
    assert repositories.reader("repo1").resolve(sha) is None
    repositories.close()


async def test_push_already_permitted_has_moved_its_ref(killed_in: Any) -> None:
    repositories, sha = await killed_in("post")
    assert repositories.reader("repo1").branches() == {"main": sha}
    repositories.close()


BRANCHES = [f"many/{number}" for number in range(60)]
REFS = [f"main:refs/heads/{branch}" for branch in BRANCHES]


async def test_new_refs_that_are_not_yet_written_have_not_moved_and_bar_no_later_push(
    killed_in: Any, make_server: Any, client: Any
) -> None:
    repositories, _ = await killed_in("locked", *REFS)
    assert repositories.reader("repo1").branches() == {}
    origin = repositories.path("repo1")
    assert len(list(origin.rglob("*.lock"))) > len(BRANCHES)
    repositories.close()
    next_server = make_server(WireLimits(), state=origin.parent.parent)
    client.run("push", next_server.url(), "main", *REFS)
    assert set(next_server.repositories.reader("repo1").branches()) == {"main", *BRANCHES}


async def test_new_refs_that_are_written_have_moved(killed_in: Any) -> None:
    repositories, sha = await killed_in("written", *REFS)
    assert repositories.reader("repo1").branches() == dict.fromkeys(["main", *BRANCHES], sha)
    repositories.close()
