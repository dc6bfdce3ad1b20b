from asyncio import gather

from effects import effect, slow_effect
from stepwell import Pipeline


class Parallel(Pipeline):
    async def run(self, event, step):
        path = event.payload
        values = await gather(
            *(step.do(f"thread {i}", effect, path, f"thread {i}#1", i) for i in range(3)),
            *(step.do(f"task {i}", slow_effect, path, f"task {i}#1", 10 + i) for i in range(3)),
            step.run("lint", "ok"),
            step.run("types", "ok"),
            step.read("VERSION"),
            step.sleep("nap", "1 minute"),
        )
        return [*values[:6], values[6].exit_code, values[8], values[9]]
