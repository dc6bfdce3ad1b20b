"""People approve and reject by a run's handle; the approval's own settings are the rules."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from engines import HEAD

from stepwell.dynamic import Handle, Workflows, bind, embedded, pin
from stepwell.engine.seams import Code
from stepwell.errors import Conflict, Denied, Invalid, NotFound

ASKS = """
class W(Pipeline):
    async def run(self, event, step):
        asked = event.payload or {}
        fields = {"version": "1.0", "where": ["eu", "us"]}
        try:
            yes = await step.approval("Ship?", fields=fields, **asked)
        except Rejected as error:
            return str(error)
        return yes.by, yes.comment, yes.fields, yes.at > 0
"""


@pytest.fixture
async def workflows(tmp_path: Path) -> AsyncIterator[Workflows]:
    async def load(metadata: Mapping[str, Any]) -> Code:
        return pin({"pipeline.py": HEAD + "from stepwell import Rejected\n" + ASKS}, "pipeline.py:W")

    async with embedded(tmp_path / "runs.db", load) as engine:
        yield bind(engine, {"tenant": "acme"})


async def asking(workflows: Workflows, **options: Any) -> Handle:
    """Create a run that has asked."""
    run = await workflows.create({"payload": options})
    async for entry in run.subscribe():
        if entry.type == "asked":
            return run
    raise AssertionError


async def result(run: Handle) -> Any:
    return (await asyncio.wait_for(run.finished(), 60)).result


async def test_one_yes_is_enough_and_fields_have_their_defaults(workflows: Workflows) -> None:
    run = await asking(workflows)
    assert await run.approve("Ship?", "ann") == "approved"
    assert await result(run) == ["ann", "", {"version": "1.0", "where": "eu"}, True]


async def test_a_yes_may_say_more(workflows: Workflows) -> None:
    run = await asking(workflows)
    assert await run.approve("Ship?#1", "ann", "go", {"where": "us"}) == "approved"
    assert await result(run) == ["ann", "go", {"version": "1.0", "where": "us"}, True]


async def test_one_no_is_enough(workflows: Workflows) -> None:
    run = await asking(workflows, count=2)
    assert await run.approve("Ship?", "ann") is None
    assert await run.reject("Ship?", "bob", "not today") == "rejected"
    assert await result(run) == "step 'Ship?' failed: bob rejected 'Ship?': not today"


async def test_only_reviewers_decide_each_once_until_there_are_enough(workflows: Workflows) -> None:
    run = await asking(workflows, count=2, reviewers=["ann", "bob"])
    with pytest.raises(Denied, match=r"eve may not decide on 'Ship\?'\. Its reviewers are: ann, bob\."):
        await run.approve("Ship?", "eve")
    assert await run.approve("Ship?", "ann") is None
    with pytest.raises(Conflict, match="ann has decided on"):
        await run.approve("Ship?", "ann")
    assert await run.approve("Ship?", "bob") == "approved"
    assert (await result(run))[0] == "bob"
    with pytest.raises(Conflict, match="waits for no decision"):
        await run.reject("Ship?", "carl")


@pytest.mark.parametrize(
    ("said", "says"),
    [
        ({"by": ""}, "A decision has by ''."),
        ({"by": None}, "A decision has by None."),
        ({"by": "ann", "comment": 5}, "A decision has comment 5."),
        ({"by": "ann", "fields": {"versoin": "2"}}, "The field 'versoin' has value '2'; 'Ship?' asks for"),
        ({"by": "ann", "fields": {"where": "mars"}}, "The field 'where' has value 'mars'"),
    ],
)
async def test_what_cannot_be_meant_is_refused_and_the_run_waits_on(
    workflows: Workflows, said: dict[str, Any], says: str
) -> None:
    run = await asking(workflows)
    with pytest.raises(Invalid) as caught:
        await run.approve("Ship?", **said)
    assert says in str(caught.value) and (await run.status()).state == "waiting"


async def test_rules_of_ones_own_are_given_whole_decisions_only(workflows: Workflows) -> None:
    run = await asking(workflows)
    for wrong in ({}, {"by": "ann"}, {"by": "ann", "approve": "yes"}, {"approve": True}):
        with pytest.raises(Invalid, match="A decision has"):
            await run.decide("Ship?#1", wrong, lambda run, step: "approved")
    assert await run.decide("Ship?#1", {"by": "ann", "approve": True}, lambda run, step: "approved") == "approved"
    assert await result(run) == ["ann", "", {}, True]


async def test_a_step_that_is_not_there_is_named(workflows: Workflows) -> None:
    run = await asking(workflows)
    with pytest.raises(NotFound, match=r"no step 'Shp\?'\. Its steps: Ship\?#1"):
        await run.approve("Shp?", "ann")
