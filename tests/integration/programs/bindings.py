import asyncio
from asyncio import gather

from effects import effect
from stepwell import Pipeline, StepFailed

OUTSIDE = {"wait#1": [("event", "go", 5)]}


class Bindings(Pipeline):
    """Calls of a binding in sequence, side by side, refused, dropped, and beside everything else."""

    async def run(self, event, step):
        path, notebook = event.payload, self.env.notebook
        first = await notebook.write("notebook.write notebook.write one#1", {"n": 1})
        both = await gather(
            notebook.write("two", 2), step.do("do", effect, path, "do#1", 3), step.run("command", "pass"),
            return_exceptions=True,
        )
        try:
            await notebook.refuse("full", None)
        except StepFailed as error:
            refused = error.type
        notebook.write("given up", 0).cancel()
        got = await step.wait_for_event("wait", type="go")
        again = await notebook.write("two", got)
        await asyncio.sleep(10)
        return [first, both[:2], refused, again]
