"""The shelf of installed directories: made once, held while used, removed by size."""

import asyncio
import os
from pathlib import Path

import pytest

from stepwell_runners.shelf import Shelf

MIB = 1 << 20


async def _use(shelf: Shelf, key: str, size: int = 3 * MIB) -> None:
    async def make(fresh: Path) -> None:
        await asyncio.to_thread(fresh.mkdir)
        await asyncio.to_thread((fresh / "file").write_bytes, os.urandom(size))

    async with shelf.held(key, make) as place:
        assert (place / "file").stat().st_size == size
    (shelf.folder / ".sizes" / key).touch()


def _aged(shelf: Shelf, *keys: str) -> None:
    for age, key in enumerate(keys):
        os.utime(shelf.folder / ".sizes" / key, (age, age))


def _keys(shelf: Shelf) -> list[str]:
    return sorted(path.name for path in shelf.folder.glob("[!.]*"))


async def test_the_longest_unused_goes_when_there_is_too_much(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path / "tools", 10 * MIB)
    for key in "abc":
        await _use(shelf, key)
    _aged(shelf, "a", "b", "c")
    await _use(shelf, "a")  # used again: b is the oldest now
    await _use(shelf, "d")
    assert _keys(shelf) == ["a", "c", "d"]
    assert sorted(path.name for path in (shelf.folder / ".sizes").iterdir()) == ["a", "c", "d"]


async def test_what_is_held_stays_however_much_there_is(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path / "tools", 1)
    await _use(shelf, "old")
    async with shelf.held("old", _never):
        await _use(shelf, "new")
        assert _keys(shelf) == ["new", "old"]
    await _use(shelf, "newer")
    assert _keys(shelf) == ["newer"]


async def test_start_removes_what_a_crash_left_and_counts_what_it_did_not(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path / "tools", 1)
    for name in (".new-1", ".old-1", "whole"):
        (shelf.folder / name).mkdir()
    (shelf.folder / ".sizes" / "gone").write_text("1")
    shelf.recover()
    assert sorted(path.name for path in shelf.folder.iterdir()) == [".sizes", "whole"]
    await _use(shelf, "new")
    assert _keys(shelf) == ["new"]


async def test_one_that_cannot_be_made_leaves_nothing_and_is_tried_again(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path / "tools")
    with pytest.raises(RuntimeError):
        async with shelf.held("a", _never):
            pass
    assert [path.name for path in shelf.folder.iterdir()] == [".sizes"]
    await _use(shelf, "a")


async def _never(fresh: Path) -> None:
    fresh.mkdir()
    raise RuntimeError
