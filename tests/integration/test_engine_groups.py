"""Concurrency groups: one run of a group at a time, in the order in which they came, whatever becomes of each."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from engines import FakeExecutor, Workshop, failed

from stepwell.authoring.order import Policy
from stepwell.dynamic import bind
from stepwell.engine.children import child_id
from stepwell.engine.order import NO_ORDER, Order
from stepwell.engine.rebuild import Rebuild
from stepwell.engine.seams import Code
from stepwell.engine.state import RunState
from stepwell.errors import Invalid
from stepwell.store.derived_sqlite import SqliteTables

WAITS = 'return await step.wait_for_event("w", type="go")'


async def members(shop: Workshop, policy: Policy, *runs: str, body: str = WAITS) -> None:
    """Create members of the group `ship`, the first of which has begun when the next one comes."""
    for run in runs:
        await shop.create(body, run, order=Order("ship", policy))
        if run == runs[0]:
            await shop.hibernating(run)


async def queued(shop: Workshop, run: str) -> str | None:
    """Wait until a run is queued and costs no memory; give its reason."""
    state = await shop.until(lambda state: state.state == "queued" and not shop.engine.holds(run), run)
    return state.reason


async def states(shop: Workshop, *runs: str) -> list[str]:
    found = [await shop.engine.get(run) for run in runs]
    return [state.state for state in found if state is not None]


async def test_members_go_on_one_after_the_other_in_the_order_of_their_creation(shop: Workshop) -> None:
    async with shop.running() as engine:
        await members(shop, "queue", "a", "b", "c")
        assert await queued(shop, "b") == await queued(shop, "c") == "waits for run #1 in group ship"
        await engine.send_event("a", "go", 1)
        await shop.hibernating("b")
        assert await queued(shop, "c") == "waits for run #2 in group ship"
        await engine.send_event("b", "go", 2)
        await shop.hibernating("c")
        await engine.send_event("c", "go", 3)
        assert (await shop.finished("c")).result == 3


async def test_of_those_that_wait_only_the_newest_stays(shop: Workshop) -> None:
    async with shop.running() as engine:
        await members(shop, "newest", "a", "b", "c", "d")
        b, c = await shop.finished("b"), await shop.finished("c")
        assert (b.state, b.reason) == ("cancelled", "cancelled by stepwell: superseded by run #3")
        assert (c.reason, c.started_at, c.steps) == ("cancelled by stepwell: superseded by run #4", None, {})
        assert await states(shop, "a", "d") == ["waiting", "queued"]
        await engine.send_event("a", "go", None)
        assert (await shop.finished("a")).state == "passed"
        await shop.hibernating("d")


async def test_a_cancelling_run_begins_when_the_older_ones_have_cleaned_up(shop: Workshop) -> None:
    cleans = 'try:\n    await step.wait_for_event("w", type="go")\nfinally:\n    await step.sleep("clean", 0.05)'
    async with shop.running():
        await members(shop, "queue", "a", "b", body=cleans)
        await shop.create("return 1", "c", order=Order("ship", "cancel"))
        c = await shop.finished("c")
        a, b = await shop.finished("a"), await shop.finished("b")
        assert (a.state, b.state, c.state) == ("cancelled", "cancelled", "passed")
        assert a.reason == "cancelled by stepwell: superseded by run #3"
        assert (a.steps["clean#1"].state, b.steps) == ("passed", {})
        assert a.ended_at is not None and c.started_at is not None and a.ended_at <= c.started_at


@pytest.mark.parametrize(
    ("body", "ending"),
    [
        ("return 1", "passed"),
        ("raise ValueError('no')", "failed"),
        ("import os; os._exit(3)", "failed"),
        ("await asyncio.sleep(3600)", "cancelled"),
    ],
)
async def test_however_a_member_ends_the_next_one_begins(shop: Workshop, body: str, ending: str) -> None:
    async with shop.running() as engine:
        await shop.create(body, "a", order=Order("ship"))
        await shop.create("return 2", "b", order=Order("ship"))
        if ending == "cancelled":
            await shop.hibernating("a")
            await engine.cancel("a", "ann")
        assert [(await shop.finished(run)).state for run in "ab"] == [ending, "passed"]


async def test_a_diverged_member_has_ended(shop: Workshop) -> None:
    source = "class W(Pipeline):\n    async def run(self, event, step):\n        await step."
    async with shop.running():
        await shop.create_source(source + 'wait_for_event("w", type="go")', "a", order=Order("ship"))
        await shop.create("return 2", "b", order=Order("ship"))
        await shop.hibernating("a")
    pinned = (await shop.load({"source": "a"})).digest
    shop.sources["a"] = source + 'sleep("w", 3600)'

    async def loader(metadata: Mapping[str, Any]) -> Code:
        code = await shop.load(metadata)
        return replace(code, digest=pinned) if metadata["source"] == "a" else code

    async with shop.running(loader=loader) as engine:
        await engine.send_event("a", "go", None)
        assert [(await shop.finished(run)).state for run in "ab"] == ["diverged", "passed"]


async def test_a_member_that_waits_for_people_holds_the_group_and_no_slot(shop: Workshop) -> None:
    async with shop.running(concurrent_turns=1, executor=FakeExecutor()) as engine:
        await members(shop, "queue", "a", "b", body='await step.approval("ship it")')
        await shop.create("return 1", "other")
        assert (await shop.finished("other")).state == "passed"
        assert await queued(shop, "b") == "waits for run #1 in group ship"
        await engine.decide("a", "ship it#1", {"by": "ann", "approve": True}, lambda run, step: "approved")
        await shop.hibernating("b")


async def test_a_member_cancelled_while_it_waits_lets_nobody_by_and_keeps_nobody(shop: Workshop) -> None:
    async with shop.running() as engine:
        await members(shop, "queue", "a", "b", "c")
        await engine.cancel("b", "ann", "changed my mind")
        b = await shop.finished("b")
        assert (b.state, b.started_at, b.reason) == ("cancelled", None, "cancelled by ann: changed my mind")
        assert await queued(shop, "c") == "waits for run #1 in group ship"
        await engine.send_event("a", "go", None)
        await shop.hibernating("c")


async def test_a_paused_member_holds_the_group(shop: Workshop) -> None:
    async with shop.running() as engine:
        await members(shop, "queue", "a", "b")
        await engine.pause("a", "ann")
        await engine.send_event("a", "go", None)
        assert await queued(shop, "b") == "waits for run #1 in group ship"
        assert await states(shop, "a") == ["paused"]
        await engine.resume("a", "ann")
        await shop.hibernating("b")


async def test_a_member_paused_while_it_waits_keeps_its_place_and_does_not_begin(shop: Workshop) -> None:
    async with shop.running() as engine:
        await members(shop, "queue", "a", "b", "c")
        await engine.pause("b", "ann")
        await engine.send_event("a", "go", None)
        await shop.finished("a")
        assert await queued(shop, "c") == "waits for run #2 in group ship"
        assert await states(shop, "b") == ["paused"]
        await engine.resume("b", "ann")
        await shop.hibernating("b")
        await shop.create(WAITS, "d", order=Order("ship", "cancel"))
        await shop.hibernating("d")


CALLS = """
class Child(Pipeline):
    async def run(self, event, step):
        return await step.do("one", give, 1)

class W(Pipeline):
    async def run(self, event, step):
        return await step.call("c", Child)
"""


async def test_a_called_run_is_exempt_from_its_callers_group(shop: Workshop) -> None:
    async with shop.running():
        for run in "ab":
            await shop.create_source(CALLS, run, order=Order("ship"))
        a, b = await shop.finished("a"), await shop.finished("b")
        assert (a.result, b.result) == (1, 1)
        child = await shop.engine.get(child_id("a", "c#1"))
        assert child is not None and child.order == NO_ORDER
        assert a.ended_at is not None and b.started_at is not None and a.ended_at <= b.started_at


async def test_groups_of_other_tenants_and_repositories_are_others(shop: Workshop) -> None:
    async with shop.running() as engine:
        for run, tenant in (("a", "t"), ("b", "u"), ("c", "v")):
            await shop.create(WAITS, run, tenant, order=Order("ship", "cancel"))
            await shop.hibernating(run)
        assert await states(shop, "a", "b", "c") == ["waiting"] * 3
        assert engine.in_memory == 0


async def test_an_event_for_a_queued_run_is_kept_until_it_has_begun(shop: Workshop) -> None:
    async with shop.running() as engine:
        await members(shop, "queue", "a", "b")
        await engine.send_event("b", "go", "early")
        assert await states(shop, "b") == ["queued"]
        await engine.send_event("a", "go", None)
        assert (await shop.finished("b")).result == "early"


async def test_queued_runs_survive_a_restart_in_their_order(shop: Workshop) -> None:
    async with shop.running():
        await members(shop, "queue", "a", "b", "c")
        await queued(shop, "c")
    async with shop.running() as engine:
        assert await states(shop, "a", "b", "c") == ["waiting", "queued", "queued"]
        for before, after in (("a", "b"), ("b", "c")):
            await engine.send_event(before, "go", None)
            await shop.hibernating(after)
        assert await states(shop, "a", "b", "c") == ["passed", "passed", "waiting"]


async def test_policies_may_be_mixed_in_a_group_each_run_acting_by_its_own(shop: Workshop) -> None:
    async with shop.running():
        await members(shop, "queue", "a", "b", "c")
        await shop.create(WAITS, "d", order=Order("ship", "newest"))
        assert (await shop.finished("b")).state == (await shop.finished("c")).state == "cancelled"
        assert await states(shop, "a", "d") == ["waiting", "queued"]


@pytest.mark.parametrize(
    ("order", "said"),
    [
        (Order("g" * 513), "group has value"),
        (Order("g", "often"), "policy has value 'often'"),  # type: ignore[arg-type]
        (Order(policy="newest"), r"policy 'newest' has no group. Name one, like Order\('deploy', 'newest'\)"),
        (Order(priority=11), "priority has value 11. Use a whole number from -10 to 10."),
        (Order(priority=True), "priority has value True"),
    ],
)
async def test_an_order_that_makes_no_sense_is_refused(shop: Workshop, order: Order, said: str) -> None:
    async with shop.running():
        with pytest.raises(Invalid, match=said):
            await shop.create("return 1", order=order)


def test_a_run_that_is_held_is_queued_whatever_arrives(shop: Workshop) -> None:
    state = RunState("r", held=True, seq=4, reason="?")
    assert state.state == "queued"


async def test_a_restarted_run_stands_in_the_group_of_the_first_and_begins_nothing_before_its_turn(
    shop: Workshop,
) -> None:
    body = 'await step.do("one", give, 1)\nawait gather(step.run("two", "two"), step.run("three", "three"))'
    executor = FakeExecutor(two=failed())
    async with shop.running(executor=executor) as engine:
        await shop.create(body, "a", order=Order("ship"))
        assert (await shop.finished("a")).state == "failed"
        await shop.create(WAITS, "b", order=Order("ship"))
        await shop.hibernating("b")
        executor.outcomes, executor.attempts = {}, []
        await bind(engine, {}, tenant="t", scope="t/x").restart("a", "three#1", id="c")
        assert await queued(shop, "c") == "waits for run #2 in group ship"
    async with shop.running(executor=executor) as engine:
        assert await states(shop, "c") == ["queued"]
        assert executor.attempts == []
        await engine.send_event("b", "go", None)
        c = await shop.finished("c")
        assert (c.state, c.steps["one#1"].origin) == ("passed", "a")
        assert sorted(attempt.key for attempt in executor.attempts) == ["three#1", "two#1"]


async def test_a_run_restarted_from_one_that_had_waited_is_not_admitted_by_what_it_adopts(shop: Workshop) -> None:
    async with shop.running() as engine:
        await members(shop, "queue", "a", "b", body='await step.do("one", give, 1)\n' + WAITS)
        await engine.send_event("a", "go", None)
        await shop.hibernating("b")
        await engine.cancel("b", "ann")
        await shop.finished("b")
        await shop.create(WAITS, "x", order=Order("ship"))
        await shop.hibernating("x")
        await bind(engine, {}, tenant="t", scope="t/x").restart("b", "w#1", id="c")
        assert await queued(shop, "c") == "waits for run #3 in group ship"
        await engine.send_event("x", "go", None)
        await engine.send_event("c", "go", 7)
        assert (await shop.finished("c")).result == 7
    journal = shop.journal()
    journal.open()
    report = Rebuild(SqliteTables(journal), mend=False).run()
    journal.close()
    assert (report.told, report.damaged) == ([], [])
