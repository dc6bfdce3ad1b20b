from asyncio import gather
from functools import partial

from effects import effect, fails
from stepwell import Pipeline, Retry, Undo

ENDS = "failed"


class Undone(Pipeline):
    """What passed is undone in reverse order, though one undo function fails for good."""

    async def run(self, event, step):
        path = event.payload
        undo = partial(effect, path)
        await step.do("a", effect, path, "a#1", "undo a#1", undo=undo)
        await gather(*(step.do(name, effect, path, f"{name}#1", f"undo {name}#1", undo=undo) for name in "bc"))
        broken = Undo(partial(fails, path), retries=Retry(1, delay="1 hour"))
        await step.do("d", effect, path, "d#1", "undo d#1", undo=broken)
        await step.run("bad", "fail")
