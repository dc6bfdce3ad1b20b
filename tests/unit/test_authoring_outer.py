"""The loop that isolates get from the process they are forked from."""

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from stepwell.authoring.outer import Outer


@pytest.fixture
def ahead() -> Iterator[Outer]:
    Outer.make_ahead()
    loop = Outer._ahead
    assert loop is not None
    yield loop
    Outer._ahead = None
    loop.close()


def descriptors() -> set[str]:
    return {path.name for path in Path("/proc/self/fd").iterdir()}


def test_what_is_made_ahead_has_no_descriptor_that_a_fork_would_share() -> None:
    before = descriptors()
    loop = Outer()
    assert descriptors() == before
    loop.close()


def test_one_made_ahead_is_taken_once(ahead: Outer) -> None:
    assert Outer.take() is ahead
    other = Outer.take()
    assert other is not ahead
    other.close()


def test_a_thread_wakes_it_and_it_leaves_nothing_open(ahead: Outer) -> None:
    before = descriptors()
    loop = Outer.take()
    waker = threading.Thread(target=loop.call_soon_threadsafe, args=[loop.stop])
    loop.call_soon(waker.start)
    loop.run_forever()
    waker.join()
    loop.close()
    assert descriptors() == before


def test_a_task_may_begin_at_once_and_goes_on_in_the_loop(ahead: Outer) -> None:
    said: list[object] = []
    loop = Outer.take()

    async def work() -> None:
        said.append(asyncio.current_task())
        await asyncio.sleep(0)
        said.append("resumed")
        loop.stop()

    def begin() -> None:
        loop.call_soon(said.append, "next round")
        task = loop.create_task(work())
        loop.begin(task)
        assert said == [task]

    loop.call_soon(begin)
    loop.run_forever()
    loop.close()
    assert said[1:] == ["next round", "resumed"]


def test_a_task_behind_which_a_thread_called_back_begins_in_the_next_round(ahead: Outer) -> None:
    said: list[str] = []
    loop = Outer.take()

    async def work() -> None:
        said.append("begun")

    def begin() -> None:
        task = loop.create_task(work())
        loop.call_soon_threadsafe(said.append, "called back")
        loop.begin(task)
        assert said == []
        loop.call_soon(loop.stop)

    loop.call_soon(begin)
    loop.run_forever()
    loop.close()
    assert said == ["begun", "called back"]
