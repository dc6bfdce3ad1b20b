"""Looks beside: at most one at a time, fresh for who waits a moment, what was seen before for all others."""

import threading
from collections.abc import Callable

from live import wait_until

from stepwell.ci.beside import AGAIN_SECONDS, Beside, Failure, Seen
from stepwell.errors import Unavailable

LONG = 30.0


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def beside(look: Callable[[], int], clock: Clock, patience: float = LONG) -> Beside[int]:
    return Beside(look, 10.0, patience, clock)


def test_who_finds_it_old_has_it_looked_at_and_is_told_the_new() -> None:
    clock, looks = Clock(), iter(range(10))
    part = beside(lambda: next(looks), clock)
    assert part.seen() == Seen(0, 100.0)
    clock.now = 109.9
    assert part.seen() == Seen(0, 100.0)
    clock.now = 110.0
    assert part.seen() == Seen(1, 110.0)


def test_a_look_that_lasts_is_waited_for_by_nobody_else() -> None:
    clock, go, looks = Clock(), threading.Event(), list[str]()

    def look() -> int:
        looks.append(threading.current_thread().name)
        assert len(looks) == 1 or go.wait(LONG)
        return len(looks)

    part = beside(look, clock, patience=0.0)
    wait_until(lambda: part.seen() == Seen(1, 100.0), LONG, "the first look")
    clock.now = 120.0
    assert [part.seen() for _ in range(5)] == [Seen(1, 100.0, looking=True)] * 5
    go.set()
    wait_until(lambda: part.seen() == Seen(2, 120.0), LONG, "the second look")
    assert looks == ["stepwell-beside"] * 2


def test_nothing_is_known_before_the_first_look_is_over() -> None:
    go = threading.Event()
    part = beside(lambda: int(go.wait(LONG)), Clock(), patience=0.0)
    assert part.seen() is None
    go.set()


def test_a_look_that_fails_leaves_what_was_seen_and_is_not_tried_at_once() -> None:
    clock, looks = Clock(), iter([7, None, 9])

    def look() -> int:
        found = next(looks)
        if found is None:
            raise OSError("gone")
        return found

    part = beside(look, clock)
    part.seen()
    clock.now = 111.0
    assert part.seen() == Seen(7, 100.0)
    clock.now = 120.0
    assert part.seen() == Seen(7, 100.0)
    clock.now = 121.0
    assert part.seen() == Seen(9, 121.0)


def test_a_look_that_fails_is_told_and_tried_again_before_it_is_old() -> None:
    clock = Clock()
    told: list[int | Exception] = [OSError(5, "Input/output error"), Unavailable("No engine answers."), 3, ValueError()]
    looks = iter(told)

    def look() -> int:
        found = next(looks)
        if isinstance(found, Exception):
            raise found
        return found

    part = Beside(look, 600.0, LONG, clock)
    assert part.failure is None
    assert part.seen() is None
    assert part.failure == Failure(100.0, "OSError: [Errno 5] Input/output error")
    clock.now += AGAIN_SECONDS - 0.1
    assert part.seen() is None
    assert part.failure == Failure(100.0, "OSError: [Errno 5] Input/output error")
    clock.now = 100.0 + AGAIN_SECONDS
    assert part.seen() is None and part.failure == Failure(110.0, "No engine answers.")
    clock.now += AGAIN_SECONDS
    assert part.seen() == Seen(3, 120.0) and part.failure is None
    clock.now += AGAIN_SECONDS
    assert part.seen() == Seen(3, 120.0) and part.failure is None, "it is fresh for as long as ever"
    clock.now = 720.0
    assert part.seen() == Seen(3, 120.0) and part.failure == Failure(720.0, "ValueError: no message")
