"""`self.env.workflows`: code starts, finds and signals runs of its own tenant, and nobody else's."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from engines import Workshop

from stepwell.dynamic import Handle, WorkflowsBinding, bind
from stepwell.dynamic.binding import id_of
from stepwell.engine.engine import Engine
from stepwell.engine.seams import BindingCall
from stepwell.engine.specs import Limits, RunSpec
from stepwell.engine.state import RunState
from stepwell.errors import StepwellError

FAMILY = """
class W(Pipeline):
    async def run(self, event, step):
        me = await self.env.workflows.get()
        made = await gather(*(
            self.env.workflows.create(f"child {n}", {"n": n, "parent": me["id"]}, pipeline="Child") for n in range(3)
        ))
        sums = [await step.wait_for_event(f"answer {n}", type="answer") for n in range(3)]
        for child in made:
            await self.env.workflows.send_event(child["id"], "bye", child["number"])
        while True:
            states = await gather(*(self.env.workflows.status(child["id"]) for child in made))
            if all(state["state"] == "passed" for state in states):
                return me["number"], sorted(sums), [state["result"] for state in states]
            await step.sleep("a moment", 0.02)

class Child(Pipeline):
    async def run(self, event, step):
        n = event.payload["n"]
        await self.env.workflows.send_event(event.payload["parent"], "answer", n * n)
        return [event.kind, event.branch, await step.wait_for_event("bye", type="bye")]
"""


@pytest.fixture
async def shop(tmp_path: Path) -> AsyncIterator[Workshop]:
    shop = Workshop(tmp_path)
    yield shop
    await shop.isolates.close()


async def begin(shop: Workshop, body: str, tenant: str = "t", **more: Any) -> Handle:
    """Begin a run whose `run` method has this body, or that is this source."""
    lines = "".join(f"        {line}\n" for line in body.strip().splitlines())
    named = f"source {len(shop.sources)}"
    whole = "class W(Pipeline)" in body
    shop.sources[named] = body if whole else f"class W(Pipeline):\n    async def run(self, event, step):\n{lines}"
    params = {"kind": "manual", "branch": "main", **more}
    return await bind(shop.engine, {"tenant": tenant, "source": named}).create(params, entry="pipeline.py:W")


async def ended(handle: Handle) -> RunState:
    return await asyncio.wait_for(handle.finished(), 60)


def offer(engine: Engine) -> None:
    engine.offer("workflows", WorkflowsBinding(engine))


async def test_a_run_and_the_runs_it_creates_talk_with_each_other(shop: Workshop) -> None:
    async with shop.running() as engine:
        offer(engine)
        handle = await begin(shop, FAMILY)
        state = await ended(handle)
        assert state.state == "passed", state.reason
        number, squares, results = state.result
        assert (number, squares) == (1, [0, 1, 4])
        assert results == [["workflow", "main", child] for child in (2, 3, 4)]
        runs = await bind(engine, dict(state.metadata)).runs()
        assert [run.number for run in runs] == [4, 3, 2, 1]
        for run in runs[:3]:
            child = await run.status()
            assert (child.tenant, child.scope, child.metadata, child.code, child.entry) == (
                "t", "t", state.metadata, state.code, "pipeline.py:Child",
            )  # fmt: skip
            assert child.parent == {
                "run": handle.id, "number": 1, "key": f"workflows.create {child.title}#1", "root": handle.id,
                "depth": 1, "waits": False,
            }  # fmt: skip


CALLER = """
class W(Pipeline):
    async def run(self, event, step):
        return await step.call("c", Child)

class Child(Pipeline):
    async def run(self, event, step):
        return 1
"""


@pytest.mark.parametrize(("given", "title"), [("", "pipeline.py:Child"), ("Ship it", "Ship it")])
async def test_a_called_run_has_the_title_that_was_given_to_its_caller_or_its_own(
    shop: Workshop, given: str, title: str
) -> None:
    shop.sources["s"] = CALLER
    async with shop.running() as engine:
        workflows = bind(engine, {"tenant": "t", "source": "s"})
        await ended(await workflows.create(title=given, entry="pipeline.py:W"))
        child, caller = [await run.status() for run in await workflows.runs()]
        assert (child.title, caller.title) == (title, given or "pipeline.py:W")


OTHERS = """
async def refused(call):
    try: return ["allowed", await call]
    except StepFailed as error: return [error.type, error.message]
others = event.payload
return [
    await refused(self.env.workflows.get(others)),
    await refused(self.env.workflows.status(others)),
    await refused(self.env.workflows.send_event(others, "go", "stolen")),
    await refused(self.env.workflows.status("no such run")),
    await refused(self.env.workflows.status({"id": others})),
]
"""


async def test_runs_of_another_tenant_are_as_if_they_were_not_there(shop: Workshop) -> None:
    async with shop.running() as engine:
        offer(engine)
        theirs = await begin(shop, 'return await step.wait_for_event("w", type="go")', "theirs")
        await shop.hibernating(theirs.id)
        state = await ended(await begin(shop, OTHERS, "mine", payload=theirs.id))
        said = [refusal[1].replace(theirs.id, "ID") for refusal in state.result]
        assert [refusal[0] for refusal in state.result] == ["NotFound"] * 5
        assert said[:3] == ["There is no run 'ID'."] * 3 and said[3] == "There is no run 'no such run'."
        assert (await theirs.status()).events == {}


WRONG = [
    ("destroy('x')", "self.env.workflows has no call 'destroy'. Known are: create, get, status, send_event."),
    ("create()", "missing a required argument: 'name'"),
    ("create('a', metadata={'tenant': 'evil'})", "unexpected keyword argument 'metadata'"),
    ("create('a', id='chosen')", "unexpected keyword argument 'id'"),
    ("create('a', call={'run': 1})", "unexpected keyword argument 'call'"),
    ("create('a', {}, 'extra')", "too many positional arguments"),
    ("create('')", "A run has the name ''"),
    ("create('a\\nb')", "printable characters"),
    ("create(7)", "A run has the name '7'"),
    ("create('a', pipeline='../other.py:X')", "pipeline has value '../other.py:X'"),
    ("create('a', pipeline=7)", "pipeline has value '7'"),
    ("send_event((await self.env.workflows.get())['id'], 7)", "type has value '7'"),
]


@pytest.mark.parametrize(("call", "says"), WRONG)
async def test_what_does_not_fit_is_refused_in_words(shop: Workshop, call: str, says: str) -> None:
    async with shop.running() as engine:
        offer(engine)
        body = f"try: await self.env.workflows.{call}\nexcept StepFailed as error: return error.type, error.message"
        state = await ended(await begin(shop, body))
        assert state.state == "passed", state.reason
        assert state.result[0] == "Invalid" and says in state.result[1]
        assert len(await bind(engine, {"tenant": "t"}).runs()) == 1


async def test_a_missing_pipeline_fails_the_child_and_names_those_there_are(shop: Workshop) -> None:
    async with shop.running() as engine:
        offer(engine)
        handle = await begin(shop, 'return await self.env.workflows.create("a", pipeline="Nowhere")')
        child = await bind(engine, {"tenant": "t"}).get((await ended(handle)).result["id"])
        state = await ended(child)
        assert state.state == "failed" and "has no pipeline 'Nowhere'. It has: W" in str(state.reason)


async def test_the_same_call_after_a_crash_is_the_same_run_and_the_same_event(shop: Workshop) -> None:
    async with shop.running() as engine:
        offer(engine)
        target = await begin(shop, 'return await step.wait_for_event("w", type="never")')
        caller = await (await begin(shop, 'await step.wait_for_event("w", type="never")')).status()
        binding = WorkflowsBinding(engine)
        create = BindingCall(caller, "k#1", 5.0, "create", ("child", {"n": 1}), {})
        made = [await binding.call(create) for _ in range(2)]
        assert made[0] == made[1] and len(await bind(engine, {"tenant": "t"}).runs()) == 3
        send = BindingCall(caller, "k#2", 6.0, "send_event", (target.id, "note", "once"), {})
        for _ in range(2):
            await binding.call(send)
        assert len((await target.status()).events) == 1
        assert len({id_of(create), id_of(send), id_of(BindingCall(caller, "k#1", 7.0, "create", (), {}))}) == 3


async def test_an_event_that_ended_its_run_before_a_crash_counts_as_sent(shop: Workshop) -> None:
    async with shop.running() as engine:
        offer(engine)
        target = await begin(shop, 'return await step.wait_for_event("w", type="go")')
        caller = await (await begin(shop, 'await step.wait_for_event("w", type="never")')).status()
        binding = WorkflowsBinding(engine)
        send = BindingCall(caller, "k#1", 6.0, "send_event", (target.id, "go", "once"), {})
        await binding.call(send)
        assert (await ended(target)).result == "once"
        await binding.call(send)
        with pytest.raises(StepwellError, match="has ended"):
            await binding.call(BindingCall(caller, "k#2", 6.0, "send_event", (target.id, "go", "late"), {}))


async def test_a_run_in_the_place_of_a_child_is_never_taken_for_it(shop: Workshop) -> None:
    async with shop.running() as engine:
        offer(engine)
        caller = await (await begin(shop, 'await step.wait_for_event("w", type="never")')).status()
        call = BindingCall(caller, "k#1", 5.0, "create", ("child",), {})
        squatter = RunSpec(id_of(call), "evil", "evil", "W", dict(caller.metadata), {}, caller.code)
        await engine.create(squatter)
        with pytest.raises(StepwellError, match="is taken"):
            await WorkflowsBinding(engine).call(call)


LINE = """
class W(Pipeline):
    async def run(self, event, step):
        depth = (event.payload or {}).get("depth", 0)
        try:
            await self.env.workflows.create("next", {"depth": depth + 1})
        except StepFailed as error:
            return depth, error.message
"""


async def test_lines_and_numbers_of_children_are_bounded(shop: Workshop) -> None:
    async with shop.running(limits=Limits(children=8)) as engine:
        offer(engine)
        await begin(shop, LINE)
        workflows = bind(engine, {"tenant": "t"})
        last = await shop.until_any(lambda state: state.result)
        assert last.result[0] == 8
        assert last.result[1].startswith("This run is 8 deep below one that nobody made; at most 8 are allowed.")
        assert len(await workflows.runs()) == 9
        body = """
children = (self.env.workflows.create(f"child {n}", {"depth": 100}) for n in range(10))
made = await gather(*children, return_exceptions=True)
return [one.message if isinstance(one, StepFailed) else "made" for one in made]
"""
        state = await ended(await begin(shop, body, "u"))
        assert state.result[:8] == ["made"] * 8
        assert [said.partition(";")[0] for said in state.result[8:]] == [
            "There are 8 runs below the first one already"
        ] * 2


async def test_code_learns_nothing_of_metadata_from_the_platform(shop: Workshop) -> None:
    body = """
me = await self.env.workflows.get()
return me, await self.env.workflows.status(me["id"])
"""
    async with shop.running() as engine:
        offer(engine)
        state = await ended(await begin(shop, body))
        who, how = state.result
        assert (sorted(who), sorted(how)) == (
            ["id", "number", "scope", "title"], ["error", "id", "number", "reason", "result", "state"],
        )  # fmt: skip
        assert how["state"] == "running"
