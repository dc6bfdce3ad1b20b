"""The same for many runs: those that are meant, no others; a part at a time; everything told, refusals too."""

import asyncio
import textwrap
import threading
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
from engines import Workshop

from stepwell.dynamic import Action, Bulk, Handle, Report, Selection, bind, dead_runs, survey, sweep
from stepwell.engine.clock import TestClock
from stepwell.errors import Invalid
from stepwell.store.journal_sqlite import SqliteJournal

WAITS = """
class W(Pipeline):
    async def run(self, event, step):
        return await step.wait_for_event("w", type="go")
"""


@pytest.fixture(autouse=True)
def small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(survey, "PAGE", 4)


async def begin(shop: Workshop, tenant: str, count: int, repository: str = "x", pipeline: str = "p") -> list[Handle]:
    """Have runs that wait."""
    shop.sources["waits"] = WAITS
    workflows = bind(shop.engine, {"tenant": tenant, "source": "waits"}, scope=f"{tenant}/{repository}")
    made = [await workflows.create({}, metadata={"pipeline": pipeline}) for _ in range(count)]
    for run in made:
        await shop.hibernating(run.id)
    return made


async def states(runs: Iterable[Handle]) -> list[str]:
    return [(await run.status()).state for run in runs]


async def whole(shop: Workshop, bulk: Bulk, most: int = 3) -> list[Report]:
    """Do it to the end, a few runs with each call."""
    reports = [await sweep(shop.engine, bulk, most=most)]
    while reports[-1].next is not None:
        reports.append(await sweep(shop.engine, bulk, reports[-1].next, most))
    return reports


def changed(reports: Iterable[Report]) -> list[str]:
    return [one.run for report in reports for one in report.changed]


async def test_what_is_meant_is_changed_and_nothing_else(shop: Workshop) -> None:
    async with shop.running():
        acme = await begin(shop, "acme", 3) + await begin(shop, "acme", 3, "y")
        ships = await begin(shop, "acme", 2, pipeline="ship")
        evil = await begin(shop, "evil", 3, pipeline="ship")
        everybody = [*acme, *ships, *evil]

        (report,) = await whole(shop, Bulk("pause", Selection(scope="acme/x"), "ann", "upkeep"), 50)
        paused = [*acme[:3], *ships]
        assert sorted(changed([report])) == sorted(run.id for run in paused) and report.refused == ()
        assert {(one.tenant, one.scope, one.state) for one in report.changed} == {("acme", "acme/x", "paused")}
        assert await states(everybody) == [*["paused"] * 3, *["waiting"] * 3, *["paused"] * 2, *["waiting"] * 3]
        assert (await paused[0].status()).reason == "paused by ann: upkeep"

        await whole(shop, Bulk("resume", Selection("acme"), "ann"))
        await whole(shop, Bulk("cancel", Selection("acme", metadata={"pipeline": "ship"}), "ann"))
        assert await asyncio.gather(*(ended(run) for run in ships)) == ["cancelled", "cancelled"]
        assert await states([*acme, *evil]) == ["waiting"] * 9

        await whole(shop, Bulk("terminate", Selection(states=frozenset({"waiting"})), "ann", everything=True))
        assert await states(everybody) == ["cancelled"] * 11
        for run in ships:  # the earlier word stands
            assert (await run.status()).reason == "cancelled by ann"


async def ended(run: Handle) -> str:
    return (await asyncio.wait_for(run.finished(), 60)).state


async def test_the_engine_is_not_kept_from_its_runs_by_a_look_through_all(
    shop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads = []

    def noted(read: Callable[..., Any]) -> Callable[..., Any]:
        def reading(*given: Any) -> Any:
            threads.append(threading.get_ident())
            return read(*given)

        return reading

    for name in ("scan", "last_entries"):
        monkeypatch.setattr(SqliteJournal, name, noted(getattr(SqliteJournal, name)))
    async with shop.running() as engine:
        await begin(shop, "acme", 1)
        await sweep(engine, Bulk("pause", Selection("acme"), "ann"))
        await dead_runs(engine, Selection("acme"))
    assert len(threads) >= 3 and threading.get_ident() not in threads


async def test_a_call_does_a_part_and_the_next_goes_on_behind_it(shop: Workshop) -> None:
    async with shop.running() as engine:
        runs = await begin(shop, "acme", 10)
        bulk = Bulk("pause", Selection("acme"), "ann")
        first = await sweep(engine, bulk, most=4)
        late = await begin(shop, "acme", 2)
        reports = [first, *[await sweep(engine, bulk, first.next, 4)]]
        while reports[-1].next is not None:
            reports.append(await sweep(engine, bulk, reports[-1].next, 4))
        assert [len(report.changed) for report in reports[:2]] == [4, 4]
        assert changed(reports) == [run.id for run in runs], "the oldest first, each once"
        assert await states(late) == ["waiting"] * 2, "what began later is left alone"


async def test_one_call_looks_at_so_many_rows_whatever_it_finds(
    shop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(survey, "LOOKED_AT", 6)
    async with shop.running() as engine:
        runs = await begin(shop, "acme", 9) + await begin(shop, "acme", 1, pipeline="ship")
        bulk = Bulk("pause", Selection("acme", metadata={"pipeline": "ship"}), "ann")
        report = await sweep(engine, bulk)
        assert (report.changed, report.looked_at) == ((), 8) and report.next is not None
        assert changed([await sweep(engine, bulk, report.next)]) == [runs[-1].id]


async def test_a_call_that_was_cut_off_is_made_again_and_nothing_is_done_twice(shop: Workshop) -> None:
    async with shop.running() as engine:
        runs = await begin(shop, "acme", 12)
        bulk = Bulk("pause", Selection("acme"), "ann")
        count = 0
        task: asyncio.Task[Report]

        def heed(news: object, state: object) -> None:
            nonlocal count
            count += getattr(news, "type", "") == "paused"
            if count == 5:
                task.cancel()

        stop = engine.subscribe(heed)
        task = asyncio.create_task(sweep(engine, bulk))
        with pytest.raises(asyncio.CancelledError):
            await task
        stop()
        cut = await states(runs)
        assert "paused" in cut and "waiting" in cut
    async with shop.running() as engine:
        reports = await whole(shop, bulk)
        assert not any(report.refused for report in reports)
        assert await states([await bind(engine, {"tenant": "acme"}).get(run.id) for run in runs]) == ["paused"] * 12
        for run in runs:
            assert Counter(entry.type for entry in await engine.journal(run.id))["paused"] == 1


async def test_what_one_run_refuses_is_told_and_keeps_no_other(shop: Workshop) -> None:
    async with shop.running() as engine:
        shop.sources["slow"] = """
class W(Pipeline):
    async def run(self, event, step):
        try: await step.wait_for_event("w", type="go")
        finally: await step.wait_for_event("last", type="bye")
"""
        slow = await bind(engine, {"tenant": "acme", "source": "slow"}, scope="acme/x").create({})
        await shop.hibernating(slow.id)
        await slow.cancel("bob")
        await shop.until(lambda state: "last#1" in state.steps, slow.id)
        runs = await begin(shop, "acme", 4)
        (report,) = await whole(shop, Bulk("pause", Selection("acme"), "ann"), 50)
        assert changed([report]) == [run.id for run in runs]
        (refusal,) = report.refused
        assert (refusal.run, refusal.number) == (slow.id, 1) and "is being cancelled by bob" in refusal.why


async def test_age_is_counted_from_the_creation(shop: Workshop) -> None:
    clock = TestClock()
    async with shop.running(clock=clock):
        old = await begin(shop, "acme", 2)
        moment = clock.now()
        clock.advance(3600)
        young = await begin(shop, "acme", 2)
        clock.advance(10)
        done = changed(await whole(shop, Bulk("pause", Selection("acme", created_until=moment), "ann")))
        assert sorted(done) == sorted(run.id for run in old)
        await whole(shop, Bulk("terminate", Selection("acme", created_after=moment), "ann"))
        assert await states([*old, *young]) == ["paused", "paused", "cancelled", "cancelled"]


BREAKS = """
def work(path, key):
    with open(path, "a") as file: file.write(key + "\\n")

def breaks(path, key):
    work(path, key)
    if not os.path.exists(path + ".mended"): raise FinalError("broken")

class W(Pipeline):
    async def run(self, event, step):
        await step.do("a", work, event.payload, f"{event.number} a")
        if event.number % 3: await step.do("b", breaks, event.payload, f"{event.number} b")
        elif not await step.do("look", os.path.exists, event.payload + ".mended"): raise ValueError("no step failed")
        return "mended"
"""


async def test_restarting_many_goes_on_where_each_broke_and_makes_one_successor(shop: Workshop) -> None:
    shop.sources["breaks"] = BREAKS
    effects = shop.database.with_name("effects")
    async with shop.running() as engine:
        workflows = bind(engine, {"tenant": "acme", "source": "breaks"})
        broken = [await workflows.create({"payload": str(effects)}) for _ in range(6)]
        assert [await ended(run) for run in broken] == ["failed"] * 6
        (passed,) = await begin(shop, "acme", 1)
        await passed.send_event("go")
        await passed.finished()
        shop.database.with_name("effects.mended").touch()
        before = Counter(effects.read_text().splitlines())

        bulk = Bulk(
            "restart", Selection("acme"), "ann", id="after the outage", metadata=lambda run: {"restart_of": run.id}
        )
        reports = await whole(shop, bulk)
        made = {one.run: one.successor for report in reports for one in report.changed}
        assert list(made) == [run.id for run in broken] and not any(report.refused for report in reports)
        for number, run in enumerate(broken, 1):
            successor = await workflows.get(str(made[run.id]))
            state = await asyncio.wait_for(successor.finished(), 60)
            assert (state.state, state.result, state.metadata["restart_of"]) == ("passed", "mended", run.id)
            assert (await run.status()).state == "failed"
            after = Counter(effects.read_text().splitlines())
            # From the step that failed, which adopts what came before; without one, everything again.
            assert after[f"{number} a"] == 1 or number % 3 == 0, after
            assert after[f"{number} b"] == 2 * before[f"{number} b"]
        count = len(await workflows.runs())
        again = await whole(shop, bulk)
        assert {one.run: one.successor for report in again for one in report.changed} == made
        assert len(await workflows.runs()) == count == 12


WRONG: list[tuple[Bulk, str]] = [
    (Bulk("pause", Selection(), "ann"), "'pause' would mean the runs of everybody"),
    (Bulk("terminate", Selection(states=frozenset({"waiting"})), "ann"), "Name a tenant, or say everything=True"),
    (Bulk("resume", Selection("acme", states=frozenset({"waiting"})), "ann"), "'waiting' cannot be meant by 'resume'"),
    (Bulk("cancel", Selection("acme", states=frozenset({"gone"})), "ann"), "States that can: paused, queued"),
    (Bulk("restart", Selection("acme"), "ann"), "A restart of many runs has no id"),
    (Bulk("pause", Selection("acme"), ""), "by has value ''. Say who does it, like by='ann'"),
    (Bulk("destroy", Selection("acme"), "ann"), "There is no bulk operation 'destroy'"),  # type: ignore[arg-type]
]


@pytest.mark.parametrize(("bulk", "says"), WRONG)
async def test_what_is_too_wide_or_means_nothing_is_refused(shop: Workshop, bulk: Bulk, says: str) -> None:
    async with shop.running() as engine:
        runs = await begin(shop, "acme", 1)
        with pytest.raises(Invalid, match=says):
            await sweep(engine, bulk)
        assert await states(runs) == ["waiting"]


@pytest.mark.parametrize("action", ["resume", "terminate"])
async def test_the_cursor_of_one_operation_is_no_good_for_another(shop: Workshop, action: Action) -> None:
    async with shop.running() as engine:
        await begin(shop, "acme", 3)
        report = await sweep(engine, Bulk("pause", Selection("acme"), "ann"), most=1)
        with pytest.raises(Invalid, match="belongs to another question"):
            await sweep(engine, Bulk(action, Selection("acme"), "ann"), report.next)


async def test_the_documented_lines_pause_what_they_say(shop: Workshop) -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "dynamic-workflows.md").read_text()
    lines = page.split("## Many runs")[1].split("```python\n")[1].split("```", 1)[0]
    async with shop.running() as engine:
        ships, others = await begin(shop, "acme", 2, pipeline="Ship"), await begin(shop, "acme", 2)
        names: dict[str, Any] = {"engine": engine, "Bulk": Bulk, "Selection": Selection, "sweep": sweep}
        exec("async def documented():\n" + textwrap.indent(lines, "    "), names)
        await names["documented"]()
        assert await states([*ships, *others]) == ["paused", "paused", "waiting", "waiting"]
