"""The pool of containers that wait: how many of which kind, for how long, and for whom."""

import asyncio
import threading
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from stepwell_runners import warm_containers
from stepwell_runners.warm_containers import CannotWait, Kind, WarmContainers, memory_is_free

pytestmark = pytest.mark.usefixtures("at_once")


@dataclass
class Fake:
    """A container that waits."""

    kind: Kind
    alive: bool = True
    gone: bool = False

    def usable(self) -> bool:
        return self.alive

    def discard(self) -> None:
        self.gone = True


@dataclass
class Place:
    """A host: what it made, its clock, whether it has memory."""

    made: list[Fake] = field(default_factory=list)
    now: float = 0.0
    memory: bool = True
    trouble: type[Exception] | None = None
    shell: bool = True
    booting: threading.Event = field(default_factory=threading.Event)
    may_go_on: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.may_go_on.set()

    def boot(self, kind: Kind) -> Fake | None:
        self.booting.set()
        self.may_go_on.wait(60)
        if self.trouble is not None:
            raise self.trouble("no")
        if self.shell:
            self.made.append(Fake(kind))
        return self.made[-1] if self.shell else None

    def standing(self) -> list[Fake]:
        return [one for one in self.made if not one.gone]


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(warm_containers, "_QUIET_SECONDS", 0)


@pytest.fixture
def place() -> Place:
    return Place()


@pytest.fixture
async def pool(place: Place) -> AsyncIterator[WarmContainers[Fake]]:
    with ThreadPoolExecutor(2) as threads:
        pool = WarmContainers(
            place.boot, threads, size=3, idle_seconds=600, has_memory=lambda: place.memory, now=lambda: place.now
        )
        yield pool
        await pool.stop()
    assert place.standing() == [one for one in place.made if not one.gone and one in taken]
    taken.clear()


taken: list[Fake] = []


def kind(tenant: str = "acme", image: str = "one") -> Kind:
    return Kind(tenant, image, True, None, None, None)


async def use(pool: WarmContainers[Fake], *kinds: Kind) -> list[Fake | None]:
    """Run attempts side by side; give what each was given."""
    found = [await pool.take(one) for one in kinds]
    taken.extend(one for one in found if one is not None)
    for one in kinds:
        pool.left(one)
    await pool.filled()
    return found


async def test_as_many_wait_as_ran_at_a_time_within_the_bound(pool: WarmContainers[Fake]) -> None:
    assert await use(pool, kind()) == [None]
    assert pool.standing(kind()) == 1
    found = await use(pool, kind(), kind())
    assert found[0] is not None and found[1] is None
    assert pool.standing(kind()) == 2
    await use(pool, *[kind()] * 5)
    assert pool.standing(kind()) == 3


async def test_none_serves_twice_or_another_tenant_or_image(pool: WarmContainers[Fake]) -> None:
    await use(pool, kind())
    (first,) = await use(pool, kind())
    (second,) = await use(pool, kind())
    assert first is not None and second is not None and first is not second
    assert await use(pool, kind("other")) == [None]
    assert await use(pool, kind(image="two")) == [None]


async def test_room_is_taken_from_what_was_asked_for_longest_ago(pool: WarmContainers[Fake], place: Place) -> None:
    for number in range(4):
        place.now = number
        await use(pool, kind(image=str(number)))
    assert sorted(one.kind.image for one in place.standing()) == ["1", "2", "3"]


async def test_what_idles_goes_and_what_is_wanted_less_shrinks(pool: WarmContainers[Fake], place: Place) -> None:
    await use(pool, kind(), kind())
    place.now = 500
    await use(pool, kind(image="two"))
    place.now = 601
    pool.tidy()
    await pool.filled()
    assert (pool.standing(kind()), pool.standing(kind(image="two"))) == (0, 1)
    await use(pool, kind(), kind())
    for place.now in (1300, 1901):
        await use(pool, kind())
        pool.tidy()
        await pool.filled()
    assert pool.standing(kind()) == 1


async def test_a_kind_in_use_does_not_idle(pool: WarmContainers[Fake], place: Place) -> None:
    await use(pool, kind())
    await pool.take(kind())
    taken.extend(place.made)
    pool.refill()
    await pool.filled()
    place.now = 5000
    pool.tidy()
    await pool.filled()
    assert pool.standing(kind()) == 1
    pool.left(kind())


async def test_the_dead_are_not_given(pool: WarmContainers[Fake], place: Place) -> None:
    await use(pool, kind())
    place.made[0].alive = False
    assert await use(pool, kind()) == [None]
    assert place.made[0].gone


async def made_now(pool: WarmContainers[Fake], place: Place) -> None:
    """Have one made that is not ready before `may_go_on`."""
    place.may_go_on.clear()
    assert await pool.take(kind()) is None
    pool.left(kind())
    assert await asyncio.to_thread(place.booting.wait, 60)


async def test_who_asks_while_one_is_made_waits_for_it_and_who_asks_then_does_not(
    pool: WarmContainers[Fake], place: Place
) -> None:
    await made_now(pool, place)
    first, second = (asyncio.create_task(pool.take(kind())) for _ in range(2))
    assert await second is None
    place.may_go_on.set()
    assert await first is place.made[0]
    taken.append(place.made[0])
    pool.left(kind())
    pool.left(kind())
    await pool.filled()
    assert pool.standing(kind()) == 2


async def test_who_gives_up_waiting_for_one_leaves_it_to_the_next(pool: WarmContainers[Fake], place: Place) -> None:
    await made_now(pool, place)
    waits = asyncio.create_task(pool.take(kind()))
    await asyncio.sleep(0)
    waits.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waits
    place.may_go_on.set()
    await pool.filled()
    assert await use(pool, kind()) == [place.made[0]]
    place.now = 5000
    pool.tidy()
    await pool.filled()
    assert pool.standing(kind()) == 0, "somebody is still counted who has gone"


async def test_nothing_is_added_without_memory(pool: WarmContainers[Fake], place: Place) -> None:
    place.memory = False
    await use(pool, kind())
    assert place.made == []


async def test_what_cannot_wait_is_not_tried_again(pool: WarmContainers[Fake], place: Place) -> None:
    place.shell = False
    await use(pool, kind())
    place.shell = True
    await use(pool, kind())
    assert place.made == []
    place.trouble = CannotWait
    await use(pool, kind("other"))
    place.trouble = None
    await use(pool, kind("third"))
    assert place.made == []


async def test_trouble_of_the_engine_is_tried_again_with_the_next_step(
    pool: WarmContainers[Fake], place: Place
) -> None:
    place.trouble = OSError
    await use(pool, kind())
    place.trouble = None
    await use(pool, kind())
    assert pool.standing(kind()) == 1


def test_memory_is_what_the_kernel_says_is_available(tmp_path: Path) -> None:
    for available, free in (("2000000 kB", True), ("500000 kB", False)):
        table = tmp_path / "meminfo"
        table.write_text(f"MemTotal:       10000000 kB\nMemAvailable:   {available}\n")
        assert memory_is_free(table) is free
    assert memory_is_free(tmp_path / "none")
