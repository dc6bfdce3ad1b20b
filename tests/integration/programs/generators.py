import contextlib

from effects import effect
from stepwell import Pipeline


class Generators(Pipeline):
    """Asynchronous generators and context managers hold steps on both sides of what they yield."""

    async def run(self, event, step):
        path, out = event.payload, []

        @contextlib.asynccontextmanager
        async def lease(name):
            await step.do("take " + name, effect, path, f"take {name}#1")
            try:
                yield name
            finally:
                await step.do("give " + name, effect, path, f"give {name}#1")

        async def numbers():
            try:
                for i in range(9):
                    await step.sleep("tick", 60)
                    yield await step.do("number", effect, path, f"number#{i + 1}", i)
            finally:
                await step.do("closed", effect, path, "closed#1")

        async with lease("a") as a, lease("b") as b, contextlib.aclosing(numbers()) as source:
            async for value in source:
                out.append([a, b, value])
                if value == 2:
                    break
        return out
