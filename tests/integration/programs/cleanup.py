import asyncio
from datetime import timedelta

from effects import effect, slow_effect
from stepwell import Pipeline

ENTRY = "pipeline.py:Cleanup"
OUTSIDE = {"wait#1": [("event", "go", 1)], "ship#1": [("approve",)]}


class Called(Pipeline):
    async def run(self, event, step):
        await step.sleep("nap", 30)


class Cleanup(Pipeline):
    """`finally` around every kind of wait runs once, when its wait is over, however often the run hibernates."""

    async def run(self, event, step):
        path = event.payload

        async def around(name, wait):
            try:
                return await wait
            finally:
                print("finally", name)
                await step.do("finally " + name, effect, path, f"finally {name}#1")
                await step.sleep("rest " + name, 5)
                print("rested", name)

        await around("do", step.do("do", slow_effect, path, "do#1"))
        await around("run", step.run("run", "ok"))
        await around("sleep", step.sleep("sleep", "1 hour"))
        await around("until", step.sleep_until("until", step.now() + timedelta(hours=1)))
        await around("timer", asyncio.sleep(60))
        await around("call", step.call("call", Called, event))
        await around("event", step.wait_for_event("wait", type="go"))
        await around("approval", step.approval("ship"))
        try:
            try:
                await step.sleep("before", 10)
                raise ValueError("on purpose")
            finally:
                await step.do("inner", effect, path, "inner#1")
        except ValueError:
            await step.do("outer", effect, path, "outer#1")
        finally:
            await step.do("last", effect, path, "last#1")
        return "clean"
