"""Undoing in the engine: it has the time it needs, and nobody can use it to outlive a cancellation."""

from engines import Workshop

from stepwell.engine.clock import TestClock
from stepwell.engine.specs import Limits
from stepwell.engine.state import RunState

QUICK = Limits(stall=5, silence=10, grace=0.2)
UNDO = """
def undo(value): print("undo", value)

def stubborn(value):
    raise ValueError("not yet")

class W(Pipeline):
    async def run(self, event, step):
"""


def states(state: RunState) -> dict[str, str]:
    return {key: step.state for key, step in state.steps.items()}


async def test_undoing_hibernates_between_its_attempts_and_goes_on_after_a_restart(shop: Workshop) -> None:
    clock = TestClock()
    body = """
        await step.do("a", give, 1, undo=undo)
        await step.do("b", give, 2, undo=Undo(stubborn, retries=Retry(1, delay="1 hour")))
        raise RuntimeError("no")
"""
    async with shop.running(clock=clock):
        await shop.create_source(UNDO + body)
        state = await shop.until(lambda state: state.timers and not shop.engine.holds("r"))
        assert state.undoing and states(state)["undo b#1"] == "retrying"
    async with shop.running(clock=clock):
        clock.advance(3600)
        state = await shop.finished()
    assert states(state) == {"a#1": "passed", "b#1": "passed", "undo b#1": "failed", "undo a#1": "passed"}
    said = "RuntimeError: no\nNot everything was undone: step 'undo b'"
    assert state.state == "failed" and str(state.reason).startswith(said)


async def test_cancelled_code_that_hangs_is_left_and_undone(shop: Workshop) -> None:
    body = """
        await step.do("a", give, 1, undo=undo)
        try: await step.wait_for_event("w", type="go")
        finally: await step.wait_for_event("never", type="never")
"""
    clock = TestClock()
    async with shop.running(limits=QUICK, clock=clock) as engine:
        await shop.create_source(UNDO + body)
        await shop.hibernating()
        await engine.cancel("r", "ann", undo=True)
        await shop.until(lambda state: "never#1" in state.steps)
        clock.advance(QUICK.grace)
        state = await shop.finished()
        assert (state.state, states(state)["undo a#1"]) == ("cancelled", "passed")
        kinds = [entry.type for entry in await engine.journal("r")]
        assert kinds[kinds.index("overdue") :] == ["overdue", "dropped", "undoing", "done", "ended"]


async def test_a_plain_cancellation_ends_an_undoing_that_takes_too_long(shop: Workshop) -> None:
    body = """
        await step.do("a", give, 1, undo=Undo(stubborn, retries=Retry(1, delay="1 hour")))
        raise RuntimeError("no")
"""
    async with shop.running(limits=QUICK) as engine:
        await shop.create_source(UNDO + body)
        await shop.until(lambda state: state.timers and not shop.engine.holds("r"))
        await engine.cancel("r", "ann")
        state = await shop.finished()
        assert (state.state, states(state)["undo a#1"]) == ("cancelled", "cancelled")


async def test_a_claim_to_be_undoing_does_not_outlive_a_plain_cancellation(shop: Workshop) -> None:
    body = """
        import sys
        frame = sys._getframe()
        while not hasattr(frame.f_locals.get("self"), "wire"):
            frame = frame.f_back
        while True:
            try: await step.wait_for_event("w", type="go")
            except asyncio.CancelledError: frame.f_locals["self"].wire.put('["undoing"]')
"""
    clock = TestClock()
    async with shop.running(limits=QUICK, clock=clock) as engine:
        await shop.create_source(UNDO + body)
        await shop.hibernating()
        await engine.cancel("r", "ann")
        await shop.until(lambda state: state.undoing)
        clock.advance(QUICK.grace)
        state = await shop.finished()
        assert (state.state, state.undoing) == ("cancelled", True)
