"""Where a restart goes on: at the step that ended the run, with its order, with the code that its metadata lead to."""

from functools import partial
from pathlib import Path

import pytest
from engines import Workshop

from stepwell.dynamic import Bulk, Handle, Order, Rate, Selection, Workflows, bind, sweep
from stepwell.engine.state import RunState
from stepwell.errors import Conflict, Invalid, NotFound

EFFECTS = """
def note(path, what, fails=False):
    with open(path, "a") as file: file.write(what + " ")
    if fails: raise ValueError(what)
async def noted(step, name, event, fails=False):
    return await step.do(name, note, event.payload["log"], name, fails, retries=0)
"""


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "log"


def code(body: str) -> str:
    lines = "".join(f"        {line}\n" for line in body.strip().splitlines())
    return f"{EFFECTS}\nclass W(Pipeline):\n    async def run(self, event, step):\n{lines}"


async def begin(shop: Workshop, log: Path, body: str, order: Order | None = None, source: str = "w") -> Handle:
    shop.sources[source] = code(body)
    return await workflows(shop).create({"payload": {"log": str(log)}}, metadata={"source": source}, order=order)


def workflows(shop: Workshop) -> Workflows:
    return bind(shop.engine, {"tenant": "t"})


async def ended(shop: Workshop, run: Handle) -> RunState:
    return await shop.finished(run.id)


async def successor(shop: Workshop, **metadata: str) -> RunState:
    """Restart every run that can be, and give the last one's successor, as far as it goes by itself."""
    report = await sweep(shop.engine, Bulk("restart", Selection("t"), "ann", id="b", metadata=lambda run: metadata))
    assert report.refused == ()
    made = str(report.changed[-1].successor)
    return await shop.until(
        lambda state: state.finished or (state.state == "waiting" and not shop.engine.holds(made)), made
    )


def lead_to(source: str, run: RunState) -> dict[str, str]:
    return {"source": source}


def begun_at(state: RunState) -> str:
    return state.ancestry.step if state.ancestry else ""


CAUGHT = """
try: await noted(step, "probe", event, True)
except StepFailed: pass
await noted(step, "deploy", event)
"""


@pytest.mark.parametrize(
    ("body", "step"),
    [
        ('await step.wait_for_event("w", type="go", timeout=0.01)', "w#1"),
        ('await noted(step, "last", event, True)', "last#1"),
        (
            'try: await noted(step, "x", event, True)\nexcept StepFailed: pass\nawait noted(step, "x", event, True)',
            "x#2",
        ),
        (
            'try: await noted(step, "last", event, True)\nexcept StepFailed as error: raise KeyError from error',
            "last#1",
        ),
        ('try: await noted(step, "last", event, True)\nexcept StepFailed: raise RuntimeError("no")', "last#1"),
        (
            "async with asyncio.TaskGroup() as group:\n"
            '    group.create_task(noted(step, "a", event))\n    group.create_task(noted(step, "b", event, True))',
            "b#1",
        ),
    ],
)
async def test_a_failed_run_goes_on_at_the_step_that_it_ended_with(
    shop: Workshop, log: Path, body: str, step: str
) -> None:
    async with shop.running():
        state = await ended(shop, await begin(shop, log, CAUGHT + body))
        assert state.error is not None and state.error["step"] == step
        assert begun_at(await successor(shop)) == step
        assert log.read_text().count("deploy") == 1


async def test_a_cancelled_run_goes_on_at_what_the_cancellation_cut_off(shop: Workshop, log: Path) -> None:
    race = """
calm = asyncio.create_task(noted(step, "quick", event))
slow = asyncio.ensure_future(step.wait_for_event("slow", type="never"))
await calm
slow.cancel()
"""
    async with shop.running():
        run = await begin(shop, log, CAUGHT + race + 'await step.wait_for_event("w", type="go")')
        await shop.until(lambda state: "w#1" in state.steps and state.steps["slow#1"].state == "cancelled", run.id)
        await shop.hibernating(run.id)
        await run.cancel("ann")
        await ended(shop, run)
        assert begun_at(await successor(shop)) == "w#1"
        assert log.read_text().split() == ["probe", "deploy", "quick"]


async def test_failures_that_the_code_gathered_are_done_again(shop: Workshop, log: Path) -> None:
    body = """
await noted(step, "build", event)
ends = await gather(*(noted(step, name, event, True) for name in ("left", "right")), return_exceptions=True)
raise RuntimeError(f"{len(ends)} have failed")
"""
    async with shop.running():
        run = await begin(shop, log, body)
        await ended(shop, run)
        _, first, second = [entry.key for entry in await run.journal() if entry.type == "done"]
        assert {first, second} == {"left#1", "right#1"}
        assert begun_at(await successor(shop)) == first
        assert sorted(log.read_text().split()) == ["build", "left", "left", "right", "right"]


async def test_a_run_that_no_step_ended_is_run_again_with_its_order(shop: Workshop, log: Path) -> None:
    order = Order("deploy", rate=Rate("k", 100, 60), priority=5)
    body = 'await noted(step, "a", event)\nraise ValueError("own")'
    async with shop.running() as engine:
        for _ in range(2):
            await ended(shop, await begin(shop, log, body, order))
        holder = await begin(shop, log, 'await step.wait_for_event("w", type="go")', order, "waits")
        await shop.hibernating(holder.id)
        report = await sweep(engine, Bulk("restart", Selection("t"), "ann", id="b"))
        assert len(report.changed) == 2
        for one in report.changed:
            state = await engine.get(str(one.successor))
            assert state is not None
            assert (state.state, state.order, state.ancestry) == ("queued", order, None)
            assert state.reason is not None and state.reason.endswith("in group deploy")


async def test_a_diverged_run_goes_on_where_it_diverged_also_with_the_code_of_before(shop: Workshop, log: Path) -> None:
    body = """
await noted(step, "charge", event)
await step.do("second", note, event.payload["log"], WHAT)
await step.wait_for_event("w", type="go", timeout=0.01)
"""
    async with shop.running() as engine:
        run = await begin(shop, log, body.replace("WHAT", '"old"'))
        await ended(shop, run)
        shop.sources["new"] = code(body.replace("WHAT", '"new"'))
        state = await ended(shop, await run.restart("w#1", metadata={"source": "new"}))
        assert (state.state, state.error and state.error["step"]) == ("diverged", "second#1")
        for source, log_says in (("w", "charge old old"), ("new", "charge old old new")):
            which = Selection("t", states=frozenset({"diverged"}))
            bulk = Bulk("restart", which, "ann", id=source, metadata=partial(lead_to, source))
            (one,) = (await sweep(engine, bulk)).changed
            made = await shop.finished(str(one.successor))
            assert (made.state, begun_at(made)) == ("failed", "second#1")
            assert log.read_text().split() == log_says.split()


async def test_a_run_whose_code_could_not_be_loaded_runs_with_other_metadata(shop: Workshop, log: Path) -> None:
    shop.sources["broken"], shop.sources["mended"] = "import nothing_of_this_name\n", code('return "mended"')
    async with shop.running():
        run = await workflows(shop).create({"payload": 1}, metadata={"source": "broken"}, order=Order("g"))
        state = await ended(shop, run)
        assert state.state == "failed" and state.error is not None and state.error["file"]
        for made in (
            await run.restart(metadata={"source": "mended"}),
            await workflows(shop).restart(run.id, metadata={"source": "mended"}),
        ):
            assert made.created
            state = await ended(shop, made)
            assert (state.state, state.result, state.params) == ("passed", "mended", {"payload": 1})
            assert state.order == Order("g")
        assert (await successor(shop, source="mended")).result == "mended"


async def test_a_handle_restarts_within_the_bounds_that_it_was_found_in(shop: Workshop, log: Path) -> None:
    async with shop.running():
        run = await begin(shop, log, 'await step.wait_for_event("w", type="go")')
        await shop.hibernating(run.id)
        with pytest.raises(Conflict, match=r"is waiting\. Cancel or terminate it first"):
            await run.restart()
        await run.terminate("ann")
        await ended(shop, run)
        with pytest.raises(Invalid, match="'tenant' has value 'u', but is bound to 't'"):
            await run.restart(metadata={"tenant": "u"})
        first, again = [await run.restart("w#1", id="again") for _ in range(2)]
        assert (first.id, first.created, again.created) == ("again", True, False)
        assert (await workflows(shop).get("again")).number == first.number


async def test_many_are_restarted_from_a_step_by_its_name_and_refused_where_it_means_none(
    shop: Workshop, log: Path
) -> None:
    async with shop.running() as engine:
        await ended(shop, await begin(shop, log, CAUGHT + 'await noted(step, "deploy", event, True)'))
        await ended(shop, await begin(shop, log, CAUGHT + 'raise ValueError("own")', source="other"))
        report = await sweep(engine, Bulk("restart", Selection("t"), "ann", step="deploy", id="b"))
        (refused,), (changed,) = report.refused, report.changed
        assert refused.why == "Run #1 has several steps 'deploy': deploy#1, deploy#2. Name one of them."
        state = await engine.get(str(changed.successor))
        assert state is not None and begun_at(state) == "deploy#1"


async def test_a_step_is_named_by_its_key_or_by_a_name_that_only_it_has(shop: Workshop, log: Path) -> None:
    body = 'await noted(step, "a", event)\nawait noted(step, "a", event)\nawait noted(step, "last", event, True)'
    async with shop.running():
        run = await begin(shop, log, body)
        await ended(shop, run)
        for said in ("last", "last#1"):
            assert begun_at(await ended(shop, await run.restart(said))) == "last#1"
        with pytest.raises(Invalid, match=r"several steps 'a': a#1, a#2\. Name one of them"):
            await run.restart("a")
        with pytest.raises(NotFound, match=r"has no step 'lats'\. Its steps: a#1, a#2, last#1"):
            await run.restart("lats")
