# ruff: noqa: E501 - pipelines are written as their authors would
"""What steps do in an isolate: retries, timeouts, prints, waits, cancellation, divergence."""

import time
from pathlib import Path

import pytest

from stepwell.authoring.rehearsal import Command, Entry, Isolate, Rehearsal, bare

HEAD = """
import asyncio, contextlib, os, time
from asyncio import gather
from stepwell import *

class Ship(Pipeline):
    defaults = {"timeout": "20 minutes"}
    async def run(self, event, step):
"""
YES = {"ok": True, "value": {"by": "ada", "at": 5.0, "comment": "go", "fields": {"v": "1"}}}
NO = {"ok": False, "error": {"type": "Rejected", "message": "ada said no", "traceback": ""}}


def rehearse(body: str, *actions: tuple[object, ...], **settings: object) -> Rehearsal:
    files = {"pipeline.py": HEAD + body}
    return Rehearsal(files, actions=list(actions), **settings)  # type: ignore[arg-type]


def commands(run: Rehearsal, kind: str) -> list[list[object]]:
    return [command for command in run.commands if command[0] == kind]


def test_a_failing_function_is_retried_with_growing_delays_and_then_fails() -> None:
    run = rehearse("""
        async def fail(): raise ValueError("no luck")
        await step.do("x", fail, retries=Retry(3, delay="2 seconds", cap=5))
""")
    error = run.play()[2]
    assert error["message"] == "step 'x' failed: ValueError: no luck"
    assert [command[6] for command in commands(run, "retry")] == [2, 4, 5]
    assert commands(run, "do")[0][4:6] == [4, False]


def test_a_retry_goes_on_in_the_next_turn_with_the_next_attempt() -> None:
    run = rehearse("""
        def fail(): raise ValueError("no luck")
        await step.do("x", fail, retries=2)
""")
    while not run.play(kill_at=len(run.journal) + 1):
        pass
    assert [command[5] for command in commands(run, "retry")] == [1, 2] or [
        c[4] for c in run.journal if c[2] == "retry"
    ] == [1, 2]
    assert run.last[:2] == ["end", "failed"]


def test_a_function_decides_about_retries_with_the_attempt_and_the_error() -> None:
    run = rehearse("""
        def fail(): raise OSError("no luck")
        def decide(attempt, error):
            print(attempt, error)
            return attempt * 60 if attempt < 3 else None
        await step.do("x", fail, retries=decide)
""")
    error = run.play()[2]
    assert error["message"] == "step 'x' failed: OSError: no luck"
    assert [command[4:7:2] for command in commands(run, "retry")] == [[1, 60], [2, 120]]
    assert run.printed("x#1") == "1 no luck\n2 no luck\n3 no luck\n"
    assert run.replay(run.journal) == [run.last]


def test_a_function_that_cannot_decide_fails_the_step_and_says_both() -> None:
    run = rehearse("""
        async def fail(): raise OSError("no luck")
        await step.do("x", fail, retries=lambda attempt, error: 1 / 0)
""")
    assert run.play()[2]["message"] == (
        "step 'x' failed: ZeroDivisionError: retries= could not decide about OSError: no luck; "
        "it failed itself: division by zero"
    )


def test_a_random_delay_is_drawn_once() -> None:
    run = rehearse("""
        async def fail(): raise OSError("no luck")
        await step.do("x", fail, retries=Retry(1, delay=100, jitter=1))
""")
    while not run.play(kill_at=len(run.journal) + 1):
        pass
    assert len(commands(run, "retry")) == 1


@pytest.mark.parametrize(
    "error", ["TypeError", "NameError", "AttributeError", "ModuleNotFoundError", "AssertionError", "FinalError"]
)
def test_mistakes_in_the_code_are_not_retried(error: str) -> None:
    run = rehearse(f"""
        def fail(): raise {error}("wrong")
        await step.do("x", fail)
""")
    assert run.play()[2]["message"] == f"step 'x' failed: {error}: wrong"
    assert commands(run, "retry") == []


def test_a_timeout_cancels_async_functions_and_abandons_threads() -> None:
    run = rehearse("""
        async def slow():
            try: await asyncio.sleep(60)
            finally: print("cancelled")
        given_up = []
        def thread():
            while not given_up: time.sleep(0.01)
            return "late"
        for name, function in ("a", slow), ("t", thread):
            try: await step.do(name, function, timeout=0.02, retries=0)
            except StepFailed as error: print(error)
        given_up.append(True)
        await step.do("later", asyncio.sleep, 0.15)
        return "end"
""")
    assert run.play() == ["end", "passed", "end"]
    assert run.printed() == (
        "step 'a' failed: took longer than its timeout of 0.02 s\nstep 't' failed: took longer than its timeout of 0.02 s\n"
    )
    assert run.printed("a#1") == "cancelled\n"
    assert [command[1] for command in commands(run, "do")] == ["a#1", "t#1", "later#1"]


PRINTS = """
        def say(text): print(text, end="")
        print("before")
        await gather(step.do("a", say, "A\\nB"), step.do("b", say, "C"))
        print("between")
        await step.approval("ok?")
        print("after")
"""


def test_prints_carry_the_step_that_made_them() -> None:
    run = rehearse(PRINTS, ("decide", YES))
    run.play()
    assert [run.printed(key) for key in ("", "a#1", "b#1")] == ["before\nbetween\nafter\n", "A\nB\n", "C\n"]


def test_prints_of_run_are_not_repeated_by_a_replay() -> None:
    run = rehearse(PRINTS, ("decide", YES))
    while not run.play(kill_at=len(run.journal) + 1):
        pass
    assert run.printed() == "before\nbetween\nafter\n"


def test_prints_of_a_step_are_bounded() -> None:
    run = rehearse("""
        def say():
            for _ in range(3000): print("x" * 1000)
        await step.do("a", say)
""")
    assert run.play()[1] == "passed"
    assert len(run.printed("a#1")) < 1_100_000
    assert run.printed("a#1").endswith("the rest is cut.]\n")


class Hearing(Rehearsal):
    """Makes a file as soon as a step is told to be running."""

    heard: Path

    def _apply(self, line: list[Command]) -> list[Entry]:
        if any(command[0] == "running" for command in line):
            self.heard.touch()
        return super()._apply(line)


def test_a_long_function_is_announced_even_when_it_blocks_the_loop(tmp_path: Path) -> None:
    run = Hearing({"pipeline.py": HEAD + f"""
        async def block():
            while not os.path.exists({str(tmp_path / "heard")!r}): time.sleep(0.01)
        await step.do("a", block)
"""}, stall_seconds=60)  # fmt: skip
    run.heard = tmp_path / "heard"
    assert run.play()[1] == "passed"
    assert [command[1:4] for command in commands(run, "running")] == [["a#1", "a", 1]]


def test_approvals_give_who_and_what_or_raise() -> None:
    body = """
        try:
            a = await step.approval("Ship?", environment="production", reviewers=["ada"], timeout="7 days")
            return [a.by, a.comment, a.fields]
        except Rejected as error: return ["no", str(error)]
        except ApprovalTimeout as error: return ["late", str(error)]
"""
    assert rehearse(body, ("decide", YES)).play()[2] == ["ada", "go", {"v": "1"}]
    assert rehearse(body, ("decide", NO)).play()[2] == ["no", "step 'Ship?' failed: ada said no"]
    assert rehearse(body).play()[2] == ["late", "step 'Ship?' failed: nobody decided in time"]


def test_a_command_carries_its_options_and_gives_a_result() -> None:
    def execute(name: str, options: object) -> dict[str, object]:
        if name == "bad":
            return {"ok": False, "error": {"type": "CommandFailed", "message": "exit code 2", "traceback": ""}}
        return {"ok": True, "value": {"exit_code": 0, "seconds": 1.5, "outputs": {"v": "3"}}}

    run = rehearse("""
        r = await step.run("ok", ["make"], secrets={"KEY": file("NAME")}, retries=2, memory="2 GB", network=["example.org"])
        try: await step.run("bad", "make")
        except StepFailed as error: return [r.outputs["v"], error.step, error.type, str(error)]
""", execute=execute)  # fmt: skip
    assert run.play()[2] == ["3", "bad", "CommandFailed", "step 'bad' failed: exit code 2"]
    assert commands(run, "ask")[0][5] == {
        "command": ["make"], "timeout": 1200.0, "secrets": {"KEY": {"file": "NAME"}}, "memory": 2 * 1024**3,
        "retries": {"max": 2, "delay": 10.0, "backoff": "exponential", "cap": 3600.0}, "network": ["example.org"],
    }  # fmt: skip


def test_steps_in_flight_are_cancelled_when_run_raises() -> None:
    run = rehearse("""
        async def slow(): await asyncio.sleep(60)
        slow_one, wait = step.do("slow", slow), step.wait_for_event("w", type="go")
        other = asyncio.create_task(wait)
        await step.do("quick", asyncio.sleep, 0)
        raise RuntimeError("enough")
""")
    assert run.play()[2]["message"] == "enough"
    assert [command[1] for command in commands(run, "drop")] == ["w#1", "slow#1"]


def test_cancel_is_raised_once_and_finally_may_await_steps() -> None:
    body = """
        try: await step.approval("ok?")
        finally: print("finally", await step.do("clean", asyncio.sleep, 0, "done"))
"""
    run = rehearse(body, ("cancel",))
    while not run.play(kill_at=len(run.journal) + 1):
        pass
    assert run.last == ["end", "cancelled", None]
    assert run.printed() == "finally done\n"


BRANCHES = """
        async def branch(name, rests):
            try: await step.approval(name)
            finally:
                for n in range(rests): await step.sleep(f"{name} rests", 10)
                print(name, await step.do(f"clean {name}", asyncio.sleep, 0, "done"))
        await gather(branch("short", 0), branch("long", 3))
"""


def test_every_branch_of_a_cancelled_gather_cleans_up_to_its_end() -> None:
    """gather itself ends with the first that does."""
    run = rehearse(BRANCHES, ("cancel",))
    assert run.play() == ["end", "cancelled", None]
    assert run.printed() == "short done\nlong done\n"
    killed = rehearse(BRANCHES, ("cancel",))
    while not killed.play(kill_at=len(killed.journal) + 1):
        pass
    assert killed.last == run.last
    assert sorted(entry[3] for entry in killed.journal) == sorted(entry[3] for entry in run.journal)
    assert run.replay(run.journal)[-1] == run.last


def test_a_run_that_began_under_the_first_rules_ends_by_them() -> None:
    run = rehearse(BRANCHES, ("cancel",), rules=1)
    assert run.play() == ["end", "cancelled", None]
    assert run.printed() == "short done\n"
    assert run.replay(run.journal)[-1] == run.last


def test_a_wait_with_a_timeout_of_0_takes_what_has_come_and_no_more() -> None:
    run = rehearse("""
        await step.sleep("while they come", 1)
        got = []
        try:
            while True: got.append(await step.wait_for_event("more", type="more", timeout=0))
        except EventTimeout: return got
""", ("event", "more", 1), ("event", "more", 2))  # fmt: skip
    assert run.play() == ["end", "passed", [1, 2]]
    assert run.replay(run.journal)[-1] == run.last


def test_a_task_that_nobody_cancelled_is_cancelled_when_a_cancelled_run_is_over() -> None:
    run = rehearse("""
        async def aside():
            try: await step.wait_for_event("w", type="go")
            finally: print("aside", await step.do("clean", asyncio.sleep, 0, "done"))
        task = asyncio.create_task(aside())
        await step.approval("ok?")
""", ("cancel",))  # fmt: skip
    assert run.play() == ["end", "cancelled", None]
    assert run.printed() == "aside done\n"


def test_a_finally_around_a_wait_runs_once_however_often_the_process_dies() -> None:
    run = rehearse("""
        try: await step.approval("ok?")
        finally: print("once")
        await step.do("after", asyncio.sleep, 0)
""", ("decide", YES))  # fmt: skip
    while not run.play(kill_at=len(run.journal) + 1):
        pass
    assert run.last[1] == "passed"
    assert run.printed() == "once\n"


@pytest.mark.parametrize(
    ("old", "new", "key"),
    [
        ("step.run('a', 'make')", "step.run('a', 'make all')", "a#1"),
        ("step.run('a', 'make')", "step.sleep('a', 1)", "a#1"),
        ("step.do('a', max, 1, 2)", "step.do('a', max, 1, 3)", "a#1"),
        ("step.do('a', max, 1, 2)", "step.do('b', max, 1, 2)", "a#1"),
        ("asyncio.sleep(5)", "asyncio.sleep(0)", "~1"),
    ],
)
def test_other_code_under_a_journal_diverges_and_leaves_at_once(old: str, new: str, key: str) -> None:
    body = "        try: await {}; await step.approval('ok?')\n        finally: await step.do('must not', print, 1)\n"
    run = rehearse(body.format(old))
    run.play()
    run.files = {"pipeline.py": HEAD + body.format(new)}
    with Isolate(run.head(), run.journal) as isolate:
        said = isolate.read(20)
        assert said[-1][0] == "diverged"
        assert said[-1][2] == key
        assert repr(key) in said[-1][1]
        assert isolate.exit_code() == 0


def test_what_is_asked_leaves_before_a_function_that_blocks_begins() -> None:
    run = rehearse("""
        async def block():
            time.sleep(0.01)
        async def quick(): return 1
        await gather(step.run("command", "true"), step.do("quick", quick), step.do("block", block))
""")
    with Isolate(run.head(), run.journal) as isolate:
        assert [said[:2] for said in isolate.read(20)] == [["ask", "command#1"]]
        said = [told[:2] for told in isolate.read(20)]
        while ["do", "block#1"] not in said:  # what lasts longer is announced before, here where the machine is slow
            said += [told[:2] for told in isolate.read(20)]
        assert [told for told in said if told[0] != "running"] == [["do", "quick#1"], ["do", "block#1"]]


def test_the_isolate_vanishes_when_its_socket_closes_and_unwinds_nothing() -> None:
    run = rehearse("        try: await step.do('x', time.sleep, 60)\n        finally: open('/nonexistent/x')\n")
    began = time.monotonic()
    with Isolate(run.head(), run.journal) as isolate:
        assert isolate.read(20)[0][0] == "running"
        assert isolate.exit_code() == 0
    assert time.monotonic() - began < 50


def test_random_time_and_uuid_are_the_same_on_replay() -> None:
    body = "        print(step.random(), step.uuid(), step.now())\n        await step.sleep('z', 60)\n        print(step.random(), step.now())\n"
    run = rehearse(body)
    run.play()
    again = [command for command in run.replay(bare(run.journal)) if command[0] == "log"]
    assert "".join(str(command[2]) for command in again) == run.printed()


def test_twenty_thousand_bytes_more_than_one_read_arrive_whole() -> None:
    run = rehearse("        return len(await step.do('x', 'é'.__mul__, 500_000))\n")
    assert run.play() == ["end", "passed", 500_000]
    assert run.replay(run.journal)[-1] == ["end", "passed", 500_000]


def test_a_task_group_that_fails_names_the_steps_that_failed() -> None:
    run = rehearse("""
        def fail(text): raise ValueError(text)
        async with asyncio.TaskGroup() as group:
            group.create_task(step.do("a", fail, "one", retries=0))
            await step.do("b", asyncio.sleep, 5)
""")
    error = run.play()[2]
    assert (error["type"], error["message"]) == ("ExceptionGroup", "step 'a' failed: ValueError: one")


def test_callable_objects_with_an_async_call_are_awaited() -> None:
    run = rehearse("""
        class Ask:
            async def __call__(self, x): return x
        return await step.do("a", Ask(), 3)
""")
    assert run.play() == ["end", "passed", 3]
