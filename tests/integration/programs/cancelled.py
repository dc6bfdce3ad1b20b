import asyncio
from asyncio import gather

from effects import effect
from stepwell import Pipeline

ENDS = "cancelled"
OUTSIDE = {"wait#1": [("cancel",)]}


class Cancelled(Pipeline):
    """A cancellation reaches every wait; each cleans up, with steps of its own."""

    async def run(self, event, step):
        path = event.payload

        async def around(name, wait):
            try:
                await wait
            except asyncio.CancelledError:
                await step.do("undo " + name, effect, path, f"undo {name}#1")
                raise
            finally:
                await step.sleep("rest " + name, 1)
                await step.do("finally " + name, effect, path, f"finally {name}#1")

        await step.do("begin", effect, path, "begin#1")
        try:
            await gather(
                around("command", step.run("long", "long")),
                around("sleep", step.sleep("nap", "1 day")),
                around("timer", asyncio.sleep(100_000)),
                around("approval", step.approval("ship")),
                around("event", step.wait_for_event("wait", type="never")),
            )
        finally:
            await step.do("last", effect, path, "last#1")
