"""The process that makes mounts: what it shows, and what it lets go."""

import asyncio
import itertools
import os
import shutil
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from leftovers import descriptors
from walled import until

from stepwell_runners.house import host_id
from stepwell_runners.mounts import Mounts
from stepwell_runners.spec import Overlay

pytestmark = pytest.mark.root


@pytest.fixture
async def mounts() -> AsyncIterator[Mounts]:
    made = Mounts(root=True)
    yield made
    await made.stop()


NUMBERS = itertools.count(1)
OF_MOUNTS = {"/", "/upper", "/work", "anon_inode:[fscontext]"}
"""Where descriptors lead that are needed only on the way to a mount."""


async def shown(mounts: Mounts, place: Path, *lowers: Path, tenant: int = 0) -> dict[str, tuple[str, int]]:
    """Mount a workspace on these; content and owner of each file that it shows."""
    number = next(NUMBERS)
    upper, work = place / f"space{number}/upper", place / f"space{number}/work"
    for folder in (upper, work):
        folder.mkdir(parents=True)
    (mount,) = await mounts.make(number, host_id(tenant), [Overlay(lowers, upper, work)])
    try:
        view = Path(f"/proc/self/fd/{mount}")
        return {path.name: (path.read_text(), path.stat().st_uid) for path in view.iterdir()}
    finally:
        os.close(mount)


def write(folder: Path, **files: str) -> Path:
    folder.mkdir()
    for name, text in files.items():
        (folder / name).write_text(text)
    return folder


async def test_a_directory_in_place_of_another_is_what_is_shown(mounts: Mounts, tmp_path: Path) -> None:
    below, above = write(tmp_path / "below", a="a", b="b"), write(tmp_path / "above", b="c")
    for tenant in (0, 1, 0):
        found = await shown(mounts, tmp_path, above, below, tenant=tenant)
        assert found == {"a": ("a", host_id(tenant)), "b": ("c", host_id(tenant))}
    shutil.rmtree(below)
    write(below, d="d")
    assert await shown(mounts, tmp_path, above, below) == {"b": ("c", host_id(0)), "d": ("d", host_id(0))}
    above.rename(tmp_path / "elsewhere")
    below.rename(above)
    assert await shown(mounts, tmp_path, above) == {"d": ("d", host_id(0))}


async def test_what_was_needed_on_the_way_is_closed(mounts: Mounts, tmp_path: Path) -> None:
    """Behind the answers, and at once when too much waits for it."""
    lowers = [write(tmp_path / f"lower{number}", a="a") for number in range(10)]
    await shown(mounts, tmp_path, *lowers)
    assert mounts._link is not None and mounts._link.process is not None
    pid = mounts._link.process.pid

    async def settled() -> Counter[str]:
        """What it has open once no layer, and nothing else of a mount, is."""
        await until(lambda: not OF_MOUNTS & descriptors(pid).keys())
        return descriptors(pid)

    before = await settled()
    for found in await asyncio.gather(*(shown(mounts, tmp_path, *lowers) for _ in range(40))):
        assert found == {"a": ("a", host_id(0))}
    assert await settled() == before
