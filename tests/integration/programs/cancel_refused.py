import asyncio

from effects import effect
from stepwell import Pipeline

ENDS = "cancelled"
OUTSIDE = {"nap#1": [("cancel",)]}


class CancelRefused(Pipeline):
    """Code may catch its cancellation and end in its own way; the run is cancelled all the same."""

    async def run(self, event, step):
        try:
            await step.sleep("nap", "1 day")
        except asyncio.CancelledError:
            await step.do("instead", effect, event.payload, "instead#1")
        await step.sleep("rest", 5)
        return await step.do("end", effect, event.payload, "end#1", "result")
