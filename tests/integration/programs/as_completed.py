import asyncio

from effects import effect
from stepwell import Pipeline

OUTSIDE = {"left#1": [("event", "b", "B"), ("event", "a", "A")]}


class AsCompleted(Pipeline):
    async def run(self, event, step):
        path, got = event.payload, []
        waits = [
            step.wait_for_event("left", type="a"),
            step.wait_for_event("right", type="b"),
            asyncio.sleep(60, "slept"),
            asyncio.wait_for(step.sleep("long", 600), 300),
        ]
        for number, one in enumerate(asyncio.as_completed(waits), 1):
            try:
                got.append(await one)
            except TimeoutError:
                got.append("late")
            await step.do("seen", effect, path, f"seen#{number}", number)
        try:
            for one in asyncio.as_completed([step.sleep("s", 60), step.sleep("t", 6000)], timeout=100):
                got.append(await one)
        except TimeoutError:
            got.append("over")
        return [got, await step.do("end", effect, path, "end#1", "end")]
