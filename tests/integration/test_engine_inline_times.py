"""When an inline step began: it is journaled when it is over, with the seconds that it took."""

import socket
from contextlib import closing
from typing import Any

from engines import Workshop

from stepwell.ci.steps import needs_of
from stepwell.engine.clock import TestClock
from stepwell.engine.fold import fold
from stepwell.engine.rebuild import Rebuild
from stepwell.engine.state import RunState
from stepwell.store.derived_sqlite import SqliteTables


class Puppet:
    """An isolate that says what the test has it say, when the test says so."""

    def __init__(self) -> None:
        self.pid = 0
        self.sock, self._theirs = socket.socketpair()

    async def open(self, spec: object) -> Any:
        return self

    def says(self, line: str) -> None:
        self._theirs.send(f"[{line}]\n".encode())

    def kill(self) -> None:
        self._theirs.close()

    async def ended(self) -> str:
        return "exit code 0"


def kept(shop: Workshop) -> RunState:
    """The state that the journal on disk tells, which is also what the tables beside it say."""
    journal = shop.journal()
    journal.open()
    with closing(journal):
        found = Rebuild(SqliteTables(journal), mend=False).run()
        assert (found.wrong, found.damaged) == (0, [])
        return fold(journal.entries("r"))


async def test_a_slow_inline_step_does_not_follow_a_quick_one_beside_it(shop: Workshop) -> None:
    clock, isolate = TestClock(), Puppet()
    begun = clock.now()
    async with shop.running(clock=clock, isolates=isolate):
        await shop.create("never played")
        clock.advance(0.5)
        isolate.says('["do","quick#1","quick","f",1,true,1,0.5]')
        await shop.until(lambda state: "quick#1" in state.steps)
        clock.advance(3.5)
        isolate.says('["do","slow#1","slow","g",1,true,2,4.0]')
        await shop.until(lambda state: "slow#1" in state.steps)
        clock.advance(1)
        isolate.says('["do","after#1","after","h",1,true,3,0.5],["end","passed",null]')
        await shop.finished()
    state = kept(shop)
    slow = state.steps["slow#1"]
    times = {slow.asked_at, slow.started_at, slow.attempts[0].started_at, state.started_at}
    assert (times, slow.ended_at) == ({begun}, begun + 4)
    assert needs_of(state.steps.values()) == {"quick#1": (), "slow#1": (), "after#1": ("quick#1", "slow#1")}


async def test_an_inline_step_that_fails_first_began_before_it_failed(shop: Workshop) -> None:
    clock, isolate = TestClock(), Puppet()
    begun = clock.now()
    async with shop.running(clock=clock, isolates=isolate):
        await shop.create("never played")
        clock.advance(4)
        error = '{"type":"ValueError","message":"no","traceback":""}'
        isolate.says(f'["retry","slow#1","slow","f",1,{error},10,3.0]')
        await shop.until(lambda state: "slow#1" in state.steps)
        clock.advance(13)
        isolate.says('["do","slow#1","slow","f",2,true,2,2.0],["end","passed",null]')
        await shop.finished()
    state = kept(shop)
    slow = state.steps["slow#1"]
    assert [(one.started_at - begun, one.ended_at) for one in slow.attempts] == [(1, begun + 4), (15, begun + 17)]
    assert (slow.asked_at, slow.started_at, state.started_at) == (begun + 1, begun + 1, begun + 1)


async def test_the_code_of_a_run_tells_how_long_an_attempt_took_that_failed(shop: Workshop) -> None:
    async with shop.running():
        await shop.create_source("""
def once(failed=[]):
    if not failed:
        failed.append(True)
        raise ValueError("the first time")
class W(Pipeline):
    async def run(self, event, step):
        await step.do("d", once, retries=Retry(1, delay=0))
""")
        await shop.finished()
    journal = shop.journal()
    journal.open()
    with closing(journal):
        (data,) = [entry.data for entry in journal.entries("r") if entry.type == "retry"]
    assert 0 < data["seconds"] < 20


async def test_of_many_inline_steps_asked_for_together_none_follows_another(shop: Workshop) -> None:
    async with shop.running():
        await shop.create_source("""
from asyncio import gather
async def work(n): return n
class W(Pipeline):
    async def run(self, event, step):
        await step.do("first", work, 0)
        await gather(*(step.do(f"one of {n}", work, n) for n in range(200)))
        await step.do("last", work, 0)
""")
        await shop.finished()
    needs = needs_of(kept(shop).steps.values())
    together = [key for key in needs if key.startswith("one of")]
    assert [needs.pop(key) for key in together] == [("first#1",)] * 200
    assert needs == {"first#1": (), "last#1": tuple(together)}
