import asyncio
from asyncio import gather

from effects import effect
from stepwell import Pipeline

OUTSIDE = {
    "third#1": [("event", "go", "A"), ("event", "go", "B"), ("event", "go", "C"), ("event", "go", "D")],
    "again#1": [("event", "go", "E")],
}


class SeveralWaiters(Pipeline):
    """Waits of one type are served in the order asked; one that is cancelled takes nothing."""

    async def run(self, event, step):
        path = event.payload

        async def wait(name):
            try:
                return await step.wait_for_event(name, type="go", timeout="1 hour")
            finally:
                await step.do("finally " + name, effect, path, f"finally {name}#1")

        given_up = asyncio.create_task(wait("given up"))
        await asyncio.sleep(0)
        waits = gather(wait("first"), wait("second"), wait("third"))
        await step.do("a", effect, path, "a#1")
        given_up.cancel()
        got = await waits
        kept = await step.wait_for_event("kept", type="go")
        return [got, kept, await step.wait_for_event("again", type="go"), given_up.cancelled()]
