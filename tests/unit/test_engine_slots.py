"""Places are given out in turn, and none is lost."""

import asyncio

from stepwell.engine.slots import Slots


async def _settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_tenants_take_turns_however_many_they_ask_for() -> None:
    slots, order = Slots(1), []

    async def use(tenant: str) -> None:
        await slots.acquire(tenant)
        order.append(tenant)
        slots.release(tenant)

    await slots.acquire("first")
    users = [asyncio.ensure_future(use(tenant)) for tenant in ["big"] * 4 + ["small"] * 2]
    await _settle()
    slots.release("first")
    await asyncio.gather(*users)
    assert order == ["big", "small", "big", "small", "big", "big"]
    assert (slots.free, slots.waiting) == (1, 0)


async def test_who_gives_up_waiting_costs_nobody_a_place() -> None:
    slots = Slots(1)
    await slots.acquire("a")
    first, second = (asyncio.ensure_future(slots.acquire("b")) for _ in "12")
    await _settle()
    first.cancel()
    await _settle()
    slots.release("a")
    await second
    assert slots.free == 0
    slots.release("b")
    assert slots.free == 1


async def test_a_place_given_to_who_is_just_leaving_goes_on_to_the_next() -> None:
    slots = Slots(1)
    await slots.acquire("a")
    leaving, staying = (asyncio.ensure_future(slots.acquire("b")) for _ in "12")
    await _settle()
    slots.release("a")  # the place is the first one's now, which does not know it yet
    leaving.cancel()
    await asyncio.wait_for(staying, 1)


async def test_no_tenant_holds_more_than_its_share_and_the_rest_stays_free_for_others() -> None:
    slots = Slots(3, per_tenant=2)
    for _ in "12":
        await slots.acquire("big")
    waiting = [asyncio.ensure_future(slots.acquire("big")) for _ in "34"]
    await _settle()
    assert (slots.free, slots.waiting) == (1, 2)
    await slots.acquire("small")
    late = asyncio.ensure_future(slots.acquire("small"))
    await _settle()
    slots.release("big")  # of those that wait, big has asked first
    await waiting[0]
    assert (slots.free, slots.waiting) == (0, 2)
    slots.release("small")
    await late
    assert not waiting[1].done()
    slots.release("small")
    assert (slots.free, slots.waiting) == (1, 1)
    slots.release("big")
    await waiting[1]
    assert (slots.free, slots.waiting) == (1, 0)


async def test_who_has_no_place_is_told_which_limit_is_in_the_way() -> None:
    slots = Slots(3, per_tenant=1)
    await slots.acquire("a")
    assert slots.reason("a") == "waits for a place: at most 1 step of a at a time"
    assert slots.reason("b") == "waits for a place: at most 3 steps at a time"
    assert (slots.limit, slots.per_tenant, Slots(2).per_tenant) == (3, 1, 2)
