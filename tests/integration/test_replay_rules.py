"""A run goes on by the rules of the replay with which it was begun."""

import pytest

from stepwell.authoring.rehearsal import Rehearsal
from stepwell.authoring.version import REPLAY

HEAD = """
import asyncio
from stepwell import Pipeline

class Ship(Pipeline):
    async def run(self, event, step):
"""


def rehearse(body: str, rules: int) -> Rehearsal:
    return Rehearsal({"pipeline.py": HEAD + body}, rules=rules)


@pytest.mark.parametrize(("rules", "asked"), [(2, "x#1"), (REPLAY, "y#1")])
def test_a_timeout_of_0_is_what_it_was_when_the_run_began(rules: int, asked: str) -> None:
    run = rehearse(
        """
        async def ready(): return "ready"
        try: return await step.do("x", ready, timeout=0)
        except ValueError: return await step.do("y", ready)
""",
        rules,
    )
    assert run.play() == ["end", "passed", "ready"]
    assert [command[1] for command in run.commands if command[0] == "do"] == [asked]
    assert run.replay(run.journal)[-1] == run.last


def test_a_step_as_a_condition_is_what_it_was_when_the_run_began() -> None:
    run = rehearse(
        """
        later = step.do("later", asyncio.sleep, 0, "done")
        if later and later != "done": return await later
""",
        rules=2,
    )
    assert run.play() == ["end", "passed", "done"]
    assert run.replay(run.journal)[-1] == run.last
