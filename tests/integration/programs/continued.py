import asyncio

from effects import effect
from stepwell import Pipeline

ENTRY = "pipeline.py:Loop"
OUTSIDE = {"wait#1": [("event", "go", 1), ("event", "go", 2), ("event", "other", 3)]}


class Called(Pipeline):
    """Waits until it is cancelled."""

    async def run(self, event, step):
        await step.wait_for_event("never", type="never", timeout=None)


class Loop(Pipeline):
    """Goes round three times under one run; events, keys and a call that is in flight go over the border."""

    async def run(self, event, step):
        path, seen = event.payload, event.inputs.get("seen") or []
        number = len(seen) + 1
        taken = await step.wait_for_event("wait", type="go") if number < 3 else None
        await step.run("r", "ok")
        await step.do("work", effect, path, f"work#{number}")
        seen = [*seen, [taken, step.random()]]
        if number == 3:
            other = await step.wait_for_event("other", type="other")
            return [[taken for taken, _ in seen], len({drawn for _, drawn in seen}), other, event.number is not None]
        called = asyncio.ensure_future(step.call("c", Called))
        await step.sleep("nap", 60)
        try:
            await step.continue_as(event.replace(inputs={"seen": seen}))
        finally:
            await step.do("clean", effect, path, f"clean#{number}")
            called.cancel()
