# ruff: noqa: E501 - pipelines are written as their authors would
"""`self.env` from the author's side: steps with names, arguments that are JSON, and the same on every replay."""

import pytest

from stepwell.authoring.rehearsal import Rehearsal, bare, traced

HEAD = """
import asyncio
from asyncio import gather
from stepwell import *

class Ship(Pipeline):
    async def run(self, event, step):
"""
ANSWER = {"ok": True, "value": {"id": "r1", "number": 7}}


def rehearse(body: str, head: str = HEAD) -> Rehearsal:
    return Rehearsal({"pipeline.py": head + body}, execute=lambda name, options: ANSWER)


def test_calls_are_named_by_what_they_call() -> None:
    run = rehearse("""
        kv = self.env.kv
        await gather(kv.get("a/b"), kv.get("a/b"), kv.get("c"), kv.put(1, 2), kv.get("x\\ny"), self.env.cache.drop(key="k"))
""")
    assert run.play() == ["end", "passed", None]
    assert [command[1] for command in run.commands if command[0] == "ask"] == [
        "kv.get a/b#1", "kv.get a/b#2", "kv.get c#1", "kv.put#1", "kv.get#1", "cache.drop#1",
    ]  # fmt: skip
    options = [command[5] for command in run.commands if command[0] == "ask"]
    assert options[3] == {"binding": "kv", "call": "put", "args": [1, 2], "kwargs": {}}
    assert options[5] == {"binding": "cache", "call": "drop", "args": [], "kwargs": {"key": "k"}}


def test_calls_are_the_same_on_every_replay() -> None:
    run = rehearse("""
        async def child(n):
            made = await self.env.workflows.create(f"child {n}", {"n": n})
            return await self.env.workflows.status(made["id"])
        return await gather(*(child(n) for n in range(5)))
""")
    assert run.play()[:2] == ["end", "passed"]
    assert traced(run.replay(bare(run.journal))) == traced(run.commands)


def test_other_arguments_are_another_story() -> None:
    first = rehearse('        return await self.env.kv.put("a", 1)\n')
    first.play()
    second = rehearse('        return await self.env.kv.put("a", 2)\n')
    said = second.replay(first.journal)
    assert said[0][0] == "diverged" and "'kv.put a#1'" in said[0][1]


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ("await self.env.kv.put('a', object())", "TypeError: self.env.kv.put was given something that is not JSON"),
        ("await self.env.kv.put('a', float('nan'))", "is not JSON"),
        ("await self.env.kv.put('a', 'x' * 300_000)", "ValueError: self.env.kv.put was given 300,"),
        (
            "self.env.kv.put('a', 1)",
            "step 'kv.put a' at .stepwell/pipeline.py:8 was never awaited. Write `await self.env.kv.put(…)`",
        ),
        ("self.env._secret", "AttributeError: _secret"),
        ("self.env.kv.__wrapped__", "AttributeError: __wrapped__"),
        ("await step.do('x', lambda: self.env.kv.put('a', 1), retries=0)", "was called outside of run()"),
    ],
)
def test_mistakes_name_what_to_write(body: str, says: str) -> None:
    state, error = rehearse(f"        {body}\n").play()[1:]
    assert state == "failed" and says in f"{error['type']}: {error['message']}"


def test_a_class_with_an_env_of_its_own_keeps_it() -> None:
    run = rehearse(
        "        return self.env['A']\n", HEAD.replace("    async def run", "    env = {'A': '1'}\n    async def run")
    )
    assert run.play() == ["end", "passed", "1"]
