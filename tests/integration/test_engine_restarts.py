"""Restart from a step: what is not run again, what is, and that the code cannot tell the difference."""

import asyncio
from collections import Counter
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any, Literal

import pytest
from engines import FakeExecutor, Workshop, failed, passed
from gates import Gatekeeper

from stepwell.dynamic import bind
from stepwell.engine.clock import TestClock
from stepwell.engine.order import Order
from stepwell.engine.rebuild import Rebuild
from stepwell.engine.specs import Limits, Restart, RunSpec
from stepwell.engine.state import RunState, StepState
from stepwell.errors import Conflict, NotFound
from stepwell.store.derived_sqlite import SqliteTables

LIMITS = Limits(linger=0.01, nap=0.5)


def yes(run: RunState, step: StepState) -> Literal["approved"]:
    return "approved"


async def restart(shop: Workshop, step: str, id: str = "again", source: str = "r", code: str = "r") -> RunState:
    """Restart a run, with the code of the same or another source, and wait for its end."""
    handle = await bind(shop.engine, {}, tenant="t", scope="t/x").restart(
        source, step, id=id, metadata={"source": code}
    )
    return await handle.finished()


SEQUENCE = """
def effect(path, key, value):
    with open(path, "a") as file:
        file.write(key + "\\n")
    return value

class W(Pipeline):
    async def run(self, event, step):
        path, number = event.payload, event.number
        got = [await step.do("a", effect, path, "a#1", number)]
        got.append(step.random())
        await step.sleep("nap", 0.01)
        got.append(step.now().timestamp())
        await gather(step.run("build", "build"), step.run("lint", "ok"))
        got.append(step.uuid())
        got.append(await step.do("b", effect, path, "b#1", step.random()))
        await step.run("test", "test")
        got.append(step.now().timestamp() > 0)
        await step.do("c", effect, path, "c#1", None)
        return got
"""


async def test_a_run_restarted_from_any_step_runs_only_what_follows(shop: Workshop, tmp_path: Path) -> None:
    executor = FakeExecutor(build=passed("layer-b"), test=passed("layer-t"))
    effects = tmp_path / "effects"
    async with shop.running(executor=executor, limits=LIMITS):
        await shop.create_source(SEQUENCE, payload=str(effects))
        first = await shop.finished()
        assert first.state == "passed", first.error
        entries = await shop.engine.journal("r")
        order = list(dict.fromkeys(entry.key for entry in entries if entry.key))
        for count, key in enumerate(order):
            effects.write_text("")
            executor.attempts.clear()
            state = await restart(shop, key, f"again{count}")
            assert (state.state, state.result[1]) == ("passed", first.result[1]), state.error
            assert state.result[0] == 1, "its number is the one that it had"
            assert state.known_number == 1 and state.number == count + 2
            ran = {*effects.read_text().split(), *(attempt.key for attempt in executor.attempts)}
            before = {entry.key for entry in entries[: next(n for n, e in enumerate(entries) if e.key == key)]}
            finished = {k for k, step in state.steps.items() if step.origin}
            assert finished <= before
            assert not ran & finished
            if "build#1" in finished and key != "build#1":
                assert all(attempt.base == ("layer-b",) for attempt in executor.attempts if attempt.key == "test#1")
        assert state.result == first.result
        assert all("layer-b" in attempt.layers for attempt in executor.attempts if attempt.key == "test#1")


async def test_the_restarted_run_says_what_it_adopted_and_the_old_one_stays_as_it_is(shop: Workshop) -> None:
    executor = FakeExecutor(bad=[failed(), passed()])
    async with shop.running(executor=executor, limits=LIMITS) as engine:
        await shop.create('await step.run("a", "ok")\nawait step.run("b", "bad")\nreturn "shipped"')
        before = await shop.finished()
        journal = await engine.journal("r")
        state = await restart(shop, "b#1")
        assert (before.state, state.state, state.result) == ("failed", "passed", "shipped")
        assert state.ancestry is not None
        assert (state.ancestry.run, state.ancestry.step, state.ancestry.number) == ("r", "b#1", 1)
        assert (state.steps["a#1"].origin, state.steps["b#1"].origin) == ("r", "")
        assert state.started_at is not None and state.started_at >= state.created_at >= before.ended_at  # type: ignore[operator]
        assert await engine.journal("r") == journal
        assert Counter(attempt.key for attempt in executor.attempts) == {"a#1": 1, "b#1": 2}


async def test_waits_that_were_open_wait_again_and_kept_events_come_along(shop: Workshop) -> None:
    executor = FakeExecutor(bad=[failed(), passed()])
    clock = TestClock()
    async with shop.running(executor=executor, clock=clock, limits=LIMITS) as engine:
        await shop.create(
            """
async def side():
    await step.sleep("long", 1000)
    return step.now().timestamp() - 1_000_000_000
async def main():
    first = await step.wait_for_event("first", type="go")
    await step.run("b", "bad")
    return first, await step.wait_for_event("second", type="go")
return await gather(side(), main())
"""
        )
        await engine.send_event("r", "go", 1)
        await engine.send_event("r", "go", 2)
        assert (await shop.finished()).state == "failed"
        clock.advance(5000)
        restarting = asyncio.ensure_future(restart(shop, "b#1"))
        # It waits from its first moment on: what it had slept for is not over yet.
        gone_on = {"second#1"}
        await shop.until(lambda state: gone_on <= set(state.steps) and not engine.holds("again"), "again")
        clock.advance(1000)
        assert (await restarting).result == [6000.0, [1, 2]]


async def test_time_does_not_go_back_in_a_run_restarted_after_the_clock_was_set_back(shop: Workshop) -> None:
    clock = TestClock()
    async with shop.running(clock=clock, limits=LIMITS) as engine:
        await shop.create('await step.do("a", give)\nreturn step.now().timestamp()')
        began = (await shop.finished()).created_at
        clock.jump(-3600)
        state = await restart(shop, "a#1")
        assert state.result == began
        times = [entry.at for entry in await engine.journal("again")]
        assert times == sorted(times)


async def test_with_other_code_the_approval_is_asked_again(shop: Workshop) -> None:
    executor = FakeExecutor(bad=failed())
    async with shop.running(executor=executor, limits=LIMITS) as engine:
        body = 'await step.run("build", "ok")\nawait step.approval("ship")\nawait step.run("deploy", "COMMAND")'
        await shop.create(body.replace("COMMAND", "bad"))
        await shop.hibernating()
        await engine.decide("r", "ship#1", {"by": "ann", "approve": True}, yes)
        await shop.finished()
        same = await restart(shop, "deploy#1", "same")
        assert (same.state, same.steps["ship#1"].origin) == ("failed", "r")
        shop.sources["newer"] = shop.sources["r"].replace('"bad"', '"ok"')
        newer = asyncio.ensure_future(restart(shop, "deploy#1", "newer", code="newer"))
        state = await shop.until(lambda state: state.approvals, "newer")
        assert state.ancestry is not None and state.ancestry.step == "ship#1"
        await engine.decide("newer", "ship#1", {"by": "ann", "approve": True}, yes)
        assert (await newer).state == "passed"
        assert Counter(attempt.key for attempt in executor.attempts)["build#1"] == 1


async def test_rules_that_came_later_hold_a_step_that_runs_again(shop: Workshop) -> None:
    executor = FakeExecutor()
    async with shop.running(executor=executor, limits=LIMITS) as engine:
        await shop.create('await gather(step.run("d", "forever", environment="prod"), step.run("x", "ok"))')
        await shop.until(lambda state: state.counts.get("passed"))
        await engine.terminate("r", "ann")
        await shop.finished()
    async with shop.running(executor=executor, limits=LIMITS, gate=Gatekeeper()) as engine:
        executor.attempts.clear()
        await bind(engine, {}, tenant="t").restart("r", "x#1", id="again")
        state = await shop.until(lambda state: "x#1" in state.steps and state.steps["x#1"].state == "passed", "again")
        assert (state.steps["d#1"].state, list(state.approvals)) == ("waiting", ["d#1"])
        assert [attempt.key for attempt in executor.attempts] == ["x#1"]


async def test_newer_code_that_asks_otherwise_in_the_adopted_part_diverges(shop: Workshop) -> None:
    executor = FakeExecutor(bad=failed())
    async with shop.running(executor=executor, limits=LIMITS):
        await shop.create('await step.run("a", "ok")\nawait step.run("b", "bad")')
        await shop.finished()
        shop.sources["newer"] = shop.sources["r"].replace('"a", "ok"', '"a", "other"')
        state = await restart(shop, "b#1", code="newer")
        assert state.state == "diverged" and "'a#1'" in str(state.reason)
        state = await restart(shop, "a#1", "once more", source="again", code="newer")
        assert state.state == "failed" and state.steps["b#1"].state == "failed"


async def test_the_same_id_is_one_run_and_refusals_leave_none(shop: Workshop) -> None:
    executor = FakeExecutor(a=passed("layer-a"), gate=passed())
    async with shop.running(executor=executor, limits=LIMITS) as engine:
        await shop.create('await step.run("a", "a")\nawait step.run("b", "gate")')
        workflows = bind(engine, {}, tenant="t", scope="t/x")
        await shop.until(lambda state: "b#1" in state.steps)
        with pytest.raises(Conflict, match=r"Run #1 is running\. Cancel or terminate it first"):
            await workflows.restart("r", "b#1")
        executor.gate.set()
        await shop.finished()
        with pytest.raises(NotFound, match=r"Run #1 has no step 'c'\. Its steps: a#1, b#1\."):
            await workflows.restart("r", "c")
        with pytest.raises(NotFound):
            await bind(engine, {}, tenant="stranger").restart("r", "b#1")
        refs = await asyncio.gather(*(workflows.restart("r", "b#1", id="one") for _ in range(3)))
        assert [(ref.number, ref.created) for ref in refs] == [(2, True), (2, False), (2, False)]
        await shop.finished("one")
        executor.gone.add("layer-a")
        with pytest.raises(
            Conflict, match=r"files that step 'a' left are not kept any more.*STEPWELL_KEEP_LAYERS_DAYS"
        ):
            await workflows.restart("r", "b#1", id="two")
        assert await engine.get("two") is None
        assert (await workflows.restart("r", "a#1", id="two")).number == 3
        await shop.finished("two")


UNDONE = """
def release(value): return None

class W(Pipeline):
    async def run(self, event, step):
        await step.do("look", give, 0)
        await step.do("order", give, 1, undo=release)
        await step.do("reserve", give, 2, undo=release)
        await step.run("deploy", "bad")
"""


async def test_steps_that_were_undone_are_refused_by_name(shop: Workshop) -> None:
    executor = FakeExecutor(bad=[failed(), passed()])
    async with shop.running(executor=executor, limits=LIMITS):
        await shop.create_source(UNDONE)
        assert (await shop.finished()).state == "failed"
        refused = r"What the run did in 'order#1', 'reserve#1' has been undone.*Restart from 'order#1'"
        with pytest.raises(Conflict, match=refused):
            await restart(shop, "deploy#1")
        with pytest.raises(Conflict, match=r"in 'order#1' has been undone"):
            await restart(shop, "reserve#1")
        state = await restart(shop, "order#1")
        assert (state.state, state.steps["look#1"].origin, state.steps["order#1"].origin) == ("passed", "r", "")


@pytest.mark.parametrize("crash", ["before its first turn", "in its first turn"])
async def test_a_restart_that_was_acknowledged_goes_on_after_a_crash(shop: Workshop, crash: str) -> None:
    executor = FakeExecutor(bad=[failed(), passed()])
    slow = asyncio.Event()

    async def loader(metadata: Mapping[str, Any]) -> Any:
        if slow.is_set() and crash == "before its first turn":
            await asyncio.Event().wait()
        return await shop.load(metadata)

    async with shop.running(executor=executor, limits=LIMITS, loader=loader) as engine:
        await shop.create('await step.run("a", "ok")\nawait step.run("b", "bad")\nreturn "done"')
        await shop.finished()
        workflows = bind(engine, {}, tenant="t", scope="t/x")
        starting = asyncio.ensure_future(workflows.restart("r", "b#1", id="again"))
        await asyncio.sleep(0)
        slow.set()
        await starting
    async with shop.running(executor=executor, limits=LIMITS):
        assert (await shop.finished("again")).result == "done"
        assert Counter(attempt.key for attempt in executor.attempts)["a#1"] == 1


async def test_the_rows_of_a_restarted_run_follow_from_its_journal(shop: Workshop) -> None:
    from stepwell.engine.rebuild import Rebuild
    from stepwell.store.derived_sqlite import SqliteTables

    executor = FakeExecutor(a=passed("layer-a"))
    async with shop.running(executor=executor, limits=LIMITS) as engine:
        await shop.create(
            'await step.run("a", "a")\nawait step.run("b", "b")\nawait step.wait_for_event("w", type="go")'
        )
        await shop.hibernating()
        await engine.terminate("r", "ann")
        await shop.finished()
        await bind(engine, {}, tenant="t", scope="t/x").restart("r", "b#1", id="again")
        await shop.hibernating("again")
    journal = shop.journal()
    journal.open()
    try:
        report = Rebuild(SqliteTables(journal), mend=False).run()
        assert (report.runs, report.told, report.damaged) == (2, [], [])
    finally:
        journal.close()


async def test_removing_a_run_leaves_the_layers_on_which_another_stands(shop: Workshop) -> None:
    executor = FakeExecutor(a=passed("layer-a"), b=[passed("layer-b"), passed("layer-c")])
    async with shop.running(executor=executor, limits=LIMITS) as engine:
        await shop.create('await step.run("a", "a")\nawait step.run("b", "b")\nawait step.approval("ok")')
        await shop.hibernating()
        assert await engine.remove(["r"]) == [] and executor.erased == [], "it has not ended"
        await engine.terminate("r", "ann")
        await shop.finished()
        await bind(engine, {}, tenant="t", scope="t/x").restart("r", "b#1", id="again")
        await shop.hibernating("again")
        assert await engine.remove(["r", "again"]) == ["r"]
        assert executor.gone == {"layer-b"}, "the other one stands on layer-a"
        assert await engine.get("r") is None
        state = await engine.get("again")
        assert state is not None and state.state == "waiting"
        assert await engine.journal("again") != []


async def test_a_run_that_is_restarted_later_has_not_begun_by_what_the_other_one_did_not_take(shop: Workshop) -> None:
    async with shop.running() as engine:
        await shop.create('return await step.wait_for_event("w", type="go")')
        await shop.hibernating()
        await engine.send_event("r", "of no use", None)
        await engine.terminate("r", "ann")
        was = await shop.finished()
        order, again = Order(delay=3600), Restart("r", "w#1")
        spec = RunSpec("later", "t", "t/x", "W", was.metadata, was.params, was.code, order=order, restart=again)
        await engine.create(spec)
        later = await engine.get("later")
        assert later is not None and (later.state, later.started_at, len(later.events)) == ("queued", None, 1)
    journal = shop.journal()
    journal.open()
    with closing(journal):
        assert Rebuild(SqliteTables(journal), mend=False).run().told == []
