from asyncio import gather

from effects import effect, fails
from stepwell import Pipeline

ENDS = "failed"


class Failing(Pipeline):
    """What is in flight when run() raises is cancelled, and cleans up."""

    async def run(self, event, step):
        path = event.payload

        async def tidy(wait):
            try:
                await wait
            finally:
                await step.do("tidy", effect, path, "tidy#1")

        await step.do("begin", effect, path, "begin#1")
        await gather(
            step.run("long", "long"),
            tidy(step.sleep("nap", "1 day")),
            step.wait_for_event("wait", type="never"),
            step.do("bad", fails, path, "bad#1", retries=0),
        )
