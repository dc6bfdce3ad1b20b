"""What becomes of runs: hibernation, time, events, decisions, cancellation, and everything that can go wrong."""

import asyncio
import gc
import sqlite3
import tracemalloc
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import pytest
from engines import FakeExecutor, Workshop, failed, lost, passed
from gates import Gatekeeper
from logged import Log

from stepwell.engine.clock import TestClock
from stepwell.engine.seams import Attempt, Code, Outcome, Output, Prepared
from stepwell.engine.specs import Limits, RunSpec
from stepwell.engine.state import RunState, StepState
from stepwell.errors import Conflict, Denied, Invalid, NotFound, TryLater
from stepwell.store.journal import Committed, NewRun, Write
from stepwell.store.journal_sqlite import SqliteJournal

QUICK = Limits(stall=0.3, silence=3, grace=0.3, linger=0.05, again=0.05, loading=1)


def yes(run: RunState, step: StepState) -> Literal["approved", "rejected"] | None:
    return "approved" if step.decisions[-1]["approve"] else "rejected"


DECISION = {"by": "ann", "approve": True, "comment": "", "fields": {}}


# -- hibernation and time ---------------------------------------------------------------------------------------------


async def test_a_waiting_run_has_no_isolate_and_no_memory(shop: Workshop) -> None:
    async with shop.running() as engine:
        await shop.create('return await step.wait_for_event("w", type="go")')
        await shop.hibernating()
        assert (shop.isolates.alive, engine.in_memory) == (0, 0)
        await engine.send_event("r", "go", {"n": 1})
        assert (await shop.finished()).result == {"n": 1}


async def test_parked_runs_take_no_memory(shop: Workshop) -> None:
    async def loader(metadata: Mapping[str, Any]) -> Code:
        return await shop.load({"source": "warm0"})

    async with shop.running(concurrent_turns=8, loader=loader) as engine:
        body = 'return await step.approval("ship", environment="production")'
        for n in range(10):
            await shop.create(body, f"warm{n}")
        for n in range(10):
            await shop.hibernating(f"warm{n}")
        tracemalloc.start()
        before, _ = tracemalloc.get_traced_memory()
        for n in range(150):
            await shop.create(body, f"r{n}")
        for n in range(150):
            await shop.hibernating(f"r{n}")
        gc.collect()
        grown = tracemalloc.get_traced_memory()[0] - before
        tracemalloc.stop()
        assert (shop.isolates.alive, engine.in_memory) == (0, 0)
        assert grown / 150 < 2000


async def test_a_day_passes_in_a_moment(shop: Workshop) -> None:
    clock = TestClock()
    async with shop.running(clock=clock):
        await shop.create('await step.sleep("night", "24 hours")\nreturn (await step.do("d", give, 3))')
        await shop.hibernating()
        clock.advance(86_400 - 1)
        assert (await shop.hibernating()).state == "waiting"
        clock.advance(1)
        assert (await shop.finished()).result == 3


async def test_a_clock_that_jumps_loses_no_timer(shop: Workshop) -> None:
    clock = TestClock()
    async with shop.running(clock=clock):
        await shop.create('await step.sleep("s", "1 hour")\nreturn "awake"')
        await shop.hibernating()
        clock.jump(-7200)
        assert (await shop.hibernating()).state == "waiting"
        clock.jump(3 * 3600)
        assert (await shop.finished()).result == "awake"


async def test_timers_due_while_the_engine_was_down_fire_at_its_start(shop: Workshop) -> None:
    clock = TestClock()
    async with shop.running(clock=clock):
        await shop.create('await step.sleep("s", "1 hour")\nreturn "awake"')
        await shop.hibernating()
    clock.advance(7200)
    async with shop.running(clock=clock):
        clock.advance(0)
        assert (await shop.finished()).result == "awake"


async def test_a_restart_wakes_no_run_that_only_waits(shop: Workshop) -> None:
    async with shop.running():
        await shop.create('return await step.wait_for_event("w", type="go")')
        await shop.hibernating()
    async with shop.running() as engine:
        await asyncio.sleep(0)
        assert (shop.isolates.alive, engine.in_memory) == (0, 0)
        await engine.send_event("r", "go", 1)
        assert (await shop.finished()).result == 1


async def test_events_before_the_wait_are_kept_in_order_and_ids_count_once(shop: Workshop) -> None:
    async with shop.running() as engine:
        await shop.create(
            'await step.wait_for_event("first", type="start")\n'
            'return [await step.wait_for_event("w", type="go") for _ in range(2)]'
        )
        for payload, name in ((1, "a"), (1, "a"), (2, "b")):
            await engine.send_event("r", "go", payload, id=name)
        await engine.send_event("r", "start", None)
        assert (await shop.finished()).result == [1, 2]


# -- people -----------------------------------------------------------------------------------------------------------


async def test_an_approval_ends_with_its_verdict_and_takes_no_second_one(shop: Workshop) -> None:
    async with shop.running() as engine:
        await shop.create('return (await step.approval("ship", environment="p")).by')
        state = await shop.hibernating()
        assert list(state.approvals) == ["ship#1"]
        assert await engine.decide("r", "ship#1", DECISION, lambda run, step: None) is None
        assert await engine.decide("r", "ship#1", DECISION, yes) == "approved"
        with pytest.raises(Conflict):
            await engine.decide("r", "ship#1", DECISION, yes)
        assert (await shop.finished()).result == "ann"


async def test_a_held_step_starts_only_after_its_release(shop: Workshop) -> None:
    executor = FakeExecutor()
    async with shop.running(executor=executor, gate=Gatekeeper()) as engine:
        await shop.create('return (await step.run("deploy", "ok", environment="p")).exit_code')
        await shop.hibernating()
        assert executor.attempts == []
        await engine.decide("r", "deploy#1", DECISION, yes)
        state = await shop.finished()
        assert (state.result, state.steps["deploy#1"].released_by) == (0, "ann")


async def test_a_rejected_step_never_runs(shop: Workshop) -> None:
    executor = FakeExecutor()
    async with shop.running(executor=executor, gate=Gatekeeper()) as engine:
        await shop.create('await step.run("deploy", "ok", environment="p")')
        await shop.hibernating()
        await engine.decide("r", "deploy#1", {**DECISION, "approve": False}, yes)
        state = await shop.finished()
        assert (state.state, executor.attempts) == ("failed", [])
        assert state.steps["deploy#1"].error is not None
        assert state.steps["deploy#1"].error["type"] == "Rejected"


# -- executors --------------------------------------------------------------------------------------------------------


async def test_failed_attempts_are_retried_and_lost_ones_do_not_count(shop: Workshop) -> None:
    executor = FakeExecutor(flaky=[lost(), failed(), lost(), passed()])
    async with shop.running(executor=executor):
        await shop.create('await step.run("s", "flaky", retries=Retry(1, delay=0.01))')
        state = await shop.finished()
        assert state.state == "passed"
        assert [attempt.state for attempt in state.steps["s#1"].attempts] == ["lost", "failed", "lost", "passed"]
        assert [attempt.number for attempt in executor.attempts] == [1, 2, 3, 4]


async def test_five_losses_in_a_row_fail_the_step(shop: Workshop) -> None:
    executor = FakeExecutor(gone=lost())
    async with shop.running(executor=executor):
        await shop.create('await step.run("s", "gone")')
        state = await shop.finished()
        assert (state.state, len(executor.attempts)) == ("failed", 5)
        assert state.reason is not None and "lost 5 times in a row" in state.reason


async def test_an_executor_that_does_not_end_a_late_command_is_left(shop: Workshop) -> None:
    executor = FakeExecutor()
    async with shop.running(executor=executor, limits=Limits(overdue=0)):
        await shop.create('await step.run("s", "forever", timeout=0.05)')
        state = await shop.finished()
        assert (state.state, executor.killed) == ("failed", ["s#1"])
        assert "was not over after 0.1 s" in str(state.reason)


async def test_steps_stand_on_the_layers_the_code_had_seen(shop: Workshop) -> None:
    executor = FakeExecutor(a=passed("layer-a"), b=passed("layer-b"), c=passed("layer-c"))
    async with shop.running(executor=executor):
        await shop.create(
            'await step.run("a", "a")\nawait gather(step.run("b", "b"), step.run("c", "c"))\nawait step.run("d", "d")'
        )
        await shop.finished()
        bases = {attempt.key: attempt.base for attempt in executor.attempts}
        assert bases["a#1"] == ()
        assert bases["b#1"] == bases["c#1"] == ("layer-a",)
        assert sorted(bases["d#1"]) == ["layer-a", "layer-b", "layer-c"]
        assert bases["d#1"][0] == "layer-a"


async def test_layers_are_in_use_as_long_as_their_run_is_kept(shop: Workshop) -> None:
    executor = FakeExecutor(a=passed("layer-a"))
    async with shop.running(executor=executor) as engine:
        await shop.create('await step.run("a", "a")\nawait step.wait_for_event("w", type="go")')
        await shop.hibernating()
    async with shop.running(executor=executor) as engine:
        assert executor.in_use is not None and executor.in_use("layer-a") and not executor.in_use("layer-b")
        await engine.send_event("r", "go", None)
        await shop.finished()
        assert executor.in_use("layer-a")
    assert executor.forgotten == ["r"]
    journal = shop.journal()
    journal.open()
    assert journal.let_go(["r"]) == ["layer-a"] and not journal.layer_in_use("layer-a")
    journal.close()


async def test_no_more_steps_execute_than_there_are_slots(shop: Workshop) -> None:
    executor = FakeExecutor()
    async with shop.running(executor=executor, concurrent_steps=2):
        await shop.create('await gather(*(step.run(f"s{i}", "ok") for i in range(9)))')
        assert (await shop.finished()).state == "passed"
        assert executor.most_at_once == 2


async def test_a_refusal_of_secrets_fails_the_step_without_retry(shop: Workshop) -> None:
    class Refuses:
        async def prepare(self, attempt: Attempt) -> Prepared:
            raise Denied("The secret 'KEY' is not for this branch.")

    executor = FakeExecutor()
    async with shop.running(executor=executor, preparer=Refuses()):
        await shop.create('await step.run("s", "ok", secrets=["KEY"], retries=3)')
        state = await shop.finished()
        assert (state.state, executor.attempts) == ("failed", [])
        assert "not for this branch" in str(state.reason)


async def test_steps_in_flight_end_with_the_run(shop: Workshop) -> None:
    executor = FakeExecutor(bad=failed())
    async with shop.running(executor=executor):
        await shop.create('await gather(step.run("long", "forever"), step.run("bad", "bad"))')
        state = await shop.finished()
        assert (state.state, state.steps["long#1"].state) == ("failed", "cancelled")
    assert executor.killed == ["long#1"]


# -- isolates that end badly ------------------------------------------------------------------------------------------


async def test_an_isolate_that_dies_in_a_step_is_a_failed_attempt(shop: Workshop, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    source = f"""
import time
def die():
    if not os.path.exists({str(mark)!r}):
        open({str(mark)!r}, "w").close()
        time.sleep(0.2)
        os._exit(3)
    return "alive"
class W(Pipeline):
    async def run(self, event, step):
        return await step.do("d", die, retries=Retry(2, delay=0.01))
"""
    async with shop.running():
        await shop.create_source(source)
        state = await shop.finished()
        assert (state.state, state.result) == ("passed", "alive")
        assert [attempt.state for attempt in state.steps["d#1"].attempts] == ["failed", "passed"]


@pytest.mark.parametrize("how", ["def", "async def"])
@pytest.mark.parametrize("before", ["", 'await step.do("before", give)'])
async def test_a_step_that_kills_its_isolate_at_once_fails_and_not_the_run(
    shop: Workshop, tmp_path: Path, how: str, before: str
) -> None:
    source = f"""
{how} die():
    with open({str(tmp_path / "mark")!r}, "a") as file:
        file.write("x")
    os._exit(3)
class W(Pipeline):
    async def run(self, event, step):
        {before or "pass"}
        try:
            await step.do("d", die, retries=0)
        except StepFailed as error:
            return error.type
"""
    async with shop.running():
        await shop.create_source(source)
        state = await shop.finished()
        assert (state.state, state.result) == ("passed", "IsolateDied")
        assert [attempt.state for attempt in state.steps["d#1"].attempts] == ["failed"]
    assert (tmp_path / "mark").read_text() == "xx"  # the first time nobody could know that it was the step


@pytest.mark.parametrize(
    ("raised", "said"),
    [
        ("{}['b']", "KeyError: 'b'"),
        ("assert False", "AssertionError"),
        ("raise TimeoutError", "TimeoutError"),
        ("raise ExceptionGroup('all', [ValueError('a'), KeyError('b')])", "ExceptionGroup: a; 'b'"),
        ("await step.do('d', int, 'x', retries=0)", "step 'd' failed: ValueError: invalid literal"),
        ("await step.wait_for_event('e', type='t', timeout=0.01)", "step 'e' failed: the event did not come in time"),
    ],
)
async def test_the_reason_of_a_run_says_what_was_raised(shop: Workshop, raised: str, said: str) -> None:
    async with shop.running():
        await shop.create(raised)
        state = await shop.finished()
        assert state.state == "failed" and str(state.reason).startswith(said), state.reason


async def test_three_failed_turns_fail_the_run(shop: Workshop) -> None:
    source = "class W(Pipeline):\n    async def run(self, event, step):\n        os.abort()\n"
    async with shop.running() as engine:
        await shop.create_source(source)
        state = await shop.finished()
        assert state.state == "failed" and "SIGABRT" in str(state.reason)
        assert [entry.type for entry in await engine.journal("r")].count("turn_failed") == 3


async def test_a_dead_fork_server_is_no_failure_of_the_run(shop: Workshop, tmp_path: Path) -> None:
    source = f"""
import time
def slow():
    with open({str(tmp_path / "mark")!r}, "a") as file:
        file.write("x")
    if os.path.getsize({str(tmp_path / "mark")!r}) == 1:
        time.sleep(30)
    return "done"
class W(Pipeline):
    async def run(self, event, step):
        return await step.do("d", slow, retries=0)
"""
    async with shop.running():
        await shop.create_source(source)
        await shop.until(lambda state: state.inflight)
        shop.isolates.kill_server()
        state = await shop.finished()
        assert (state.state, state.result) == ("passed", "done")
        assert [attempt.state for attempt in state.steps["d#1"].attempts] == ["lost", "passed"]


async def test_code_that_never_yields_fails_and_names_the_line(shop: Workshop) -> None:
    async with shop.running(limits=QUICK):
        await shop.create("while True:\n    pass")
        state = await shop.finished()
        assert state.state == "failed"
        assert "did not yield" in str(state.reason) and "pipeline.py:" in str(state.reason)


class Talkative:
    """Isolates that say what a test wants them to."""

    def __init__(self, line: bytes) -> None:
        self.line = line

    async def open(self, spec: object) -> Any:
        import socket

        ours, theirs = socket.socketpair()
        theirs.send(self.line)

        class Channel:
            sock = ours
            pid = 0

            def kill(self) -> None:
                theirs.close()

            async def ended(self) -> str:
                theirs.close()
                return "exit code 0"

        return Channel()


@pytest.mark.parametrize(
    "line",
    [
        b"garbage\n",
        b'{"a":1}\n',
        b'[["nonsense"]]\n',
        b'[["do","a#1"]]\n',
        b'[["do","a#1","a","f",1,true,NaN,0.1]]\n',
        b'[["took","a#1",7]]\n',
        b'[["end","won",1]]\n',
        b'[["ask","a#1","launch","a","f",{},null,"x:1",1]]\n',
        b'[["ask","\\ud800#1","run","a","f",{},null,"x:1",1]]\n',
        b"[" * 100_000 + b"\n",
        b'["' + b"x" * 200_000,
    ],
)
async def test_an_isolate_that_breaks_the_protocol_harms_only_its_run(shop: Workshop, line: bytes) -> None:
    limits = Limits(line_bytes=150_000)
    async with shop.running(isolates=Talkative(line), limits=limits) as engine:
        await shop.create("return 1")
        state = await shop.finished()
        assert (state.state, state.error and state.error["type"]) == ("failed", "TurnFailed")
        assert engine.trouble == ""


# -- cancellation -----------------------------------------------------------------------------------------------------


async def test_cancel_runs_finally_and_says_by_whom(shop: Workshop) -> None:
    async with shop.running() as engine:
        await shop.create(
            'try:\n    await step.wait_for_event("w", type="go")\nfinally:\n    await step.do("clean", give, 1)'
        )
        await shop.hibernating()
        await engine.cancel("r", "ann", "enough")
        state = await shop.finished()
        assert (state.state, state.reason) == ("cancelled", "cancelled by ann: enough")
        assert (state.steps["clean#1"].state, state.steps["w#1"].state) == ("passed", "cancelled")
        await engine.cancel("r", "ben")


async def test_code_that_outlives_its_grace_is_killed(shop: Workshop) -> None:
    async with shop.running(limits=QUICK) as engine:
        await shop.create(
            'try:\n    await step.wait_for_event("w", type="go")\nfinally:\n'
            '    await step.wait_for_event("x", type="never")'
        )
        await shop.hibernating()
        await engine.cancel("r", "ann")
        state = await shop.finished()
        assert state.state == "cancelled" and "grace" not in str(state.result)


async def test_a_run_cancelled_before_its_first_turn_never_starts(shop: Workshop) -> None:
    async with shop.running(concurrent_turns=1, executor=FakeExecutor()) as engine:
        await shop.create('await step.run("x", "forever")', "first")
        await shop.until(lambda state: "x#1" in state.steps, "first")
        await shop.create("return 1", "second")
        await engine.cancel("second", "ann")
        state = await shop.finished("second")
        assert (state.state, state.steps) == ("cancelled", {})
        await engine.cancel("first", "ann")


# -- code that is not to be had ---------------------------------------------------------------------------------------


async def test_a_loader_that_says_try_later_is_asked_again(shop: Workshop) -> None:
    asked = 0

    async def loader(metadata: Mapping[str, Any]) -> Code:
        nonlocal asked
        asked += 1
        if asked == 2:  # the first question pins nothing: it is the second that the turn asks
            raise TryLater("The repository is being moved.", 0.02)
        return await shop.load(metadata)

    async with shop.running(loader=loader):
        await shop.create("return 1", "warm")
        await shop.finished("warm")
        await shop.create("return 2")
        state = await shop.finished()
        assert (state.state, state.result) == ("passed", 2)


async def test_a_run_whose_code_is_lost_says_so_and_goes_on_when_it_is_back(shop: Workshop) -> None:
    gone = False

    async def loader(metadata: Mapping[str, Any]) -> Code:
        if gone:
            raise NotFound("The commit 1234 is gone.")
        return await shop.load(metadata)

    async with shop.running(loader=loader) as engine:
        await shop.create('return await step.wait_for_event("w", type="go")')
        await shop.hibernating()
        gone = True
        await engine.send_event("r", "go", 5)
        state = await shop.until(lambda state: state.reason)
        assert (state.state, state.reason) == ("waiting", "The commit 1234 is gone.")
    gone = False
    async with shop.running(loader=loader):
        assert (await shop.finished()).result == 5


async def test_changed_code_is_refused_and_the_run_can_still_be_cancelled(shop: Workshop) -> None:
    async with shop.running() as engine:
        await shop.create('return await step.wait_for_event("w", type="go")')
        await shop.hibernating()
    shop.sources["r"] += "\n# changed"
    async with shop.running() as engine:
        await engine.send_event("r", "go", 5)
        state = await shop.until(lambda state: state.reason)
        assert "has changed" in str(state.reason)
        await engine.cancel("r", "ann")
        assert (await shop.finished()).state == "cancelled"


@pytest.mark.parametrize(("seconds", "tries"), [(20, 5), (600, 7)])
async def test_cancelled_code_that_cannot_be_had_for_a_moment_has_its_grace_to_clean_up(
    shop: Workshop, seconds: int, tries: int
) -> None:
    clock = TestClock()
    back_at, asked = clock.now(), 0

    async def loader(metadata: Mapping[str, Any]) -> Code:
        nonlocal asked
        asked += 1
        if clock.now() < back_at:
            raise TryLater("The repository is being moved.", 5)
        return await shop.load(metadata)

    async with shop.running(loader=loader, clock=clock, limits=Limits(nap=0, grace=30)) as engine:
        await shop.create(
            'try:\n    await step.wait_for_event("w", type="go")\nfinally:\n    await step.do("clean", give, 1)'
        )
        await shop.hibernating()
        back_at, asked = clock.now() + seconds, 0
        await engine.cancel("r", "ann")
        for n in range(1, tries):
            state = await shop.until(lambda _, n=n: asked == n and not engine.holds("r"))  # type: ignore[misc]
            assert (state.finished, state.reason) == (False, "The repository is being moved.")
            clock.advance(5)
        state = await shop.finished()
        assert (state.state, asked) == ("cancelled", tries)
        assert ("clean#1" in state.steps) == (seconds < 30)


async def test_a_slow_loader_becomes_the_reason(shop: Workshop) -> None:
    async def loader(metadata: Mapping[str, Any]) -> Code:
        await asyncio.Event().wait()
        raise AssertionError

    async with shop.running(loader=loader, limits=Limits(loading=0.02)):
        await shop.create("return 1")
        state = await shop.until(lambda state: state.reason)
        assert "not there after 0.02 s" in str(state.reason)


# -- the disk and other holders ---------------------------------------------------------------------------------------


class Full(SqliteJournal):
    """A disk that is full while `full` is set."""

    full = False

    def commit(self, writes: Sequence[Write], new: Sequence[NewRun] = ()) -> Committed:
        if self.full:
            raise sqlite3.OperationalError("database or disk is full")
        return super().commit(writes, new)


async def test_what_the_disk_refuses_is_never_acknowledged_and_nothing_is_lost(shop: Workshop) -> None:
    clock, journal = TestClock(), Full(shop.database)
    async with shop.running(journal=journal, clock=clock) as engine:
        await shop.create('return await step.wait_for_event("w", type="go")')
        await shop.hibernating()
        journal.full = True
        with pytest.raises(TryLater):
            await engine.send_event("r", "go", 1)
        with pytest.raises(TryLater):
            await shop.create("return 1", "other")
        assert "disk is full" in engine.trouble
        assert [entry.type for entry in await engine.journal("r")] == ["created", "asked"]
        journal.full = False
        await engine.send_event("r", "go", 2)
        assert (await shop.finished()).result == 2
        assert engine.trouble == ""


async def test_a_run_goes_on_when_the_disk_has_room_again(shop: Workshop) -> None:
    clock, journal = TestClock(), Full(shop.database)
    async with shop.running(journal=journal, clock=clock, executor=FakeExecutor()) as engine:
        told = asyncio.Event()
        engine.subscribe(lambda news, state: told.set() if news.type == "trouble" else None)
        await shop.create('await step.sleep("s", 2)\nreturn await step.do("d", give, 3)')
        await shop.hibernating()
        journal.full = True
        clock.advance(2)
        await asyncio.wait_for(told.wait(), 5)
        journal.full = False
        clock.advance(10)
        assert (await shop.finished()).result == 3


async def test_a_holder_whose_lease_was_taken_cannot_append(shop: Workshop) -> None:
    async with shop.running() as engine:
        await shop.create('return await step.wait_for_event("w", type="go")')
        await shop.hibernating()
        state_before = await engine.get("r")
        live = engine._memory.load("r")
        with sqlite3.connect(shop.database) as other:
            other.execute("UPDATE runs SET lease = lease + 1 WHERE id = 'r'")
        assert live is not None
        with pytest.raises(Conflict):
            await engine.send_event("r", "go", 1)
        assert state_before is not None and (await engine.journal("r"))[-1].seq == state_before.seq
        await engine.send_event("r", "go", 2)
        assert (await shop.finished()).result == 2


async def test_many_runs_share_transactions(shop: Workshop) -> None:
    journal = shop.journal()
    commits = 0
    original = journal.commit

    def counting(writes: Sequence[Write], new: Sequence[NewRun] = ()) -> Committed:
        nonlocal commits
        commits += 1
        return original(writes, new)

    journal.commit = counting  # type: ignore[method-assign]
    async with shop.running(journal=journal):
        await asyncio.gather(*(shop.create("return 1", f"r{n}") for n in range(20)))
        assert commits <= 3
        numbers = {(await shop.finished(f"r{n}")).number for n in range(20)}
        assert numbers == set(range(1, 21))


# -- creation ---------------------------------------------------------------------------------------------------------


async def test_the_same_id_twice_is_one_run(shop: Workshop) -> None:
    async with shop.running() as engine:
        await shop.create("return 1")
        await shop.finished()
        spec = RunSpec("r", "t", "t/x", "W", {"source": "r"}, {}, "d")
        ref = await engine.create(spec)
        assert (ref.number, ref.created) == (1, False)
        first, second = await asyncio.gather(*(engine.create(RunSpec("n", "t", "t/x", "", {}, {}, "d")) for _ in "ab"))
        assert (first.number, first.created, second.number, second.created) == (2, True, 2, False)


@pytest.mark.parametrize("change", [{"id": "x" * 600}, {"params": {"a": object()}}, {"params": {"a": "x" * 2_000_000}}])
async def test_what_cannot_be_kept_is_refused(shop: Workshop, change: dict[str, Any]) -> None:
    given: dict[str, Any] = {"id": "r", "params": {}} | change
    async with shop.running() as engine:
        with pytest.raises(Invalid):
            await engine.create(RunSpec(given["id"], "t", "t/x", "", {}, given["params"], "d"))
        with pytest.raises(NotFound):
            await engine.send_event("none", "go", 1)


async def test_an_executor_that_raises_costs_an_attempt_only(shop: Workshop) -> None:
    class Broken(FakeExecutor):
        async def execute(self, attempt: Attempt, prepared: Prepared, output: Output) -> Outcome:
            raise RuntimeError("oops")

    async with shop.running(executor=Broken()):
        await shop.create('await step.run("s", "ok")')
        state = await shop.finished()
        assert state.state == "failed" and "oops" in str(state.reason)


# -- what a stranger's code may make the server keep ------------------------------------------------------------------


async def test_a_journal_has_an_end(shop: Workshop) -> None:
    async with shop.running(limits=Limits(journal_bytes=100_000)):
        await shop.create('for n in range(50):\n    await step.do(f"s{n}", give, "x" * 10_000)')
        run = await shop.finished()
        assert run.error is not None and run.error["type"] == "JournalTooLarge" and len(run.steps) < 12


async def test_what_code_prints_has_an_end(shop: Workshop) -> None:
    logs = Log()
    async with shop.running(limits=Limits(printed_bytes=100), logs=logs):
        await shop.create('for n in range(50):\n    print("x" * 30)')
        await shop.finished()
    assert len(logs.data) == 100 and len(logs.notes) == 1


class SlowLog(Log):
    """Keeps what it was given when the test says so."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = asyncio.Event()
        self.may_end = asyncio.Event()

    async def kept(self) -> None:
        self.asked.set()
        await self.may_end.wait()


@pytest.mark.parametrize("outcome", [passed(), failed()])
async def test_a_step_ends_in_the_journal_only_when_its_log_is_kept(shop: Workshop, outcome: Outcome) -> None:
    log = SlowLog()
    async with shop.running(executor=FakeExecutor(s=outcome), logs=log) as engine:
        await shop.create('await step.run("s", "c", check=False)')
        await log.asked.wait()
        assert [entry.type for entry in await engine.journal("r")] == ["created", "asked", "started"]
        log.may_end.set()
        await shop.finished()
        assert [entry.type for entry in await engine.journal("r")][3] == "done"
