"""Who may use the machine: caps are kept, turns are shared, and nobody is forgotten."""

import asyncio
from collections.abc import Callable
from random import Random

import pytest

from stepwell.engine.room import Caps, Rank, Room, Wish, rank_of

BEGUN = rank_of(0, begun=True)
NEW = rank_of(0, begun=False)


class Hall:
    """A room whose calls are written down."""

    def __init__(self, turns: int = 100, tenant: int | None = None, scope: int | None = None) -> None:
        self.caps = Caps(tenant, scope)
        self.given: list[str] = []
        self.room = Room(turns, lambda *_: self.caps)
        self.room.followed_by(self.given.append)

    def ask(self, *runs: str, tenant: str = "t", scope: str = "t/x", rank: Rank = NEW, turn: bool = True) -> list[bool]:
        return [self.room.ask(Wish(run, tenant, scope, rank, turn)) for run in runs]

    async def leave(self, *runs: str) -> list[str]:
        """Have runs leave, one after the other; give those that got room."""
        for run in runs:
            self.room.leave(run)
            await settled()
        given, self.given[:] = [*self.given], []
        return given


async def settled() -> None:
    for _ in range(3):
        await asyncio.sleep(0)


async def test_no_more_turns_are_given_than_there_are() -> None:
    hall = Hall(turns=2)
    assert hall.ask("a", "b", "c", "d") == [True, True, False, False]
    assert (hall.room.turns, hall.room.waiting, hall.room.crowded) == (2, 2, True)
    assert hall.room.reason("c") == "waits for room: at most 2 runs at all may go on at a time"
    hall.room.turn_over("a")
    await settled()
    assert (hall.given, hall.room.reason("c")) == (["c"], None)
    assert await hall.leave("a", "b") == ["c", "d"]


@pytest.mark.parametrize(("caps", "whose"), [({"tenant": 1}, "t"), ({"scope": 1}, "t/x")])
async def test_a_cap_holds_runs_back_and_lets_others_by(caps: dict[str, int], whose: str) -> None:
    hall = Hall(**caps)
    assert hall.ask("a", "b") == [True, False]
    assert hall.room.reason("b") == f"waits for room: at most 1 run of {whose} may go on at a time"
    assert hall.ask("c", scope="t/y") == [whose == "t/x"]
    assert hall.ask("d", tenant="u", scope="u/x") == [True]
    assert await hall.leave("a") == ["b"]


async def test_a_place_lasts_from_the_first_turn_to_the_leaving() -> None:
    hall = Hall(tenant=1)
    hall.ask("a", "b")
    hall.room.turn_over("a")  # its commands go on
    assert hall.ask("a", turn=False) == [True]
    await settled()
    assert hall.given == []
    assert hall.ask("a") == [True]
    assert await hall.leave("a") == ["b"]


async def test_commands_need_a_place_and_no_turn() -> None:
    hall = Hall(turns=1, tenant=2)
    assert hall.ask("a") == [True]
    assert hall.ask("b", turn=False) == [True]
    assert hall.ask("c", turn=False) == [False]
    assert await hall.leave("b") == ["c"]
    assert hall.ask("c") == [False]
    assert await hall.leave("a") == ["c"]


async def test_tenants_take_turns_however_many_they_ask_for() -> None:
    hall = Hall(turns=1)
    hall.ask("first", tenant="other", scope="other/x")
    hall.ask(*(f"big{n}" for n in range(1000)), tenant="big", scope="big/x")
    hall.ask("small", tenant="small", scope="small/x")
    assert await hall.leave("first", "big0", "small") == ["big0", "small", "big1"]


async def test_within_a_tenant_the_most_urgent_is_next() -> None:
    hall = Hall(turns=1)
    hall.ask("first")
    hall.ask("new")
    hall.ask("low", rank=rank_of(-1, begun=True))
    hall.ask("begun", rank=BEGUN)
    hall.ask("high", scope="t/y", rank=rank_of(1, begun=False))
    hall.ask("cancelled", rank=rank_of(-10, begun=True, cancelled=True))
    order = ["cancelled", "high", "begun", "new", "low"]
    assert await hall.leave("first", *order) == order


async def test_who_asks_again_keeps_its_place_and_may_become_more_urgent() -> None:
    hall = Hall(turns=1)
    hall.ask("first", "a", "b", "c")
    assert hall.ask("a", "a", "b") == [False] * 3
    hall.ask("c", rank=BEGUN)
    assert hall.room.waiting == 3
    assert await hall.leave("first", "c", "a", "b") == ["c", "a", "b"]


async def test_who_leaves_while_it_waits_is_not_called() -> None:
    hall = Hall(turns=1)
    hall.ask("first", "a", "b")
    assert await hall.leave("a") == []
    assert await hall.leave("first") == ["b"]
    assert hall.room.waiting == 0


async def test_nobody_slips_in_between_a_leaving_and_who_waited() -> None:
    hall = Hall(turns=1)
    hall.ask("first", "a")
    hall.room.leave("first")
    assert hall.ask("late") == [False]
    await settled()
    assert hall.given == ["a"]


async def test_raised_caps_let_those_who_wait_go_on() -> None:
    hall = Hall(tenant=1)
    hall.ask("a", "b", "c")
    await hall.leave()
    hall.caps = Caps(tenant=2)
    hall.room.caps_changed()
    await settled()
    assert hall.given == ["b"]


@pytest.mark.parametrize("seed", range(20))
async def test_whatever_happens_caps_hold_and_everybody_has_room_in_the_end(seed: int) -> None:
    """Runs ask, end their turns and leave at random; what was promised is counted beside the room."""
    random = Random(seed)
    tenants = {f"r{n}": random.choice("tuv") for n in range(30)}
    scopes = {run: f"{tenant}/{random.choice('xy')}" for run, tenant in tenants.items()}
    hall = Hall(turns=3, tenant=3, scope=2)
    todo, turns, places, wait = {*tenants}, set[str](), set[str](), set[str]()

    def given(run: str) -> None:
        wait.discard(run)
        turns.add(run)
        places.add(run)

    hall.room = Room(3, lambda *_: Caps(3, 2))
    hall.room.followed_by(given)

    def ask(run: str) -> None:
        rank = rank_of(random.randint(-1, 1), random.random() < 0.5)
        if hall.ask(run, tenant=tenants[run], scope=scopes[run], rank=rank)[0]:
            given(run)
        else:
            wait.add(run)

    def leave(run: str) -> None:
        hall.room.leave(run)
        for where in (turns, places, todo):
            where.discard(run)

    def turn_over(run: str) -> None:
        hall.room.turn_over(run)
        turns.discard(run)

    def one_of(runs: set[str], act: Callable[[str], None]) -> None:
        if runs:
            act(random.choice(sorted(runs)))

    for _ in range(2000):
        act = random.choice([ask, ask, turn_over, leave])
        one_of({ask: todo - turns, turn_over: turns, leave: places - wait}[act], act)
        if random.random() < 0.5:
            await settled()
        assert len(turns) <= 3
        for whose, cap in ((tenants, 3), (scopes, 2)):
            counts = [sum(whose[run] == one for run in places) for one in {*whose.values()}]
            assert max(counts) <= cap
        if not todo:
            break
    for _ in range(len(tenants)):
        await settled()
        for run in sorted(places - wait):
            leave(run)
    assert not wait
    assert (hall.room.waiting, hall.room.turns) == (0, 0)


async def test_those_that_get_room_together_are_told_one_by_one() -> None:
    """Each may have a long journal to read, so the loop is free between two of them."""
    hall = Hall(turns=3, tenant=0)
    assert hall.ask("a", "b", "c") == [False, False, False]
    hall.caps = Caps()
    hall.room.caps_changed()
    told = []
    for _ in range(4):
        await asyncio.sleep(0)
        told.append([*hall.given])
    assert told == [["a"], ["a", "b"], ["a", "b", "c"], ["a", "b", "c"]]
    assert hall.room.turns == 3
