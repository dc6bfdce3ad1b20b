"""Random lives of runs, against a model of what is promised.

Programs are invented and played by real isolates, the clock is moved and set, hosts crash, two hosts live on one
journal, the disk refuses; at the end somebody answers all that is waited for, and every run must come to its end.

A few lives, the same ones each time, are always played; `STEPWELL_SOAK=1` plays hundreds of new ones.
"""

import asyncio
import json
import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextlib import closing
from itertools import pairwise
from math import inf
from pathlib import Path
from typing import Any

import pytest
from crashes import PROGRAMS, at_rest, judge
from hosts import Host, Reader, outcome
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from promises import ENDED, MOVES, STEP_MOVES, Promises

from stepwell.engine.clock import TestClock
from stepwell.engine.entries import Entry
from stepwell.engine.fold import apply
from stepwell.engine.local import ProcessIsolates
from stepwell.engine.order import Order, Rate
from stepwell.engine.rebuild import Rebuild
from stepwell.engine.seams import Code
from stepwell.engine.specs import RunSpec
from stepwell.engine.state import RunState
from stepwell.errors import Conflict, TryLater
from stepwell.store.derived_sqlite import SqliteTables

SOAK = bool(os.environ.get("STEPWELL_SOAK"))
TYPES = ("go", "stop")
RUNS = ("a", "b", "c", "d")
RATE = Rate("k", 1, 60)
MORTAL = ("c", "d")  # may be cancelled; the others live until their code is over


def _operations() -> st.SearchStrategy[list[Any]]:
    leaf = st.one_of(
        st.just(["do"]),
        st.tuples(st.just("flaky"), st.integers(1, 2)).map(list),
        st.tuples(st.just("run"), st.integers(0, 1)).map(list),
        st.tuples(st.just("sleep"), st.sampled_from([1, 60, 3600])).map(list),
        st.tuples(st.just("event"), st.sampled_from(TYPES), st.sampled_from([None, 60, 3600])).map(list),
        st.tuples(st.just("approval"), st.sampled_from([None, 3600])).map(list),
    )

    def nested(inner: st.SearchStrategy[list[Any]]) -> st.SearchStrategy[list[Any]]:
        some = st.lists(inner, min_size=1, max_size=2)
        return st.one_of(
            st.tuples(st.sampled_from(["both", "race", "finally"]), some, some).map(list),
            st.tuples(st.just("limit"), st.sampled_from([30, 600]), some).map(list),
        )

    return st.lists(st.recursive(leaf, nested, max_leaves=6), min_size=2, max_size=5)


class Life(RuleBasedStateMachine):
    """One journal and everything that happens to it."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        asyncio.set_event_loop(self.loop)
        self.path = Path(tempfile.mkdtemp(prefix="stepwell-model-"))
        self.isolates = ProcessIsolates()
        self.clock = TestClock()
        self.runs: dict[str, Promises] = {}
        self.sent = 0
        self.was_set = False  # the clock, by whoever
        files = {"pipeline.py": (PROGRAMS / "interpreted" / "pipeline.py").read_text()}
        files["effects.py"] = (PROGRAMS / "effects.py").read_text()
        self.code = Code("interpreted", files, "pipeline.py:Interpreted")
        self.hosts: list[Host] = []
        self.taken_over = False
        self.host = self.start()

    async def load(self, metadata: object) -> Code:
        return self.code

    # hosts

    def start(self) -> Host:
        host = Host(self.path, self.isolates, self.load, self.clock)
        self.loop.run_until_complete(host.engine.start())
        self.hosts.append(host)
        return host

    def stop(self, host: Host) -> None:
        """Stop a host the way a crash does: nothing that it still says is written."""
        host.journal.refusals = 1_000_000
        self.loop.run_until_complete(host.engine.stop())
        self.hosts.remove(host)

    def settle(self) -> None:
        """Let everything happen that needs nobody outside."""

        async def rest() -> None:
            for _ in range(40_000):
                if all(at_rest(host.engine, host.executor) for host in self.hosts):
                    if (self.clock.next_call() or inf) > self.clock.now():
                        return
                    self.clock.advance(0)  # a time that had passed when it was asked for
                await asyncio.sleep(0.0003)
            raise AssertionError(f"no rest: {[list(host.engine._memory) for host in self.hosts]}")

        self.loop.run_until_complete(rest())

    def pass_time(self, seconds: float) -> None:
        """Let time pass from one call that is due to the next; whoever is called has all the time it needs."""
        self.settle()
        end = self.clock.elapsed() + seconds
        while (left := end - self.clock.elapsed()) > 0:
            next_call = self.clock.next_call()
            hop = left if next_call is None else min(left, max(0.0, next_call - self.clock.now()))
            self.move(self.clock.advance, hop)

    def move(self, move: Callable[[float], None], seconds: float) -> None:
        async def moved() -> None:
            move(seconds)

        self.loop.run_until_complete(moved())
        self.settle()

    def ask(self, work: Awaitable[Any]) -> bool:
        """Have a host do something; false when it refused, for a reason that it may have."""
        try:
            self.loop.run_until_complete(asyncio.ensure_future(work, loop=self.loop))
        except (TryLater, Conflict):
            return False
        return True

    def state(self, run: str) -> RunState:
        state = self.loop.run_until_complete(self.host.engine.get(run))
        assert state is not None
        return state

    # rules

    @initialize(programs=st.tuples(_operations(), _operations(), _operations()), rated=st.sets(st.sampled_from(RUNS)))
    def begin(self, programs: tuple[list[Any], ...], rated: set[str]) -> None:
        for run, program in zip(RUNS, programs, strict=False):
            self.create(run, program, Order(rate=RATE) if run in rated else None)

    @rule(run=st.sampled_from(RUNS), program=_operations(), rated=st.booleans())
    def create_again_or_late(self, run: str, program: list[Any], rated: bool) -> None:
        self.create(run, program, Order(rate=RATE) if rated else None)

    def create(self, run: str, program: list[Any], order: Order | None = None) -> None:
        payload = {"effects": str(self.path / run), "program": program}
        (self.path / run).touch()
        spec = RunSpec(run, "t", "t/x", "", {}, {"kind": "manual", "payload": payload}, self.code.digest, order=order)
        promises = self.runs.setdefault(run, Promises(run))
        promises.created |= self.ask(self.host.engine.create(spec))
        self.settle()

    @rule(data=st.data(), type=st.sampled_from(TYPES), again=st.booleans())
    def event(self, data: st.DataObject, type: str, again: bool) -> None:
        run = data.draw(st.sampled_from(self.created()))
        promises = self.runs[run]
        if again and promises.events:
            id = data.draw(st.sampled_from(sorted(promises.events)))
            self.ask(self.host.engine.send_event(run, type, "again", id=id))
        else:
            self.send(run, type)
        self.settle()

    def send(self, run: str, type: str) -> None:
        self.sent += 1
        id = f"event {self.sent}"
        if self.ask(self.host.engine.send_event(run, type, self.sent, id=id)):
            self.runs[run].events[id] = (type, self.sent)
        else:
            self.runs[run].refused.add(id)

    def created(self) -> list[str]:
        return [run for run, promises in self.runs.items() if promises.created]

    def asking(self) -> list[tuple[str, str]]:
        return [(run, key) for run in self.created() for key in self.state(run).approvals]

    @rule(data=st.data(), approve=st.booleans())
    @precondition(lambda self: self.asking())
    def decide(self, data: st.DataObject, approve: bool) -> None:
        self.answer(*data.draw(st.sampled_from(self.asking())), approve)
        self.settle()

    def answer(self, run: str, key: str, approve: bool) -> None:
        decision = {"by": "ann", "approve": approve, "comment": "", "fields": {}}
        if self.ask(self.host.engine.decide(run, key, decision, judge)):
            self.runs[run].decided[key] += 1

    def held(self) -> list[tuple[Host, tuple[str, str]]]:
        """Attempts that go on, on whatever host; one of a host that lost its run is a late writer."""
        return [(host, place) for host in self.hosts for place in host.executor.held]

    @rule(data=st.data(), how=st.sampled_from(["passes", "fails", "is lost"]))
    @precondition(lambda self: self.held())
    def attempt_ends(self, data: st.DataObject, how: str) -> None:
        held = self.held()
        host, place = held[data.draw(st.integers(0, len(held) - 1))]
        host.executor.held[place].set_result(outcome(how))
        if how == "fails":
            self.runs[place[0]].failed.add(place[1])
        self.settle()

    @rule(data=st.data(), what=st.sampled_from(["pause", "resume"]))
    def hold(self, data: st.DataObject, what: str) -> None:
        self.ask(getattr(self.host.engine, what)(data.draw(st.sampled_from(self.created())), "ann"))
        self.settle()

    @rule(run=st.sampled_from(MORTAL), what=st.sampled_from(["cancel", "terminate"]))
    @precondition(lambda self: not any(self.runs[run].cancelled for run in MORTAL if run in self.runs))
    def cut_off(self, run: str, what: str) -> None:
        if run in self.created() and self.ask(getattr(self.host.engine, what)(run, "ann")):
            self.runs[run].cancelled = True
        self.settle()

    @rule(seconds=st.sampled_from([1.0, 30.0, 60.0, 3600.0]))
    def time_passes(self, seconds: float) -> None:
        self.pass_time(seconds)

    @rule(seconds=st.sampled_from([-86_400.0, -60.0, 60.0, 86_400.0]))
    def clock_is_set(self, seconds: float) -> None:
        self.was_set = True
        self.move(self.clock.jump, seconds)

    @rule()
    def host_crashes(self) -> None:
        self.stop(self.host)
        self.host = self.hosts[-1] if self.hosts else self.start()
        self.settle()

    @rule()
    @precondition(lambda self: len(self.hosts) < 2)
    def second_host_takes_over(self) -> None:
        """The first one lives on and does not know."""
        self.taken_over = True
        self.host = self.start()
        self.settle()

    @rule()
    @precondition(lambda self: len(self.hosts) == 2)
    def first_host_is_asked_again(self) -> None:
        self.host = next(host for host in self.hosts if host is not self.host)

    @rule(times=st.integers(1, 3))
    def disk_is_full(self, times: int) -> None:
        self.host.journal.refusals = times

    # what must hold

    @invariant()
    def promises_are_kept(self) -> None:
        journal = Reader(self.path / "s.db")
        journal.open()
        with closing(journal):
            report = Rebuild(SqliteTables(journal), mend=False).run()
            assert (report.told, report.damaged) == ([], [])
            for run, promises in self.runs.items():
                promises.check(journal.entries(run), self.effects(run))
            if not self.was_set:
                self.check_rate([journal.entries(run) for run in self.runs])

    def check_rate(self, journals: Sequence[Sequence[Entry]]) -> None:
        of_rate = (journal for journal in journals if journal and journal[0].data.get("order"))
        begun = sorted(entry.at for journal in of_rate for entry in journal if entry.type == "admitted")
        assert all(after - before >= RATE.seconds for before, after in pairwise(begun)), begun

    def effects(self, run: str) -> Counter[str]:
        lines = (self.path / run).read_text().splitlines()
        commands = self.path / "commands"
        if commands.exists():
            lines += [
                key for of, key in (line.split(" ", 1) for line in commands.read_text().splitlines()) if of == run
            ]
        return Counter(lines)

    def teardown(self) -> None:
        try:
            self.finish()
        finally:
            for host in list(self.hosts):
                self.stop(host)
            self.loop.run_until_complete(self.isolates.close())
            self.loop.close()
            shutil.rmtree(self.path)

    def finish(self) -> None:
        """Answer everything: each run that was acknowledged ends, and says what its journal says.

        Only a host that was alone from its start on owes that; otherwise one starts once more.
        """
        if self.taken_over or not self.hosts:
            for host in list(self.hosts):
                self.stop(host)
            self.host = self.start()
        self.host.journal.refusals = 0
        for run, promises in self.runs.items():
            if promises.created:
                self.bring_to_its_end(run)
        self.promises_are_kept()
        for run, promises in self.runs.items():
            if promises.created:
                self.check_end(run, promises)

    def bring_to_its_end(self, run: str) -> None:
        for turn in range(40):
            self.settle()
            state = self.state(run)
            if state.finished:
                return
            if state.paused:
                assert self.ask(self.host.engine.resume(run, "ann"))
                continue
            for place, ends in list(self.host.executor.held.items()):
                if place[0] == run:
                    ends.set_result(outcome("passes"))
            for key in list(state.approvals):
                self.answer(run, key, True)
            waits = [step for step in state.steps.values() if step.kind == "event" and step.state == "waiting"]
            for type in {step.options["type"] for step in waits}:
                self.send(run, type)
            self.settle()
            if turn < 20:
                self.pass_time(3600.0)
            else:  # the clock was set back
                self.was_set = True
                self.move(self.clock.jump, 86_400.0)
        raise AssertionError(f"{run} does not end: {self.state(run)}")

    def check_end(self, run: str, promises: Promises) -> None:
        state = self.state(run)
        assert state.state in ({"passed", "cancelled"} if promises.cancelled else {"passed"}), (
            state.state,
            state.error,
        )
        if state.state == "passed":
            promises.check_result(state.result)
        replayed = RunState(run)
        for entry in self.loop.run_until_complete(self.host.engine.journal(run)):
            before, steps = replayed.state, {key: step.state for key, step in replayed.steps.items()}
            apply(replayed, entry)
            assert replayed.state in {before} | ENDED | MOVES[before], f"{run}: {before} → {replayed.state} at {entry}"
            for key, step in replayed.steps.items():
                was = steps.get(key, step.state)
                assert step.state == was or step.state in STEP_MOVES[was], (
                    f"{run}: {key} {was} → {step.state} at {entry}"
                )
        assert json.loads(json.dumps(state.result)) == state.result


Life.TestCase.settings = settings(
    max_examples=200 if SOAK else 12, stateful_step_count=40 if SOAK else 25, derandomize=not SOAK, database=None,
    phases=[Phase.generate, *([Phase.shrink] if SOAK else [])],  # shrinking takes minutes
    deadline=None, suppress_health_check=list(HealthCheck), print_blob=True,
)  # fmt: skip
TestLife = pytest.mark.timeout(1800 if SOAK else 300)(Life.TestCase)
