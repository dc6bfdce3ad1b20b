import asyncio

from effects import effect, fails
from stepwell import EventTimeout, Pipeline, StepFailed


class TaskGroup(Pipeline):
    """One task's failure cancels its siblings, and the group raises it."""

    async def run(self, event, step):
        path, seen = event.payload, []

        async def sibling(name, wait):
            try:
                await wait
            except asyncio.CancelledError:
                await step.do("undo " + name, effect, path, f"undo {name}#1")
                raise

        async with asyncio.TaskGroup() as group:
            one = group.create_task(step.do("one", effect, path, "one#1", 1))
            two = group.create_task(step.run("two", "ok"))
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(sibling("sleep", step.sleep("nap", "1 day")))
                group.create_task(sibling("event", step.wait_for_event("wait", type="never", timeout=None)))
                group.create_task(sibling("command", step.run("long", "long")))
                await step.do("ready", effect, path, "ready#1")
                group.create_task(step.do("bad", fails, path, "bad#1", retries=0))
        except* StepFailed as errors:
            seen += [error.type for error in errors.exceptions]
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(sibling("later", step.sleep("later", "2 days")))
                group.create_task(step.wait_for_event("soon", type="never", timeout=60))
        except* EventTimeout as errors:
            seen.append(len(errors.exceptions))
        return [one.result(), two.result().exit_code, seen]
