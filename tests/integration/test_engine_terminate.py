"""Runs that are ended at once, and runs whose process is."""

import asyncio
from pathlib import Path

import pytest
from engines import FakeExecutor, Workshop

from stepwell.engine.specs import Limits
from stepwell.errors import Conflict


@pytest.mark.parametrize("paused", [False, True])
async def test_termination_ends_a_run_at_once_and_tells_its_code_nothing(
    shop: Workshop, tmp_path: Path, paused: bool
) -> None:
    executor = FakeExecutor()
    async with shop.running(executor=executor, limits=Limits(grace=3600)) as engine:
        await shop.create(
            f"""
try:
    await gather(step.run("a", "forever"), step.do("b", __import__("time").sleep, 3600), step.sleep("c", 3600))
finally:
    open({str(tmp_path / "effects")!r}, "w")
"""
        )
        await shop.until(lambda state: state.inflight and state.steps["a#1"].state == "running")
        if paused:
            await engine.pause("r", "ann")
        await engine.terminate("r", "ann")
        state = await shop.finished()
        assert (state.state, state.reason, state.counts["cancelled"]) == ("cancelled", "terminated by ann", 2)
        await shop.until(lambda _: not engine.holds("r"))
        assert (executor.killed, shop.isolates.alive) == (["a#1"], 0)
        await engine.terminate("r", "ann")
        assert (await engine.journal("r"))[-1].type == "ended"
    assert not (tmp_path / "effects").exists()


async def test_a_run_whose_process_is_killed_goes_on_in_another_one(shop: Workshop, tmp_path: Path) -> None:
    mark, done = tmp_path / "begun", tmp_path / "done"
    async with shop.running() as engine:
        await shop.create(
            f"""
def before():
    with open({str(done)!r}, "a") as file:
        file.write("x")
def slow():
    if os.path.exists({str(mark)!r}):
        return "again"
    open({str(mark)!r}, "w").close()
    import time
    time.sleep(60)
await step.do("before", before)
return await step.do("slow", slow)
"""
        )
        await shop.until(lambda state: "slow#1" in state.inflight)
        while not mark.exists():
            await asyncio.sleep(0.01)
        assert await engine.in_process("r")
        await engine.kill_isolate("r")
        state = await shop.finished()
        assert (state.state, state.result, done.read_text()) == ("passed", "again", "x")
        assert [attempt.state for attempt in state.steps["slow#1"].attempts] == ["lost", "passed"]
        assert not await engine.in_process("r")
        with pytest.raises(Conflict, match="has ended"):
            await engine.kill_isolate("r")


async def test_a_run_that_waits_has_no_process_to_kill(shop: Workshop) -> None:
    async with shop.running() as engine:
        await shop.create('await step.wait_for_event("w", type="go")')
        await shop.hibernating()
        assert not await engine.in_process("r")
        with pytest.raises(Conflict, match="in no process now"):
            await engine.kill_isolate("r")
