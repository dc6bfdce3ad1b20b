"""Programs that the playground offers to begin with. A test sends each of them, and they pass."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Example:
    """A program with the event that it expects."""

    slug: str
    title: str
    code: str
    event: str = "null"


EXAMPLES = (
    Example(
        "first",
        "First steps",
        '''from stepwell import Pipeline


async def add(a, b):
    return a + b


class First(Pipeline):
    """A command, a function, and a result."""

    async def run(self, event, step):
        listed = await step.run("look around", "uname -s; ls -la; echo answer=42 >> $STEPWELL_OUTPUT")
        return await step.do("add", add, int(listed.outputs["answer"]), event.payload["more"])
''',
        '{"more": 8}',
    ),
    Example(
        "people",
        "Sleep, then ask",
        '''from stepwell import Pipeline


class Ask(Pipeline):
    """While it sleeps and waits nothing of it is in memory."""

    async def run(self, event, step):
        await step.run("prepare", "echo preparing; sleep 1; echo prepared")
        await step.sleep("let it settle", "5 seconds")
        answer = await step.approval("Go on?", fields={"how many": 3})
        for n in range(int(answer.fields["how many"])):
            await step.run(f"part {n + 1}", f"echo part {n + 1}")
        return f"approved by {answer.by}"
''',
    ),
    Example(
        "together",
        "Side by side",
        '''import asyncio

from stepwell import Pipeline


class Matrix(Pipeline):
    """Steps that are not awaited one by one run at the same time."""

    async def run(self, event, step):
        names = event.payload["names"]
        runs = [step.run(f"test {name}", f"echo testing {name}; sleep 1") for name in names]
        results = await asyncio.gather(*runs)
        return {name: result.exit_code for name, result in zip(names, results)}
''',
        '{"names": ["linux", "macos", "windows"]}',
    ),
    Example(
        "retries",
        "Try again, and undo",
        '''from stepwell import Pipeline, Retry


async def reserve(room):
    return {"room": room, "booking": 17}


async def give_back(reserved):
    print("giving back", reserved["booking"])


class Book(Pipeline):
    """Pay at the third try; with "fails" at 9 the reservation is given back."""

    async def run(self, event, step):
        await step.do("reserve", reserve, event.payload["room"], undo=give_back)
        fails = event.payload["fails"]
        pay = f"test $STEPWELL_ATTEMPT -gt {fails} || {{ echo card refused; exit 1; }}; echo paid"
        await step.run("pay", pay, retries=Retry(3, delay="1 second", backoff="constant"))
        return "booked"
''',
        '{"room": "201", "fails": 2}',
    ),
    Example(
        "events",
        "Wait for an event",
        '''from stepwell import Pipeline


class Listen(Pipeline):
    """Wait for an order, which is sent from the page of the run."""

    async def run(self, event, step):
        order = await step.wait_for_event("an order", type="order", timeout="1 hour")
        await step.run("pack", "echo packing")
        return order
''',
    ),
)
