from effects import effect
from stepwell import Pipeline

OUTSIDE = {
    "": [("event", "go", 1), ("event", "stop", "s1"), ("event", "go", 2)],
    "third#1": [("event", "stop", "s2"), ("event", "go", 3), ("event", "other", None)],
    "last#1": [("event", "stop", "s3")],
}


class KeptEvents(Pipeline):
    """Events are kept until they are waited for, each type in order."""

    async def run(self, event, step):
        path, got = event.payload, []
        got.append(await step.do("begin", effect, path, "begin#1", 0))
        for _ in range(2):
            got.append(await step.wait_for_event("early", type="go"))
        got.append(await step.wait_for_event("third", type="go", timeout=None))
        await step.do("between", effect, path, "between#1")
        got += [await step.wait_for_event("stop", type="stop"), await step.wait_for_event("stop", type="stop")]
        got.append(await step.wait_for_event("last", type="stop"))
        return got
