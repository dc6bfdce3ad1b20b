from asyncio import gather

from effects import effect
from stepwell import Pipeline, StepFailed

ENTRY = "pipeline.py:Caller"


class Called(Pipeline):
    """What it does leaves labels with its own number; one of them fails."""

    async def run(self, event, step):
        path, name = event.payload, event.inputs["name"]
        await step.do("a", effect, path, f"{name} a")
        await step.sleep("nap", 60)
        await step.run("r", "ok")
        if name == "bad":
            raise RuntimeError("no")
        return await step.do("b", effect, path, f"{name} b", [name, event.number is not None])


class Caller(Pipeline):
    """Calls one run, then three side by side, and goes on when one of them fails."""

    async def run(self, event, step):
        path = event.payload
        first = await step.call("first", Called, event.replace(inputs={"name": "first"}))
        others = [event.replace(inputs={"name": name}) for name in ("x", "bad", "y")]
        rest = await gather(*(step.call("rest", Called, one) for one in others), return_exceptions=True)
        last = await step.do("last", effect, path, "last#1", "over")
        return [first, [str(one) if isinstance(one, StepFailed) else one for one in rest], last]
