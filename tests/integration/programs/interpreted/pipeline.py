"""Plays a program that comes as data, so that a test can invent programs; says what each step gave."""

import asyncio

import effects
from stepwell import ApprovalTimeout, EventTimeout, Pipeline, Rejected, Retry, StepFailed


class Interpreted(Pipeline):
    async def run(self, event, step):
        World.path = event.inputs["effects"]
        player = Player(step, event)
        await player.play(event.payload["program"], player.place)
        return player.seen


class World:
    """Where effects are left: no argument of a step, since a run that adopts steps of another leaves its own."""

    path = ""


def effect(label, value=None):
    return effects.effect(World.path, label, value)


def fails(label, times):
    return effects.fails(World.path, label, times)


def undo(of):
    return effects.effect(World.path, f"undo {of}")


class Player:
    """Each operation is a list, its kind first. The place in the program is the name of its step, and of no other."""

    def __init__(self, step, event):
        self.step = step
        self.event = event
        self.place = event.payload.get("place", "p")
        self.seen = list(event.payload.get("seen", []))

    async def play(self, operations, place):
        for number, operation in enumerate(operations):
            await getattr(self, "_" + operation[0])(f"{place}.{number}", *operation[1:])

    async def _see(self, place, wait):
        try:
            value = await wait
        except (ApprovalTimeout, EventTimeout, Rejected, StepFailed) as error:
            self.seen.append([place, "raised", error.type])
        else:
            self.seen.append([place, "gave", value])

    async def _do(self, place):
        await self._see(place, self.step.do(place, effect, place, [place]))

    async def _draw(self, place):
        drawn = [self.step.random(), self.step.now().timestamp(), self.step.uuid()]
        await self._see(place, self.step.do(place, effect, place, drawn))

    async def _undoable(self, place):
        place += "u"  # by which a test knows what can be undone
        await self._see(place, self.step.do(place, effect, place, place, undo=undo))

    async def _flaky(self, place, times):
        await self._see(place, self.step.do(place, fails, place, times, retries=Retry(1, delay=60)))

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

    async def _call(self, place, program):
        event = self.event.replace(payload={"program": program, "place": f"{place}c"})
        await self._see(place, self.step.call(place, Interpreted, event))

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

    async def _fail(self, place):
        raise RuntimeError(place)

    async def _continue(self, place, program):
        await self._do(place)
        payload = {"program": program, "place": self.place + "p", "seen": self.seen}
        await self.step.continue_as(self.event.replace(payload=payload))
