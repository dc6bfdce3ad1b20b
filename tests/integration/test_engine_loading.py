"""Code that is not to be had: slow, lost for a while, changed, or gone."""

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest
from engines import Workshop

from stepwell.engine.clock import TestClock
from stepwell.engine.seams import Code
from stepwell.engine.specs import Limits
from stepwell.errors import NotFound, TryLater


async def test_a_loader_that_says_try_later_is_asked_again(shop: Workshop) -> None:
    asked = 0

    async def loader(metadata: Mapping[str, Any]) -> Code:
        nonlocal asked
        asked += 1
        if asked == 2:  # the first question pins nothing: it is the second that the turn asks
            raise TryLater("The repository is being moved.", 0.02)
        return await shop.load(metadata)

    async with shop.running(loader=loader):
        await shop.create("return 1", "warm")
        await shop.finished("warm")
        await shop.create("return 2")
        state = await shop.finished()
        assert (state.state, state.result) == ("passed", 2)


async def test_a_run_whose_code_is_lost_says_so_and_goes_on_when_it_is_back(shop: Workshop) -> None:
    gone = False

    async def loader(metadata: Mapping[str, Any]) -> Code:
        if gone:
            raise NotFound("The commit 1234 is gone.")
        return await shop.load(metadata)

    async with shop.running(loader=loader) as engine:
        await shop.create('return await step.wait_for_event("w", type="go")')
        await shop.hibernating()
        gone = True
        await engine.send_event("r", "go", 5)
        state = await shop.until(lambda state: state.reason)
        assert (state.state, state.reason) == ("waiting", "The commit 1234 is gone.")
    gone = False
    async with shop.running(loader=loader):
        assert (await shop.finished()).result == 5


async def test_changed_code_is_refused_and_the_run_can_still_be_cancelled(shop: Workshop) -> None:
    async with shop.running() as engine:
        await shop.create('return await step.wait_for_event("w", type="go")')
        await shop.hibernating()
    shop.sources["r"] += "\n# changed"
    async with shop.running() as engine:
        await engine.send_event("r", "go", 5)
        state = await shop.until(lambda state: state.reason)
        assert "has changed" in str(state.reason)
        await engine.cancel("r", "ann")
        assert (await shop.finished()).state == "cancelled"


@pytest.mark.parametrize(("seconds", "tries"), [(20, 5), (600, 7)])
async def test_cancelled_code_that_cannot_be_had_for_a_moment_has_its_grace_to_clean_up(
    shop: Workshop, seconds: int, tries: int
) -> None:
    clock = TestClock()
    back_at, asked = clock.now(), 0

    async def loader(metadata: Mapping[str, Any]) -> Code:
        nonlocal asked
        asked += 1
        if clock.now() < back_at:
            raise TryLater("The repository is being moved.", 5)
        return await shop.load(metadata)

    async with shop.running(loader=loader, clock=clock, limits=Limits(nap=0, grace=30)) as engine:
        await shop.create(
            'try:\n    await step.wait_for_event("w", type="go")\nfinally:\n    await step.do("clean", give, 1)'
        )
        await shop.hibernating()
        back_at, asked = clock.now() + seconds, 0
        await engine.cancel("r", "ann")
        for n in range(1, tries):
            state = await shop.until(lambda _, n=n: asked == n and not engine.holds("r"))  # type: ignore[misc]
            assert (state.finished, state.reason) == (False, "The repository is being moved.")
            clock.advance(5)
        state = await shop.finished()
        assert (state.state, asked) == ("cancelled", tries)
        assert ("clean#1" in state.steps) == (seconds < 30)


async def test_a_slow_loader_becomes_the_reason(shop: Workshop) -> None:
    async def loader(metadata: Mapping[str, Any]) -> Code:
        await asyncio.Event().wait()
        raise AssertionError

    async with shop.running(loader=loader, limits=Limits(loading=0.02)):
        await shop.create("return 1")
        state = await shop.until(lambda state: state.reason)
        assert "not there after 0.02 s" in str(state.reason)
