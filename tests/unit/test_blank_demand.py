"""How many isolates should stand ready: as many as the largest burst of the last minutes, within both bounds."""

import pytest

from stepwell_runners.demand import Demand


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def ask(demand: Demand, clock: Clock, times: int, apart: float = 0.001) -> None:
    for _ in range(times):
        demand.ask()
        clock.now += apart


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def demand(clock: Clock) -> Demand:
    return Demand(4, 64, idle_seconds=600, clock=clock)


def test_none_is_wanted_before_anybody_has_asked(demand: Demand) -> None:
    assert demand.wanted() == 0


def test_the_usual_number_is_wanted_once_somebody_has_asked(demand: Demand) -> None:
    demand.ask()
    assert demand.wanted() == 4


def test_after_a_burst_as_many_are_wanted_as_it_had(demand: Demand, clock: Clock) -> None:
    ask(demand, clock, 50)
    assert demand.wanted() == 50


def test_no_more_are_wanted_than_the_most_however_many_are_asked_for(demand: Demand, clock: Clock) -> None:
    ask(demand, clock, 10_000)
    assert demand.wanted() == 64
    assert len(demand._bursts) == 1


def test_what_comes_one_by_one_is_no_burst(demand: Demand, clock: Clock) -> None:
    ask(demand, clock, 50, apart=0.06)
    assert demand.wanted() == 4


def test_smaller_bursts_do_not_hide_the_largest(demand: Demand, clock: Clock) -> None:
    for size in (50, 20, 30):
        ask(demand, clock, size)
        clock.now += 60
    assert demand.wanted() == 50


def test_the_pool_shrinks_to_the_largest_of_what_still_counts(demand: Demand, clock: Clock) -> None:
    for size in (50, 20, 30):
        ask(demand, clock, size)
        clock.now += 60
    clock.now += 125  # the first one is over five minutes ago, the others are not
    assert demand.wanted() == 30
    clock.now += 60
    ask(demand, clock, 8)
    clock.now += 60
    assert demand.wanted() == 8


def test_the_pool_shrinks_to_the_usual_number_without_being_idle(demand: Demand, clock: Clock) -> None:
    ask(demand, clock, 50)
    for _ in range(31):
        clock.now += 10
        demand.ask()
    assert demand.wanted() == 4


def test_none_is_wanted_when_nobody_has_asked_for_long(demand: Demand, clock: Clock) -> None:
    ask(demand, clock, 50)
    clock.now += 599
    assert demand.wanted() == 4
    clock.now += 1
    assert demand.wanted() == 0
    demand.ask()
    assert demand.wanted() == 4


def test_no_burst_makes_a_pool_where_none_is_wanted(clock: Clock) -> None:
    demand = Demand(0, 64, 600, clock)
    ask(demand, clock, 50)
    assert demand.wanted() == 0


def test_a_most_below_the_usual_number_bounds_bursts_only(clock: Clock) -> None:
    demand = Demand(4, 2, 600, clock)
    ask(demand, clock, 50)
    assert demand.wanted() == 4
