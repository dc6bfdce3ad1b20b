"""What undo functions see, when they run and when not, in the isolate."""

import pytest

from stepwell.authoring.rehearsal import Rehearsal, bare, traced

HEAD = """
import asyncio
from asyncio import gather
from stepwell import *

log = print
def give(value): return value
def undo(value): log("undo", value)
def bad(value): raise ValueError(f"cannot undo {value}")

class Ship(Pipeline):
    async def run(self, event, step):
"""


def play(body: str, *actions: tuple[object, ...]) -> Rehearsal:
    """Play to the end, then check that a replay takes the same way."""
    run = Rehearsal({"pipeline.py": HEAD + body}, actions=list(actions))
    assert run.play()[0] == "end"
    assert traced(run.replay(bare(run.journal))) == traced(run.commands)
    assert run.replay(run.journal) == [run.last]
    return run


def undone(run: Rehearsal) -> list[str]:
    """Name the steps that were undone, in order."""
    return [entry[3] for entry in run.journal if entry[2] == "done" and entry[3].startswith("undo ")]


def test_passed_steps_are_undone_in_reverse_order_of_their_completion() -> None:
    run = play("""
        async def later(value): await asyncio.sleep(0.05); return value
        await gather(step.do("slow", later, 1, undo=undo), step.do("quick", give, 2, undo=undo))
        await step.do("plain", give, 3)
        await step.do("last", give, 4, undo=undo)
        raise RuntimeError("no")
""")
    assert run.last[2]["message"] == "no"
    assert undone(run) == ["undo last#1", "undo slow#1", "undo quick#1"]
    assert run.printed("undo slow#1") == "undo 1\n"


def test_a_run_that_passes_undoes_nothing() -> None:
    run = play("""
        try: await step.do("a", give, 1, undo=undo); raise RuntimeError("caught")
        except RuntimeError: return "passed"
""")
    assert (run.last[1], undone(run)) == ("passed", [])


def test_an_undo_gets_the_journaled_result_whatever_the_code_made_of_it() -> None:
    run = play("""
        got = await step.do("a", give, (1, 2), undo=undo)
        got.clear()
        raise RuntimeError("no")
""")
    assert run.printed("undo a#1") == "undo [1, 2]\n"


def test_a_failing_undo_is_shown_and_the_others_still_run() -> None:
    run = play("""
        await step.do("a", give, 1, undo=undo)
        await step.do("b", give, 2, undo=Undo(bad, retries=Retry(2, delay=60)))
        await step.do("c", give, 3, undo=undo)
        raise RuntimeError("no")
""")
    assert undone(run) == ["undo c#1", "undo b#1", "undo a#1"]
    assert run.last[2]["message"] == "no\nNot everything was undone: step 'undo b' failed: ValueError: cannot undo 2"
    assert [command[4] for command in run.commands if command[0] == "retry"] == [1, 2]


def test_a_step_that_passed_while_the_code_gave_it_up_is_undone_too() -> None:
    # Both results are on their way when the code sees the first of them: the second is an entry, so it happened.
    run = play("""
        async def fail(): raise ValueError("x")
        first, second = step.do("first", fail, retries=0), step.do("second", asyncio.sleep, 0, "kept", undo=undo)
        await gather(first, second)
""")
    done = [entry[3] for entry in run.journal if entry[2] == "done"]
    assert done == ["first#1", "second#1", "undo second#1"]


def test_a_plain_cancellation_undoes_nothing_and_one_with_undo_all() -> None:
    body = """
        await step.do("a", give, 1, undo=undo)
        try: await step.approval("ok?")
        finally: await step.do("b", give, 2, undo=undo)
"""
    assert undone(play(body, ("cancel",))) == []
    run = play(body, ("cancel", "undo"))
    assert (run.last, undone(run)) == (["end", "cancelled", None], ["undo b#1", "undo a#1"])


def test_code_that_outlives_its_grace_is_left_where_it_stands() -> None:
    run = play(
        """
        await step.do("a", give, 1, undo=undo)
        try: await step.approval("ok?")
        finally:
            try: await gather(step.approval("hangs"), asyncio.sleep(90))
            finally: print("never reached")
""",
        ("cancel", "undo"),
        ("overdue",),
    )
    assert (run.last[1], undone(run), run.printed()) == ("cancelled", ["undo a#1"], "")
    assert run.last[2]["message"].startswith("The code did not end within 30 s")


def test_a_run_that_would_wait_for_ever_is_undone() -> None:
    run = play("""
        await step.do("a", give, 1, undo=undo)
        await asyncio.Event().wait()
""")
    assert (run.last[2]["type"], undone(run)) == ("Stuck", ["undo a#1"])


@pytest.mark.parametrize("undo", ["3", "Undo(None)", "Undo(undo, retries='x')"])
def test_what_cannot_undo_is_refused_where_it_is_written(undo: str) -> None:
    run = Rehearsal({"pipeline.py": HEAD + f"        await step.do('a', give, 1, undo={undo})\n"})
    error = run.play()[2]
    assert error["type"] == "TypeError" and ".stepwell/pipeline.py" in error["traceback"]
