"""Fifty tenants whose programs have nothing in common but the names of some modules, and what each must come to.

What a program does is written down twice: as the source that is run, and as `expected`, which never reads the source.
"""

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

COUNT = 50
WORDS = ("fetch", "weigh", "paint", "sort", "mill", "bake", "count", "fold", "press", "ship")
WAITS = ("event", "sleep", "beside", "child", "timeout")

HOUSE = """
import os, time

OWNER, FACTOR = {tenant!r}, {factor}

def work(label, value, gate=None):
    with open("effects", "a") as file:
        file.write(f"{{OWNER}} {{label}}\\n")
    while gate and not os.path.exists(gate):
        time.sleep(0.01)
    return (value * FACTOR + 1) % 10007
"""
PIPELINE = """
import asyncio
from asyncio import gather
from stepwell import EventTimeout, Pipeline
from house import work
from {module} import closing

class {name}(Pipeline):
    async def run(self, event, step):
        value = event.payload
{body}
        return closing(value)

class Child(Pipeline):
    async def run(self, event, step):
        value = await step.do("{word} of a child", work, "{word} of a child#1", event.payload["value"])
        await self.env.workflows.send_event(event.payload["parent"], "{word} answer", value)
"""
WAITING = {
    "event": 'value += await step.wait_for_event("{word} goes on", type="{word} go")',
    "sleep": 'await step.sleep("{word} rests", 0.2)',
    "beside": 'value += (await gather(asyncio.sleep(0.1), {beside}))[1]',
    "child": 'me = await self.env.workflows.get()\n'
    'await self.env.workflows.create("{word} helper", {{"parent": me["id"], "value": value}}, pipeline="Child")\n'
    'value += await step.wait_for_event("{word} answered", type="{word} answer")',
    "timeout": 'try: await step.wait_for_event("{word} in vain", type="never", timeout=0.2)\n'
    "except EventTimeout: value += 7",
}  # fmt: skip
KEYS = {
    "event": ["{word} goes on#1"], "sleep": ["{word} rests#1"], "beside": ["{word} beside#1"],
    "child": ["workflows.get#1", "workflows.create {word} helper#1", "{word} answered#1"],
    "timeout": ["{word} in vain#1"],
}  # fmt: skip


@dataclass(frozen=True)
class Tenant:
    """One of them; everything about it follows from its number."""

    number: int

    @property
    def name(self) -> str:
        return f"tenant-{self.number:02}"

    @property
    def word(self) -> str:
        """What its steps are named after; shared with nobody."""
        return f"{WORDS[self.number % 10]}{self.number}"

    @property
    def wait(self) -> str:
        return WAITS[self.number % 5]

    @property
    def gates(self) -> dict[int, str]:
        """Steps, by number, that last until a file is there: their hosts die while they are under way."""
        return {1: {0: "../open-1"}, 6: {self.before + self.after - 1: "../open-2"}}.get(self.number % 10, {})

    @property
    def before(self) -> int:
        """How many steps it does before it waits."""
        return 1 + self.number % 4

    @property
    def after(self) -> int:
        return 1 + self.number % 3

    @property
    def payload(self) -> int:
        """What its event carries."""
        return 1000 + self.number

    def files(self) -> dict[str, str]:
        """Give its code: `house` is a module of all of them, the other one is its own, in a package or not."""
        package = "parts." if self.number % 3 == 0 else ""
        module = f"{package}only_{self.word}"
        steps = [self._step(n) for n in range(self.before + self.after)]
        beside = f'step.do("{self.word} beside", work, "{self.word} beside#1", value)'
        wait = WAITING[self.wait].format(word=self.word, beside=beside).splitlines()
        lines = [*steps[: self.before], *wait, *steps[self.before :]]
        body = "\n".join(f"        {line}" for line in lines)
        name = f"Plan{self.number}"
        return {
            "house.py": HOUSE.format(tenant=self.name, factor=self.number + 2),
            f"{module.replace('.', '/')}.py": f"def closing(value): return f'{self.word}: {{value}}'\n",
            "pipeline.py": PIPELINE.format(module=module, name=name, body=body, word=self.word),
        }

    def entry(self) -> str:
        return f"pipeline.py:Plan{self.number}"

    def _step(self, n: int) -> str:
        gate = f", {self.gates[n]!r}" if n in self.gates else ""
        return f'value = await step.do("{self.word} {n}", work, "{self.word} {n}#1", value{gate})'

    @cached_property
    def expected(self) -> tuple[str, list[str]]:
        """Give its result and the keys of its run's steps."""
        value, keys = self.number, [f"{self.word} {n}#1" for n in range(self.before + self.after)]
        for _ in range(self.before):
            value = self._work(value)
        value += {
            "event": self.payload, "sleep": 0, "beside": self._work(value), "child": self._work(value), "timeout": 7,
        }[self.wait]  # fmt: skip
        for _ in range(self.after):
            value = self._work(value)
        return f"{self.word}: {value}", sorted(keys + [key.format(word=self.word) for key in KEYS[self.wait]])

    def _work(self, value: int) -> int:
        return (value * (self.number + 2) + 1) % 10007

    @property
    def effects(self) -> set[str]:
        """Labels of everything that it does to the world outside."""
        more = {"beside": {f"{self.word} beside#1"}, "child": {f"{self.word} of a child#1"}}.get(self.wait, set())
        return {f"{self.word} {n}#1" for n in range(self.before + self.after)} | more


TENANTS = [Tenant(number) for number in range(COUNT)]


def write_code(folder: Path) -> None:
    """Put the code of all tenants where the host's loader looks for it."""
    folder.mkdir()
    for tenant in TENANTS:
        text = json.dumps({"files": tenant.files(), "entry": tenant.entry()})
        (folder / f"{tenant.name}.json").write_text(text)
