"""The smallest pipeline: one step for every push."""

from stepwell import Pipeline, manual, push


class Hello(Pipeline):
    """Say hello to whoever pushed."""

    on = [push(), manual()]

    async def run(self, event, step):
        await step.run("hello", 'echo "Hello from $(uname -s)"; cat greeting.txt')
