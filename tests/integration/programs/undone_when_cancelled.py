from asyncio import gather
from functools import partial

from effects import effect
from stepwell import Pipeline

ENDS = "cancelled"
OUTSIDE = {"wait#1": [("cancel", "undo")]}


class UndoneWhenCancelled(Pipeline):
    """A cancelled run cleans up first; then all that passed is undone, the cleaning too."""

    async def run(self, event, step):
        path = event.payload
        undo = partial(effect, path)
        await step.do("a", effect, path, "a#1", "undo a#1", undo=undo)
        try:
            await gather(step.run("long", "long"), step.wait_for_event("wait", type="never"))
        finally:
            await step.sleep("rest", 1)
            await step.do("clean", effect, path, "clean#1", "undo clean#1", undo=undo)
