import asyncio

from effects import effect
from stepwell import Pipeline

SIZE = 1_100_000


def large(path, label, letter):
    return effect(path, label, {"text": letter * SIZE, "label": label})


class P(Pipeline):
    """Results that are larger than a journal takes, one by one and side by side."""

    async def run(self, event, step):
        path = event.payload
        first = await step.do("first", large, path, "first#1", "ä")
        await step.sleep("nap", 60)
        rest = await asyncio.gather(*(step.do("rest", large, path, f"rest#{n}", str(n)) for n in (1, 2)))
        await step.run("r", "ok")
        return [[one["text"][-1], len(one["text"]), one["label"]] for one in (first, *rest)]
