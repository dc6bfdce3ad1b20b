import asyncio

from effects import effect
from stepwell import ApprovalTimeout, EventTimeout, Pipeline

OUTSIDE = {"after#1": [("event", "never", "late"), ("event", "go", 1)]}


class WaitTimeouts(Pipeline):
    """A wait whose time is over takes no event that comes afterwards."""

    async def run(self, event, step):
        path, said = event.payload, []
        try:
            await step.wait_for_event("slow", type="never", timeout="2 days")
        except EventTimeout as error:
            said.append(str(error))
            await step.do("a", effect, path, "a#1")
        try:
            await step.approval("nobody", timeout="7 days")
        except ApprovalTimeout as error:
            said.append(str(error))
        try:
            async with asyncio.timeout(60):
                await step.wait_for_event("scope", type="never")
        except TimeoutError:
            await step.do("b", effect, path, "b#1")
        try:
            await asyncio.wait_for(step.wait_for_event("for", type="never"), 60)
        except TimeoutError:
            await step.do("c", effect, path, "c#1")
        await step.wait_for_event("after", type="go")
        return [said, await step.wait_for_event("kept", type="never")]
