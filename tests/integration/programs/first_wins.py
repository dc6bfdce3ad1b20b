import asyncio

from effects import effect
from stepwell import Pipeline

OUTSIDE = {"wait#1": [("event", "go", "now")]}


class FirstWins(Pipeline):
    """One of four wins, the others are cancelled, whatever they wait for; each cleans up once."""

    async def run(self, event, step):
        path = event.payload

        async def racer(name, wait):
            try:
                return await wait
            finally:
                await step.do("finally " + name, effect, path, f"finally {name}#1")

        racers = {
            asyncio.create_task(racer(name, wait), name=name)
            for name, wait in {
                "command": step.run("long", "long"),
                "sleep": step.sleep("nap", "1 hour"),
                "event": step.wait_for_event("wait", type="go"),
                "approval": step.approval("ship"),
                "timer": asyncio.sleep(1800),
            }.items()
        }
        done, pending = await asyncio.wait(racers, return_when=asyncio.FIRST_COMPLETED)
        for task in pending:
            task.cancel()
        await asyncio.gather(*pending, return_exceptions=True)
        winner = done.pop()
        return [winner.get_name(), winner.result(), sorted(task.get_name() for task in pending if task.cancelled())]
