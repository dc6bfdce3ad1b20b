import asyncio
from asyncio import create_task, gather

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
        cleaning = [
            create_task(around("command", step.run("long", "long"))),
            create_task(around("sleep", step.sleep("nap", "1 day"))),
            create_task(around("timer", asyncio.sleep(100_000))),
            create_task(around("approval", step.approval("ship"))),
            create_task(around("event", step.wait_for_event("wait", type="never"))),
        ]
        try:
            await gather(*cleaning)
        finally:
            # gather is over with the first of them, and the run would leave those behind that are slower
            await asyncio.wait(cleaning)
            await step.do("last", effect, path, "last#1")
