"""Isolates that end badly: killed, silent, talkative; and what they may make the server keep."""

from pathlib import Path
from typing import Any

import pytest
from engines import Workshop
from logged import Log

from stepwell.engine.specs import Limits

QUICK = Limits(stall=0.3, silence=3, grace=0.3, linger=0.05, again=0.05, loading=1)


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
        (
            "raise ExceptionGroup('all', [ValueError('a'), KeyError('b')])",
            "ExceptionGroup: ValueError: a; KeyError: 'b'",
        ),
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
