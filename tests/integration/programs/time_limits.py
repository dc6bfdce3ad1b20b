import asyncio

from effects import effect
from stepwell import Pipeline

OUTSIDE = {"in time#1": [("event", "go", 5)]}


class TimeLimits(Pipeline):
    """Time limits around every kind of step, nested, shielded and moved."""

    async def run(self, event, step):
        path, late = event.payload, []
        for name, wait in {
            "command": lambda: step.run("long", "long"),
            "sleep": lambda: step.sleep("nap", "1 hour"),
            "approval": lambda: step.approval("ship"),
        }.items():
            try:
                async with asyncio.timeout(60):
                    try:
                        await wait()
                    finally:
                        await step.do("finally " + name, effect, path, f"finally {name}#1")
            except TimeoutError:
                late.append(name)
        kept = asyncio.ensure_future(step.sleep("kept", 100))
        try:
            await asyncio.wait_for(asyncio.shield(kept), 50)
        except TimeoutError:
            late.append("shield")
        async with asyncio.timeout(10) as limit:
            limit.reschedule(asyncio.get_running_loop().time() + 200)
            await kept
        try:
            async with asyncio.timeout(1000):
                async with asyncio.timeout(10):
                    await step.sleep("inner", 500)
        except TimeoutError:
            late.append("inner")
        got = await asyncio.wait_for(step.wait_for_event("in time", type="go"), 1000)
        return [late, got, await step.do("end", effect, path, "end#1", "end")]
