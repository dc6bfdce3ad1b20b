from effects import effect, slow_effect
from stepwell import Pipeline


class Sequence(Pipeline):
    async def run(self, event, step):
        path, total = event.payload, 0
        for i in range(3):
            total += await step.do("add", effect, path, f"add#{i + 1}", i)
            total += await step.do("slow", slow_effect, path, f"slow#{i + 1}", 10 * i)
        drawn = await step.do("drawn", effect, path, "drawn#1", [step.random(), step.uuid()])
        return [total, len(drawn), step.random() == drawn[0]]
