"""Runs that go on under a fresh journal: what stays, what goes, and what nobody may lose by it."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from engines import FakeExecutor, Workshop, passed

from stepwell.engine.children import child_id
from stepwell.engine.clock import TestClock
from stepwell.engine.entries import Entry
from stepwell.engine.order import Order
from stepwell.engine.rebuild import Rebuild
from stepwell.engine.rounds import KEPT, rounds_of
from stepwell.engine.specs import Limits, Restart, RunSpec
from stepwell.store.derived_sqlite import SqliteTables
from stepwell.store.logs import LogStore, round_key


@pytest.fixture
async def shop(tmp_path: Path) -> AsyncIterator[Workshop]:
    shop = Workshop(tmp_path)
    yield shop
    await shop.isolates.close()


COUNT = """
n = event.payload or 0
await step.do("work", give, n)
if n < {rounds}: await step.continue_as(n + 1)
return n
"""


async def test_a_run_goes_on_under_a_fresh_journal(shop: Workshop) -> None:
    told: list[Entry] = []
    async with shop.running(clock=TestClock()) as engine:
        engine.subscribe(lambda news, state: told.append(news) if isinstance(news, Entry) else None)
        await shop.create(COUNT.format(rounds=3))
        state = await shop.finished()
        assert (state.state, state.result, state.number, state.round) == ("passed", 3, 1, 4)
        assert list(state.steps) == ["work#4"]
        assert [run.id for run in await engine.numbered("t/x", None, 9)] == ["r"]
        entries = await engine.journal("r")
        assert [entry.type for entry in entries] == ["continued", "done", "ended"]
        assert [entry.seq for entry in told] == list(range(1, entries[-1].seq + 1))
        assert (state.created_at, entries[0].data["created_at"]) == (told[0].at, told[0].at)
        assert told[0].data["params"]["payload"] is None and entries[0].data["params"]["payload"] == 3


@pytest.mark.timeout(300)
async def test_the_journal_of_a_long_loop_stays_small(shop: Workshop) -> None:
    rounds = 1_000 if os.environ.get("STEPWELL_SOAK") else 100
    async with shop.running(limits=Limits(entries=20)):
        await shop.create(COUNT.format(rounds=rounds))
        state = await shop.finished(seconds=280)
        assert (state.result, state.round, list(state.steps)) == (rounds, rounds + 1, [f"work#{rounds + 1}"])
    with closing(shop.journal()) as journal:
        journal.open()
        rows = journal.db.execute("SELECT count(*), sum(length(data)) FROM journal").fetchone()
        assert rows[0] == 3 and rows[1] < 2_000
        assert Rebuild(SqliteTables(journal), mend=False).run().told == []


async def test_of_the_last_rounds_it_is_known_how_their_steps_ended_and_what_they_printed(
    shop: Workshop, tmp_path: Path
) -> None:
    logs, rounds = LogStore(tmp_path / "logs"), KEPT + 3
    async with shop.running(logs=logs):
        await shop.create_source(
            f"""
def work(n):
    print("works on", n)
    if n == {rounds - 2}: raise FinalError("no luck")

class W(Pipeline):
    async def run(self, event, step):
        n = event.payload or 0
        print("begins", n)
        try: await step.do("work", work, n)
        except StepFailed: pass
        waits = step.wait_for_event("never", type="never")
        await step.sleep("nap", 0)
        if n < {rounds}: await step.continue_as(n + 1)
        waits.cancel()
"""
        )
        state = await shop.finished()
    logs.close()
    found = rounds_of(state.first)
    assert [one.number for one in found] == [rounds - 2, rounds - 1, rounds]
    assert {one.asked for one in found} == {3}
    for one in found:
        assert [(step.key, step.kind, step.state) for step in one.steps] == [
            (f"work#{one.number}", "do", "failed" if one.number == rounds - 1 else "passed"),
            (f"never#{one.number}", "event", "cancelled"),
            (f"nap#{one.number}", "sleep", "passed"),
        ]
        assert [step.attempt for step in one.steps] == [1, 0, 0]
        assert logs.log("r", f"work#{one.number}", 1).read() == b"works on %d\n" % (one.number - 1)
        assert logs.log("r", round_key(one.number), 0).read() == b"begins %d\n" % (one.number - 1)
    assert [one.ended_at for one in found[:-1]] == [one.began_at for one in found[1:]]
    assert logs.log("r", "", 0).read() == b"begins %d\n" % rounds
    kept = {path.name.rsplit("-", 1)[0] for path in (tmp_path / "logs" / "r").glob("*.log")}
    assert kept == {
        "run",
        *(f"work-{n}" for n in range(rounds - 2, rounds + 2)),
        *map(str, range(rounds - 2, rounds + 1)),
    }


async def test_events_that_nobody_took_come_along_once(shop: Workshop) -> None:
    body = """
n = event.payload or 0
first = await step.wait_for_event("w", type="go")
if n == 0: return await step.continue_as(1)
return [first, await step.wait_for_event("w", type="go"), await step.wait_for_event("w", type="other")]
"""
    async with shop.running() as engine:
        await shop.create(body)
        await shop.hibernating()
        await engine.pause("r", "ann")
        for id, type, payload in (("a", "other", 7), ("b", "go", 1), ("c", "go", 2), ("c", "go", 2), ("d", "go", 3)):
            await engine.send_event("r", type, payload, id)
        await engine.resume("r", "ann")
        state = await shop.finished()
        assert state.result == [2, 3, 7]
        await asyncio.sleep(0)
        assert sorted(state.event_ids) == ["a", "b", "c", "d"]


async def test_an_event_sent_again_after_the_border_is_not_another_one(shop: Workshop) -> None:
    body = """
await step.wait_for_event("w", type="go")
if not event.payload: await step.continue_as(1)
"""
    async with shop.running() as engine:
        await shop.create(body)
        await shop.hibernating()
        await engine.send_event("r", "go", None, "once")
        await shop.until(lambda state: state.round == 2 and state.state == "waiting")
        await engine.send_event("r", "go", None, "once")
        assert (await shop.hibernating()).state == "waiting"
        await engine.send_event("r", "go", None, "twice")
        assert (await shop.finished()).state == "passed"


@pytest.mark.parametrize(
    "leave",
    [
        "await step.continue_as(1)",
        "await gather(step.continue_as(1), step.sleep('long', 1000))",
        "await asyncio.wait_for(step.continue_as(1), 5)",
        "async with asyncio.timeout(5): await step.continue_as(1)",
        "async with asyncio.TaskGroup() as group: group.create_task(leave(step)); await step.sleep('s', 9)",
        "try: await step.continue_as(1)\n    except Exception: return 'swallowed'",
        "return await step.continue_as(event.replace(payload=1))",
    ],
)
async def test_the_code_is_left_wherever_it_awaits(shop: Workshop, leave: str) -> None:
    body = f"""
async def leave(step): await step.continue_as(1)
await step.do("a", give)
if not event.payload:
    {leave}
    return "stayed"
return "begun anew"
"""
    async with shop.running():
        await shop.create(body)
        assert (await shop.finished()).result == "begun anew"


async def test_what_is_in_flight_is_given_up(shop: Workshop) -> None:
    executor = FakeExecutor(b=passed("layer-b"))
    source = """
class Child(Pipeline):
    async def run(self, event, step):
        await step.wait_for_event("w", type="go")

class W(Pipeline):
    async def run(self, event, step):
        if event.payload:
            await step.run("b", "b")
            return "over"
        tasks = [step.call("c", Child), step.run("forever", "forever"), step.sleep("s", 1000)]
        await step.wait_for_event("w", type="go")
        await step.continue_as(1)
        await gather(*tasks)
"""
    async with shop.running(executor=executor) as engine:
        await shop.create_source(source)
        await shop.hibernating(child_id("r", "c#1"))
        await shop.until(lambda state: state.counts.get("running") == 1)
        await engine.send_event("r", "go", None)
        state = await shop.finished()
        assert (state.result, list(state.steps), state.timers) == ("over", ["b#2"], {})
        assert (await shop.finished(child_id("r", "c#1"))).state == "cancelled"
        assert executor.attempts[-1].base == ()
        assert engine._journal.next_due() is None


async def test_a_cancellation_is_not_outrun(shop: Workshop) -> None:
    body = """
await step.do("a", give)
try: await step.continue_as(1)
finally: await step.wait_for_event("w", type="go")
"""
    async with shop.running() as engine:
        await shop.create(body)
        await shop.hibernating()
        await engine.cancel("r", "ann", "enough")
        state = await shop.finished()
        assert (state.state, state.reason, state.round) == ("cancelled", "cancelled by ann: enough", 1)


async def test_a_called_run_may_go_round_before_it_answers(shop: Workshop) -> None:
    source = """
class Child(Pipeline):
    async def run(self, event, step):
        await step.do("a", give)
        if event.payload < 3: await step.continue_as(event.payload + 1)
        return event.payload

class W(Pipeline):
    async def run(self, event, step):
        return await step.call("c", Child, 0)
"""
    async with shop.running():
        await shop.create_source(source)
        assert (await shop.finished()).result == 3


async def test_a_later_round_is_restarted_from_its_step(shop: Workshop) -> None:
    body = """
n = event.payload or 0
seen = [str(step.uuid()), await step.do("a", give, n)]
await step.sleep("s", 0)
if n < 2: await step.continue_as(n + 1)
if not os.path.exists(MENDED): await step.do("boom", lambda: 1 / 0, retries=0)
return [*seen, n, event.number]
""".replace("MENDED", repr(str(shop.database.parent / "mended")))
    async with shop.running() as engine:
        await shop.create(body)
        failed = await shop.finished()
        assert (failed.state, failed.round, list(failed.steps)) == ("failed", 3, ["a#3", "s#3", "boom#3"])
        (shop.database.parent / "mended").touch()
        spec = RunSpec(
            "again", "t", "t/x", "W", failed.metadata, failed.params, failed.code, "pipeline.py:W",
            restart=Restart("r", "boom#3"),
        )  # fmt: skip
        await engine.create(spec)
        state = await shop.finished("again")
        assert state.state == "passed", state.reason
        assert (state.result[1:], state.steps["a#3"].origin, state.round) == ([2, 2, 1], "r", 3)
        assert state.ancestry is not None and state.ancestry.origins == (("r", 4),)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("await step.continue_as(1)", "run() continued before anything had happened, so it would go on for ever."),
        ("await step.do('a', give)\nstep.continue_as(1)", "step 'continue_as' at .stepwell/pipeline.py"),
        ("await step.do('a', give)\nawait step.continue_as(object())", "The event of step.continue_as(…) is not JSON"),
        (
            "await step.do('a', give)\nawait step.continue_as('x' * 300_000)",
            "The settings of step 'continue_as' are 300,",
        ),
        ("await step.do('a', lambda: step.continue_as(1), retries=0)", "was called outside of run()"),
        ("await step.do('a', give)\ntry: await step.continue_as(1)\nfinally: 1 / 0", "division by zero"),
    ],
)
async def test_what_cannot_continue_fails_and_says_why(shop: Workshop, body: str, said: str) -> None:
    async with shop.running():
        await shop.create(body)
        state = await shop.finished()
        assert state.state == "failed" and said in str(state.reason)


HOSTILE: list[Any] = [None, 7, {}, {"event": 7}, {"event": {"payload": "x" * 300_000}}]


@pytest.mark.parametrize("outcome", HOSTILE)
async def test_a_continuation_of_the_wrong_shape_ends_the_turn(shop: Workshop, outcome: Any) -> None:
    body = f"""
await step.do("a", give)
import json
step._turn.wire.put(json.dumps(["end", "continued", {outcome!r}]))
await step.sleep("s", 60)
"""
    async with shop.running():
        await shop.create(body)
        state = await shop.finished()
        assert state.state == "failed" and "broke the protocol" in str(state.reason)


async def test_a_later_round_is_mended_from_its_journal(shop: Workshop) -> None:
    body = """
n = event.payload or 0
if n == 2: return await step.wait_for_event("w", type="go")
await step.sleep("s", 0)
await step.continue_as(n + 1)
"""
    async with shop.running():
        await shop.create(body)
        await shop.until(lambda state: state.round == 3 and state.state == "waiting")
        before = await shop.hibernating()
    with closing(shop.journal()) as journal:
        journal.open()
        journal.db.executescript("DELETE FROM runs; DELETE FROM timers; DELETE FROM numbers")
        told = Rebuild(SqliteTables(journal), mend=True).run().told
        assert [difference.what for difference in told] == ["row", "last number of t/x"]
        row = journal.db.execute("SELECT number, state, created_at FROM runs").fetchone()
        assert tuple(row) == (1, "waiting", before.created_at)
    async with shop.running() as engine:
        await engine.send_event("r", "go", 5)
        assert (await shop.finished()).result == 5


async def test_a_group_waits_for_the_last_round(shop: Workshop) -> None:
    loops = """
await step.wait_for_event("w", type="go")
if (event.payload or 0) < 1: await step.continue_as(1)
return event.payload
"""
    async with shop.running() as engine:
        for run in ("a", "b"):
            await shop.create(loops, run, order=Order("ship"))
        await shop.hibernating("a")
        await shop.until(lambda state: state.state == "queued" and not engine.holds("b"), "b")
        await engine.send_event("a", "go", None)
        await shop.until(lambda state: state.round == 2 and state.state == "waiting", "a")
        assert [state.state for state in [await engine.get("b")] if state] == ["queued"]
        with closing(shop.journal()) as journal:
            journal.open()
            assert Rebuild(SqliteTables(journal), mend=False).run().told == []
        await engine.send_event("a", "go", None)
        assert (await shop.finished("a")).result == 1
        for _ in range(2):
            held = await shop.until(lambda state: state.state == "waiting" and not state.events, "b")
            await engine.send_event("b", "go", None, f"{held.round}")
            await shop.until(lambda state: state.finished or state.round == 2, "b")
        assert (await shop.finished("b")).result == 1
