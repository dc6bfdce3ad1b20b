import asyncio

from effects import effect
from stepwell import Pipeline

ENTRY = "pipeline.py:Caller"
ENDS = "cancelled"
OUTSIDE = {"second#1": [("cancel",)]}


class Called(Pipeline):
    """Cleans up when it is cancelled."""

    async def run(self, event, step):
        try:
            await step.wait_for_event("wait", type="never", timeout=None)
        finally:
            await step.sleep("rest", 10)
            await step.do("clean", effect, event.payload, event.inputs["label"])


class Caller(Pipeline):
    """Gives one call up, and is cancelled during another."""

    async def run(self, event, step):
        path = event.payload
        try:
            await asyncio.wait_for(step.call("first", Called, event.replace(inputs={"label": "clean first"})), 60)
        except TimeoutError:
            await step.do("late", effect, path, "late#1")
        try:
            await step.call("second", Called, event.replace(inputs={"label": "clean second"}))
        finally:
            await step.do("over", effect, path, "over#1")
