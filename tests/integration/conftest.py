"""What the tests of a room share."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from engines import Workshop
from git_steps import Origin
from places import Place

from stepwell_runners.executor import LocalExecutor
from stepwell_runners.isolates import ZygoteIsolates
from stepwell_runners.lazy import Lazy
from stepwell_runners.options import IsolateOptions
from stepwell_runners.trees import Trees


@pytest.fixture
async def shop(tmp_path: Path) -> AsyncIterator[Workshop]:
    """A place for one engine at a time, over isolates without a wall."""
    shop = Workshop(tmp_path)
    yield shop
    await shop.isolates.close()


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    """The product's services over a state of their own, started."""
    place = Place(tmp_path).start()
    yield place
    place.stop()


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
