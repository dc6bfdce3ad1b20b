"""What isolates weigh, by how many their tenant has and whether another one is there."""

from collections.abc import Callable
from pathlib import Path
from typing import cast

import pytest

from stepwell_runners.cgroups import Cgroup
from stepwell_runners.isolate import Isolate
from stepwell_runners.weights import Weights


class Running:
    """As much of an isolate as weighs something."""

    def __init__(self, place: Path) -> None:
        place.mkdir()
        self.file = place / "cpu.weight"
        self.file.write_text("100")
        self.cgroup = Cgroup(place, place, cpu=place)
        self._closing: list[Callable[[], None]] = []

    def on_end(self, callback: Callable[[], None]) -> None:
        self._closing.append(callback)

    def end(self) -> None:
        for callback in self._closing:
            callback()

    @property
    def weight(self) -> int:
        return int(self.file.read_text())


class Scales:
    def __init__(self, place: Path) -> None:
        self._place = place
        self._weights = Weights()
        self._made = 0

    def start(self, tenant: int, number: int = 1) -> list[Running]:
        begun = []
        for _ in range(number):
            self._made += 1
            begun.append(Running(self._place / str(self._made)))
            self._weights.add(tenant, cast("Isolate", begun[-1]))
        return begun


@pytest.fixture
def scales(tmp_path: Path) -> Scales:
    return Scales(tmp_path)


def weights(running: list[Running]) -> list[int]:
    return [one.weight for one in running]


def test_isolates_of_the_only_tenant_keep_their_weight(scales: Scales) -> None:
    assert weights(scales.start(1, 5)) == [100] * 5


def test_a_second_tenant_makes_the_first_one_divide(scales: Scales) -> None:
    many = scales.start(1, 5)
    other = scales.start(2)
    assert weights(many) == [25] * 5
    assert weights(other) == [100]
    many += scales.start(1, 3)
    assert weights(many) == [12] * 8


def test_a_tenant_that_is_left_alone_weighs_alike_and_divides_for_the_next(scales: Scales) -> None:
    many = scales.start(1, 4)
    (other,) = scales.start(2)
    other.end()
    many += scales.start(1, 5)
    assert weights(many) == [25] * 9
    (next_one,) = scales.start(2)
    assert weights(many) == [12] * 9
    assert next_one.weight == 100


def test_weights_rise_again_as_isolates_end_beside_another_tenant(scales: Scales) -> None:
    many = scales.start(1, 4)
    scales.start(2)
    for one in many[1:]:
        one.end()
    assert many[0].weight == 100


def test_a_third_tenant_divides_nothing_but_its_own(scales: Scales) -> None:
    first, second = scales.start(1, 2), scales.start(2, 2)
    third = scales.start(3, 4)
    assert weights(first) == weights(second) == [50, 50]
    assert weights(third) == [25] * 4
