"""The loop that isolates get from the process they are forked from."""

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
