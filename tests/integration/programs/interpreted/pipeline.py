"""Plays a program that comes as data, so that a test can invent programs; says what each step gave."""

import asyncio

from effects import effect, fails
from stepwell import ApprovalTimeout, EventTimeout, Pipeline, Rejected, Retry, StepFailed


class Interpreted(Pipeline):
    async def run(self, event, step):
        player = Player(step, event.payload["effects"])
        await player.play(event.payload["program"], "p")
        return player.seen


class Player:
    """Each operation is a list, its kind first. The place in the program is the name of its step."""

    def __init__(self, step, path):
        self.step = step
        self.path = path
        self.seen = []

    async def play(self, operations, place):
        for number, operation in enumerate(operations):
            await getattr(self, "_" + operation[0])(f"{place}.{number}", *operation[1:])

    async def _see(self, place, wait):
        try:
            value = await wait
        except (ApprovalTimeout, EventTimeout, Rejected, StepFailed) as error:
            self.seen.append([place + "#1", "raised", error.type])
        else:
            self.seen.append([place + "#1", "gave", value])

    async def _do(self, place):
        await self._see(place, self.step.do(place, effect, self.path, place + "#1", [place]))

    async def _flaky(self, place, times):
        work = self.step.do(place, fails, self.path, place + "#1", times, retries=Retry(1, delay=60))
        await self._see(place, work)

    async def _run(self, place, retries):
        async def code():
            return (await self.step.run(place, "held", retries=Retry(retries, delay=60))).exit_code

        await self._see(place, code())

    async def _sleep(self, place, seconds):
        await self._see(place, self.step.sleep(place, seconds))

    async def _event(self, place, type, timeout):
        await self._see(place, self.step.wait_for_event(place, type=type, timeout=timeout))

    async def _approval(self, place, timeout):
        async def by():
            return (await self.step.approval(place, timeout=timeout)).by

        await self._see(place, by())

    async def _both(self, place, one, two):
        await asyncio.gather(self.play(one, place + "a"), self.play(two, place + "b"))

    async def _race(self, place, one, two):
        tasks = {asyncio.create_task(self.play(ops, place + name)) for ops, name in ((one, "a"), (two, "b"))}
        _, losers = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in losers:
            task.cancel()
        await asyncio.gather(*losers, return_exceptions=True)

    async def _limit(self, place, seconds, operations):
        try:
            async with asyncio.timeout(seconds):
                await self.play(operations, place + "l")
        except TimeoutError:
            self.seen.append([place, "late", None])

    async def _finally(self, place, body, cleanup):
        try:
            await self.play(body, place + "t")
        finally:
            await self.play(cleanup, place + "f")
