import asyncio
from asyncio import gather
from datetime import timedelta

from effects import effect
from stepwell import Pipeline


class Sleeps(Pipeline):
    async def run(self, event, step):
        path, begun = event.payload, step.now()
        await step.sleep("night", "24 hours")
        await step.do("a", effect, path, "a#1")
        await step.sleep_until("noon", begun + timedelta(days=2))
        await asyncio.sleep(30)
        await step.do("b", effect, path, "b#1")
        order = []

        async def nap(seconds):
            await step.sleep(f"nap {seconds}", seconds)
            order.append(seconds)
            await asyncio.sleep(seconds / 2)
            order.append(seconds / 2)

        await gather(nap(40), nap(20), nap(30))
        return [order, round((step.now() - begun).total_seconds())]
