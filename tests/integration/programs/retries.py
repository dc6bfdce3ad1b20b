from asyncio import gather

from effects import effect, fails
from stepwell import FinalError, Pipeline, Retry, StepFailed


class Retries(Pipeline):
    async def run(self, event, step):
        path, caught = event.payload, []
        first = await step.do("once", fails, path, "once#1", 1)
        for name, options in (("never", {"retries": 0}), ("twice", {"retries": Retry(1, delay="1 day")})):
            try:
                await step.do(name, fails, path, f"{name}#1", **options)
            except StepFailed as error:
                caught.append(f"{error.type}: {error}"[:60])
        try:
            await step.do("final", fails, path, "final#1", 9, FinalError)
        except StepFailed as error:
            caught.append(error.type)
        both = await gather(
            step.do("a", fails, path, "a#1", 1, retries=Retry(2, delay="1 hour")),
            step.do("b", fails, path, "b#1", 1, retries=Retry(2, delay="2 hours")),
        )
        return [first, caught, both, await step.do("then", effect, path, "then#1", 7)]
