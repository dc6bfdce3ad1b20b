"""Time moves only when it is moved."""

from stepwell.engine.clock import TestClock


def test_calls_are_made_at_their_own_moments_and_in_order() -> None:
    clock, seen = TestClock(1000), []
    for when in (1030, 1010, 1020, 1500):
        clock.call_at(when, lambda: seen.append(clock.now()))
    clock.advance(100)
    assert (seen, clock.now(), clock.next_call()) == ([1010, 1020, 1030], 1100, 1500)


def test_a_call_made_during_another_is_made_in_the_same_advance() -> None:
    clock, seen = TestClock(0), []
    clock.call_at(1, lambda: clock.call_at(2, lambda: seen.append(clock.now())))
    clock.advance(5)
    assert seen == [2]


def test_a_cancelled_call_is_not_made() -> None:
    clock, seen = TestClock(0), []
    clock.call_at(1, lambda: seen.append(1)).cancel()
    clock.advance(5)
    assert (seen, clock.next_call()) == ([], None)


def test_a_jump_back_delays_and_a_jump_forward_makes_calls_late() -> None:
    clock, seen = TestClock(100), []
    clock.call_at(110, lambda: seen.append(clock.now()))
    clock.jump(-50)
    assert (seen, clock.now()) == ([], 50)
    clock.jump(500)
    assert seen == [550]


def test_delays_do_not_heed_the_wall_clock() -> None:
    clock, seen = TestClock(1000), []
    clock.call_later(10, lambda: seen.append(("delay", clock.now())))
    clock.call_at(1005, lambda: seen.append(("wall", clock.now())))
    clock.jump(-100)
    assert (seen, clock.next_call()) == ([], 910)
    clock.advance(10)
    assert seen == [("delay", 910)]
    clock.jump(1000)
    assert seen == [("delay", 910), ("wall", 1910)] and clock.elapsed() == 10


def test_what_falls_due_while_everything_stands_still_is_late() -> None:
    clock, seen = TestClock(0), []
    clock.call_later(10, lambda: seen.append(clock.elapsed()))
    clock.call_at(20, lambda: seen.append(clock.elapsed()))
    clock.stand_still(60)
    assert seen == [60, 60]
