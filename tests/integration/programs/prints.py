from asyncio import gather

from effects import effect
from stepwell import Pipeline

OUTSIDE = {"wait#1": [("event", "go", 1)]}
LOG = [
    ": begin ends",
    "a#1: in a step",
    ": after a",
    ": after the nap",
    ": after commands",
    ": after the event!",
    "b#1: in a step",
]


def talks(path, label):
    print("in a step")
    return effect(path, label)


class Prints(Pipeline):
    """Each line that run() prints is in the log once, though run() is played again at every wake."""

    async def run(self, event, step):
        path = event.payload
        print("begin", end=" ")
        await step.sleep("half a line", 60)
        print("ends")
        await step.do("a", talks, path, "a#1")
        print("after a")
        await step.sleep("nap", 60)
        print("after the nap")
        await gather(step.run("r", "ok"), step.run("s", "ok"))
        print("after commands")
        await step.wait_for_event("wait", type="go")
        print("after the event", end="")
        await step.do("b", talks, path, "b#1")
        print("!")
        return "said"
