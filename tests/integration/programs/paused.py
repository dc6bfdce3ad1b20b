from asyncio import gather

from effects import effect, slow_effect
from stepwell import EventTimeout, Pipeline

OUTSIDE = {
    "nap#1": [("pause", 30)],
    "first#1": [("pause", 0), ("event", "go", 1)],
    "ship#1": [("pause", 3600), ("approve",)],
    "rest#1": [("pause", 7200)],
}


class Paused(Pipeline):
    """What happens while a run is paused is acted on after its resumption, in its order."""

    async def run(self, event, step):
        path, got = event.payload, []
        await gather(step.sleep("nap", 60), step.do("beside", slow_effect, path, "beside#1"))
        try:
            got.append(await step.wait_for_event("first", type="go"))
        finally:
            await step.do("finally", effect, path, "finally#1")
        yes, built = await gather(step.approval("ship"), step.run("build", "ok"))
        got += [yes.by, built.exit_code]
        try:
            await gather(step.sleep("rest", 600), step.wait_for_event("late", type="never", timeout=1800))
        except EventTimeout:
            got.append(await step.do("end", effect, path, "end#1", "late"))
        return got
