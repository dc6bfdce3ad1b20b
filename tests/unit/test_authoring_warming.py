"""Turns that warm up the process from which isolates are forked, and what they leave in it: nothing."""

import asyncio
import builtins
import gc
import linecache
import random
import socket
import sys
import threading
import time
from collections.abc import Iterable, Iterator

import pytest

from stepwell.authoring.failures import NotDurable
from stepwell.authoring.guard import Guard
from stepwell.authoring.isolate import play, rehearse
from stepwell.authoring.loop import Loop, Owner
from stepwell.authoring.warming import ROUNDS, warm_up
from stepwell_runners import zygote
from stepwell_runners.wall import Plan


def surroundings() -> list[object]:
    """What an isolate changes for good."""
    return [
        list(sys.path), list(sys.meta_path), sorted(sys.modules), sys.stdout, sys.stderr, Guard.standing,
        asyncio.as_completed, asyncio.all_tasks, asyncio.run, builtins.__build_class__,
        time.time, time.sleep, random.random, threading._start_new_thread,  # type: ignore[attr-defined]
        threading.active_count(), asyncio.events._get_running_loop(), linecache.cache.get(".stepwell/pipeline.py"),
    ]  # fmt: skip


def test_every_turn_is_played_to_its_end_and_leaves_nothing() -> None:
    before = surroundings()
    assert list(warm_up(play)) == [["end", "passed", 1]] * ROUNDS
    assert surroundings() == before


def test_turns_are_played_one_by_one_and_may_be_left_after_any() -> None:
    rounds = warm_up(play)
    before = surroundings()
    assert next(rounds) == ["end", "passed", 1]
    assert surroundings() == before


@pytest.fixture
def unfrozen() -> Iterator[None]:
    yield
    gc.unfreeze()


def zygote_that(warming: Iterable[object], sock: socket.socket) -> zygote.Zygote:
    part = zygote.Part(lambda _: None, lambda: warming)
    return zygote.Zygote(sock, Plan("none", None, None, 0), part)  # type: ignore[arg-type]


@pytest.mark.usefixtures("unfrozen")
def test_a_zygote_does_one_part_at_a_time_until_nothing_is_left() -> None:
    one, other = socket.socketpair()
    with one, other:
        zyg = zygote_that(iter(["first", "second"]), one)
        seen = []
        for _ in range(3):
            zyg.warm()
            seen.append(zyg.warming is not None)
    assert seen == [True, True, False]


@pytest.mark.usefixtures("unfrozen")
def test_a_zygote_that_cannot_warm_up_says_so_and_goes_on(capsys: pytest.CaptureFixture[str]) -> None:
    def broken() -> Iterator[object]:
        yield 1
        raise RuntimeError("no turn could be played")

    one, other = socket.socketpair()
    with one, other:
        zyg = zygote_that(broken(), one)
        zyg.warm()
        zyg.warm()
    assert zyg.warming is None
    assert "no turn could be played" in capsys.readouterr().err


@pytest.fixture
def standing() -> Iterator[Guard]:
    """A guard that was put up before anybody's run was known."""
    guard = Guard()
    guard.install()
    yield guard
    guard.remove()


def test_a_guard_put_up_ahead_lets_everything_through_until_it_watches_a_run(standing: Guard) -> None:
    assert isinstance(time.time(), float)
    loop = Loop(Nobody())  # type: ignore[abstract]
    Guard.watch(loop, (__file__,))
    assert Guard.standing is standing
    assert time.time() > loop.now
    loop.inside = True
    try:
        with pytest.raises(NotDurable, match=r"time\.time in run\(\) cannot be replayed"):
            time.time()
        with pytest.raises(NotDurable, match=r"random\.random in run\(\)"):
            random.random()
    finally:
        loop.inside = False


@pytest.mark.parametrize("ahead", [True, False])
def test_a_rehearsal_leaves_nothing_and_a_guard_as_ready_as_before(request: pytest.FixtureRequest, ahead: bool) -> None:
    guard = request.getfixturevalue("standing") if ahead else None
    before = surroundings()
    rehearse()
    assert surroundings() == before
    assert Guard.standing is guard
    assert guard is None or (guard.active(), guard.now()) == (False, 0.0)


def test_watching_without_a_guard_put_up_ahead_puts_one_up() -> None:
    before = time.time
    Guard.watch(Loop(Nobody()), ())  # type: ignore[abstract]
    assert Guard.standing is not None
    assert time.time is not before
    Guard.standing.remove()
    assert time.time is before


class Nobody(Owner):
    """Is told nothing."""
