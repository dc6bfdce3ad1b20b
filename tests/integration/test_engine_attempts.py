"""Attempts that executors make: tried again, lost, refused, late; on which layers they stand."""

import asyncio

import pytest
from engines import FakeExecutor, Workshop, failed, lost, passed
from logged import Log

from stepwell.engine.seams import Attempt, Outcome, Output, Prepared
from stepwell.engine.specs import Limits
from stepwell.errors import Denied


async def test_failed_attempts_are_retried_and_lost_ones_do_not_count(shop: Workshop) -> None:
    executor = FakeExecutor(flaky=[lost(), failed(), lost(), passed()])
    async with shop.running(executor=executor):
        await shop.create('await step.run("s", "flaky", retries=Retry(1, delay=0.01))')
        state = await shop.finished()
        assert state.state == "passed"
        assert [attempt.state for attempt in state.steps["s#1"].attempts] == ["lost", "failed", "lost", "passed"]
        assert [attempt.number for attempt in executor.attempts] == [1, 2, 3, 4]


async def test_five_losses_in_a_row_fail_the_step(shop: Workshop) -> None:
    executor = FakeExecutor(gone=lost())
    async with shop.running(executor=executor):
        await shop.create('await step.run("s", "gone")')
        state = await shop.finished()
        assert (state.state, len(executor.attempts)) == ("failed", 5)
        assert state.reason is not None and "lost 5 times in a row" in state.reason


async def test_an_executor_that_does_not_end_a_late_command_is_left(shop: Workshop) -> None:
    executor = FakeExecutor()
    async with shop.running(executor=executor, limits=Limits(overdue=0)):
        await shop.create('await step.run("s", "forever", timeout=0.05)')
        state = await shop.finished()
        assert (state.state, executor.killed) == ("failed", ["s#1"])
        assert "was not over after 0.1 s" in str(state.reason)


async def test_steps_stand_on_the_layers_the_code_had_seen(shop: Workshop) -> None:
    executor = FakeExecutor(a=passed("layer-a"), b=passed("layer-b"), c=passed("layer-c"))
    async with shop.running(executor=executor):
        await shop.create(
            'await step.run("a", "a")\nawait gather(step.run("b", "b"), step.run("c", "c"))\nawait step.run("d", "d")'
        )
        await shop.finished()
        bases = {attempt.key: attempt.base for attempt in executor.attempts}
        assert bases["a#1"] == ()
        assert bases["b#1"] == bases["c#1"] == ("layer-a",)
        assert sorted(bases["d#1"]) == ["layer-a", "layer-b", "layer-c"]
        assert bases["d#1"][0] == "layer-a"


async def test_layers_are_in_use_as_long_as_their_run_is_kept(shop: Workshop) -> None:
    executor = FakeExecutor(a=passed("layer-a"))
    async with shop.running(executor=executor) as engine:
        await shop.create('await step.run("a", "a")\nawait step.wait_for_event("w", type="go")')
        await shop.hibernating()
    async with shop.running(executor=executor) as engine:
        assert executor.in_use is not None and executor.in_use("layer-a") and not executor.in_use("layer-b")
        await engine.send_event("r", "go", None)
        await shop.finished()
        assert executor.in_use("layer-a")
    assert executor.forgotten == ["r"]
    journal = shop.journal()
    journal.open()
    assert journal.let_go(["r"]) == ["layer-a"] and not journal.layer_in_use("layer-a")
    journal.close()


async def test_no_more_steps_execute_than_there_are_slots(shop: Workshop) -> None:
    executor = FakeExecutor()
    async with shop.running(executor=executor, concurrent_steps=2):
        await shop.create('await gather(*(step.run(f"s{i}", "ok") for i in range(9)))')
        assert (await shop.finished()).state == "passed"
        assert executor.most_at_once == 2


async def test_a_refusal_of_secrets_fails_the_step_without_retry(shop: Workshop) -> None:
    class Refuses:
        async def prepare(self, attempt: Attempt) -> Prepared:
            raise Denied("The secret 'KEY' is not for this branch.")

    executor = FakeExecutor()
    async with shop.running(executor=executor, preparer=Refuses()):
        await shop.create('await step.run("s", "ok", secrets=["KEY"], retries=3)')
        state = await shop.finished()
        assert (state.state, executor.attempts) == ("failed", [])
        assert "not for this branch" in str(state.reason)


async def test_steps_in_flight_end_with_the_run(shop: Workshop) -> None:
    executor = FakeExecutor(bad=failed())
    async with shop.running(executor=executor):
        await shop.create('await gather(step.run("long", "forever"), step.run("bad", "bad"))')
        state = await shop.finished()
        assert (state.state, state.steps["long#1"].state) == ("failed", "cancelled")
    assert executor.killed == ["long#1"]


async def test_an_executor_that_raises_costs_an_attempt_only(shop: Workshop) -> None:
    class Broken(FakeExecutor):
        async def execute(self, attempt: Attempt, prepared: Prepared, output: Output) -> Outcome:
            raise RuntimeError("oops")

    async with shop.running(executor=Broken()):
        await shop.create('await step.run("s", "ok")')
        state = await shop.finished()
        assert state.state == "failed" and "oops" in str(state.reason)


class SlowLog(Log):
    """Keeps what it was given when the test says so."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = asyncio.Event()
        self.may_end = asyncio.Event()

    async def kept(self) -> None:
        self.asked.set()
        await self.may_end.wait()


@pytest.mark.parametrize("outcome", [passed(), failed()])
async def test_a_step_ends_in_the_journal_only_when_its_log_is_kept(shop: Workshop, outcome: Outcome) -> None:
    log = SlowLog()
    async with shop.running(executor=FakeExecutor(s=outcome), logs=log) as engine:
        await shop.create('await step.run("s", "c", check=False)')
        await log.asked.wait()
        assert [entry.type for entry in await engine.journal("r")] == ["created", "asked", "started"]
        log.may_end.set()
        await shop.finished()
        assert [entry.type for entry in await engine.journal("r")][3] == "done"
