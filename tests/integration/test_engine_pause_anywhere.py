"""A pause at any moment, also one that a crash follows, changes nothing and repeats nothing."""

import asyncio
from collections import Counter
from pathlib import Path

from engines import FakeExecutor, Workshop, failed

from stepwell.engine.engine import Engine
from stepwell.engine.entries import Entry
from stepwell.engine.specs import Limits, Note
from stepwell.engine.state import RunState
from stepwell.errors import Conflict

LIMITS = Limits(linger=0.01, nap=0.5, grace=2)


MIXED = """
import time

def effect(path, name):
    with open(path, "a") as file:
        file.write(name + "\\n")
    return name

def flaky(path, name):
    effect(path, name)
    if open(path).read().splitlines().count(name) < 2:
        raise ValueError("the first time")
    return name

class W(Pipeline):
    async def run(self, event, step):
        path, got = event.payload, []
        got += await gather(*(step.do(f"p{n}", effect, path, f"p{n}") for n in range(3)), step.do("f", flaky, path, "f",
            retries=Retry(3, delay=0.01)))
        got.append((await step.run("r", "ok")).exit_code)
        try:
            async with asyncio.timeout(0.03):
                await step.wait_for_event("never", type="never")
        except TimeoutError:
            got.append(await step.do("late", effect, path, "late"))
        await step.sleep("nap", 0.02)
        got.append(await step.wait_for_event("w", type="go"))
        try:
            await gather(step.run("bad", "bad"), step.sleep("long", 3600))
        except StepFailed:
            got.append(await step.do("after", effect, path, "after"))
        return got
"""


async def play(shop: Workshop, engine: Engine, effects: Path, pause_at: int) -> tuple[RunState, list[Entry]]:
    """Play the run, paused at one entry; what may not begin in a pause is checked on the way."""
    await shop.create_source(MIXED, payload=str(effects))
    news: asyncio.Queue[Entry] = asyncio.Queue()
    stop = engine.subscribe(lambda entry, _: None if isinstance(entry, Note) else news.put_nowait(entry))
    await engine.send_event("r", "go", "went")
    try:
        while True:
            state = await engine.get("r")
            assert state is not None
            if state.finished:
                return state, await engine.journal("r")
            if state.seq >= pause_at and not any(e.type == "paused" for e in await engine.journal("r")):
                await engine.pause("r", "ann")
                await shop.until(lambda state: state.finished or (state.paused and not engine.holds("r")))
                await engine.resume("r", "ann")
            await asyncio.wait_for(news.get(), 10)
    except Conflict:  # its code had come to its end when it was to be paused
        return await shop.finished(), await engine.journal("r")
    finally:
        stop()


async def test_a_pause_at_any_entry_changes_nothing_and_repeats_nothing(tmp_path: Path) -> None:
    shops = Workshop(tmp_path)
    try:
        count, seen = 0, None
        while True:
            place = tmp_path / str(count)
            place.mkdir()
            shop = Workshop(place)
            shop.isolates = shops.isolates
            executor = FakeExecutor(bad=failed())
            async with shop.running(executor=executor, limits=LIMITS) as engine:
                state, entries = await play(shop, engine, place / "effects", count or 10_000)
            effects = Counter((place / "effects").read_text().split())
            got = (state.state, state.result, effects, Counter(attempt.key for attempt in executor.attempts))
            seen = seen or got
            assert got == seen, f"paused at entry {count}: {state.error}"
            types = [entry.type for entry in entries]
            if "paused" in types:
                between = types[types.index("paused") :]
                between = between[: between.index("resumed") if "resumed" in between else None]
                assert "started" not in between, f"paused at entry {count}"
            elif count:
                break
            count += 1
        assert seen is not None and seen[0] == "passed" and count > 20
    finally:
        await shops.isolates.close()


async def test_a_paused_run_is_paused_after_a_restart(shop: Workshop) -> None:
    executor = FakeExecutor()
    async with shop.running(executor=executor) as engine:
        await shop.create('await step.run("a", "forever")\nreturn "done"')
        await shop.until(lambda state: state.counts.get("running"))
        await engine.pause("r", "ann")
    executor = FakeExecutor()
    async with shop.running(executor=executor) as engine:
        state = await shop.standing()
        assert (state.steps["a#1"].state, state.steps["a#1"].losses, executor.attempts) == ("queued", 1, [])
    async with shop.running(executor=executor) as engine:
        await asyncio.sleep(0)
        assert engine.in_memory == 0
        await engine.resume("r", "ann")
        await shop.until(lambda state: state.counts.get("running"))
        assert (await shop.until(lambda state: executor.attempts)).state == "running"


async def test_a_resumed_run_goes_on_after_a_crash_before_its_turn(shop: Workshop) -> None:
    async with shop.running() as engine:
        await shop.create('return await step.wait_for_event("w", type="go")')
        await shop.hibernating()
        await engine.pause("r", "ann")
        await engine.send_event("r", "go", 1)
        await shop.standing()
    async with shop.running() as engine:
        await asyncio.sleep(0)
        assert engine.in_memory == 0
        await engine.resume("r", "ann")
    async with shop.running():
        assert (await shop.finished()).result == 1
