"""What the tests of a room share."""

import os
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest
from engines import Workshop
from fastapi import FastAPI
from fixture_services import FixtureServices, services
from git_steps import Origin
from houses import House
from places import Clone, Place
from visitors import URL

from stepwell_runners.executor import LocalExecutor
from stepwell_runners.isolates import ZygoteIsolates
from stepwell_runners.lazy import Lazy
from stepwell_runners.options import IsolateOptions
from stepwell_runners.trees import Trees
from stepwell_web.app import create_app


@pytest.fixture
def given(tmp_path: Path) -> FixtureServices:
    """Services in memory, as people have them who have worked for long."""
    return services(tmp_path)


@pytest.fixture
def app(given: FixtureServices) -> FastAPI:
    """The web over services in memory."""
    return create_app(given)  # type: ignore[arg-type]


@pytest.fixture
async def web(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    """What asks it; what it fails on is answered as by a server."""
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url=URL) as client:
        yield client


@pytest.fixture
async def shop(tmp_path: Path) -> AsyncIterator[Workshop]:
    """A place for one engine at a time, over isolates without a wall."""
    shop = Workshop(tmp_path)
    yield shop
    await shop.isolates.close()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 16 MiB."""
    if os.geteuid() != 0:
        pytest.skip("mounting a small disk needs root")
    place = tmp_path / "small"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", place], check=True)
    yield place
    subprocess.run(["umount", "-l", place], check=True)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    """The product's services over a state of their own, started."""
    place = Place(tmp_path).start()
    yield place
    place.stop()


@pytest.fixture
def clone(place: Place) -> Clone:
    """A working copy of a new repository, whose tenant has a secret."""
    place.services.tenants.secrets.put(place.admin(), "acme", "KEY", "correct horse")
    return place.repository()


@pytest.fixture
def house(tmp_path: Path) -> House:
    """Tenants without the rest of the product."""
    return House(tmp_path)


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """A state directory with the folders that an executor finds there."""
    for folder in ("work", "layers", "trees", "tools"):
        (tmp_path / "state" / folder).mkdir(parents=True)
    return tmp_path / "state"


@pytest.fixture(params=["full", "none"])
async def executor(request: pytest.FixtureRequest, state: Path) -> AsyncIterator[LocalExecutor]:
    """The executor over isolates, with a wall and without one."""
    trees = Trees(state)
    isolates = ZygoteIsolates(state, trees.resolve, IsolateOptions(wall=request.param))
    await isolates.start()
    if request.param == "full" and not isolates.walled:
        pytest.skip("this host does not give the wall")
    yield LocalExecutor.at(state, isolates, trees)
    await isolates.stop()


@pytest.fixture
def origin(state: Path) -> Origin:
    """A repository that people push to."""
    return Origin(state)


@pytest.fixture
def lazy(tmp_path: Path) -> Iterator[Lazy]:
    """What serves trees; nothing stays mounted."""
    lazy = Lazy(tmp_path)
    lazy.start()
    if problem := lazy.ready():
        lazy.close()
        pytest.skip(f"this host cannot serve trees: {problem}")
    yield lazy
    lazy.close()
    assert str(tmp_path) not in Path("/proc/self/mountinfo").read_text()
