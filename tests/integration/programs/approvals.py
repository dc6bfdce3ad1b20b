from asyncio import gather

from effects import effect
from stepwell import Pipeline, Rejected, StepFailed

OUTSIDE = {
    "ship#1": [("approve",)],
    "no#1": [("reject",)],
    "right#1": [("approve",)],
    "left#1": [("approve",)],
    "deploy#1": [("approve",)],
    "drop#1": [("reject",)],
}


class Approvals(Pipeline):
    async def run(self, event, step):
        path = event.payload
        yes = await step.approval("ship", environment="production", fields={"version": "1.0"})
        await step.do("a", effect, path, "a#1")
        try:
            await step.approval("no", reviewers=["ann"], count=1)
        except Rejected as error:
            said = str(error)
            await step.do("b", effect, path, "b#1")
        both = await gather(step.approval("left"), step.approval("right", timeout="1 day"))
        deployed = await step.run("deploy", "ok", environment="production")
        try:
            await step.run("drop", "ok", environment="production")
        except StepFailed as error:
            dropped = error.type
        return [yes.by, yes.fields, said, [one.by for one in both], deployed.exit_code, dropped]
