from effects import effect
from stepwell import Pipeline

ENDS = "failed"


class Forgotten(Pipeline):
    """A step that nobody awaits fails the run, which names it."""

    async def run(self, event, step):
        step.run("lost", "long")
        return await step.do("a", effect, event.payload, "a#1")
