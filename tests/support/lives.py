"""Where random lives of runs are lived: hosts on one journal, a clock, and everything that the disk has taken."""

import asyncio
import json
import shutil
import tempfile
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from contextlib import closing
from math import inf
from pathlib import Path
from typing import Any

from crashes import PROGRAMS, at_rest, judge
from hosts import Host, Reader, Record, outcome
from hypothesis.stateful import RuleBasedStateMachine, invariant
from invented import RATE
from promises import ENDED, MOVES, STEP_MOVES, Promises, rounds
from promises_between import check_families, check_groups, check_rate

from stepwell.engine.clock import TestClock
from stepwell.engine.entries import Entry
from stepwell.engine.fold import apply
from stepwell.engine.local import ProcessIsolates
from stepwell.engine.rebuild import Rebuild
from stepwell.engine.seams import Code
from stepwell.engine.state import RunState
from stepwell.errors import Conflict, StepwellError, TryLater
from stepwell.store.derived_sqlite import SqliteTables


def code_of(version: str) -> Code:
    """Give the code that plays invented programs; each version is another code and does the same."""
    source = (PROGRAMS / "interpreted" / "pipeline.py").read_text()
    files = {"pipeline.py": f"{source}# {version}\n", "effects.py": (PROGRAMS / "effects.py").read_text()}
    return Code(f"interpreted {version}", files, "pipeline.py:Interpreted")


class Stage(RuleBasedStateMachine):
    """One journal, the hosts that live on it, and what is owed to those outside."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        asyncio.set_event_loop(self.loop)
        self.path = Path(tempfile.mkdtemp(prefix="stepwell-model-"))
        (self.path / "commands").touch()
        self.isolates = ProcessIsolates()
        self.clock = TestClock()
        self.runs: dict[str, Promises] = {}
        self.sent = 0
        self.was_set = False  # the clock, by whoever
        self.codes = {version: code_of(version) for version in ("first", "newer")}
        self.record = Record()
        self.torn = False  # two hosts were there at once, and no transaction holds two runs together for both
        self.hosts: list[Host] = []
        self.host = self.start()

    async def load(self, metadata: Mapping[str, Any]) -> Code:
        return self.codes[metadata["version"]]

    # hosts

    def start(self) -> Host:
        host = Host(self.path, self.isolates, self.load, self.clock, self.record)
        self.loop.run_until_complete(host.engine.start())
        self.hosts.append(host)
        for one in self.hosts:
            one.alone = one.alone and len(self.hosts) == 1
        self.torn = self.torn or not host.alone
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
        self.meet_children()

    def meet_children(self) -> None:
        """Take in the runs that other runs have made."""
        for run, history in self.record.runs.items():
            if run not in self.runs and (family := history[0].data.get("parent")):
                self.runs[run] = Promises(run)
                self.runs[run].created = True
                self.runs[run].may_fail = self.runs[family["run"]].may_fail

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

    # what those outside do

    def tell(self, work: Awaitable[Any]) -> StepwellError | None:
        """Have a host do something; give why it refused, if that is a reason that it may have."""
        try:
            self.loop.run_until_complete(asyncio.ensure_future(work, loop=self.loop))
        except (TryLater, Conflict) as error:
            return error
        return None

    def ask(self, work: Awaitable[Any]) -> bool:
        """Have a host do something; say whether it did."""
        return self.tell(work) is None

    def state(self, run: str) -> RunState:
        state = self.loop.run_until_complete(self.host.engine.get(run))
        assert state is not None
        return state

    def send(self, run: str, type: str) -> None:
        self.sent += 1
        id = f"event {self.sent}"
        if self.ask(self.host.engine.send_event(run, type, self.sent, id=id)):
            self.runs[run].events[id] = (type, self.sent)
        else:
            self.runs[run].refused.add(id)

    def answer(self, run: str, key: str, approve: bool) -> None:
        decision = {"by": "ann", "approve": approve, "comment": "", "fields": {}}
        if self.ask(self.host.engine.decide(run, key, decision, judge)):
            self.runs[run].decided[key] += 1

    def created(self) -> list[str]:
        return sorted(run for run, promises in self.runs.items() if promises.created)

    def ended(self, run: str) -> bool:
        return self.record.runs[run][-1].type == "ended"

    def going_on(self) -> list[str]:
        return [run for run in self.created() if not self.ended(run)]

    # what must hold

    @invariant()
    def promises_are_kept(self) -> None:
        journal = Reader(self.path / "s.db")
        journal.open()
        with closing(journal):
            report = Rebuild(SqliteTables(journal), mend=False).run()
            assert (report.told, report.damaged) == ([], [])
            for run, promises in self.runs.items():
                history = self.record.runs.get(run, [])
                assert journal.entries(run) == list(rounds(history)[-1]), f"{run}: its journal has changed"
                promises.check(history, self.effects(run))
        check_groups(self.record, reliable=self.host.reliable)
        if not self.torn:
            adopted = {run: one.adopted for run, one in self.runs.items()}
            check_families(self.record, adopted, reliable=self.host.reliable)
        if not self.was_set:
            check_rate(self.record, RATE.seconds)

    def effects(self, run: str) -> Counter[str]:
        """Count what the steps of a run have done, by their names; those of runs that it called have other names."""
        history: list[Entry] = self.record.runs.get(run, [])
        if not history:
            return Counter()
        left = Path(history[0].data["params"]["inputs"]["effects"]).read_text().splitlines()
        commands = (line.split(" ", 1) for line in (self.path / "commands").read_text().splitlines())
        return Counter([*left, *(key.rpartition("#")[0] for of, key in commands if of == run)])

    # the end

    def teardown(self) -> None:
        try:
            self.finish()
            self.promises_are_kept()
            for run in self.created():
                self.check_end(run)
        finally:
            for host in list(self.hosts):
                self.stop(host)
            self.loop.run_until_complete(self.isolates.close())
            self.loop.close()
            shutil.rmtree(self.path)

    def finish(self) -> None:
        """Answer everything until each acknowledged run has ended; only a host that was always alone owes it."""
        if len(self.hosts) != 1 or not self.host.alone:
            for host in list(self.hosts):
                self.stop(host)
            self.host = self.start()
        self.host.journal.refusals = 0
        for turn in range(100):
            self.settle()
            if not self.going_on():
                return
            for run in self.going_on():
                self.let_go_on(run)
                if self.torn and turn == 80 and self.waits_for_another(run):
                    self.runs[run].cancelled = self.ask(self.host.engine.cancel(run, "ann"))
            self.settle()
            if turn < 50:
                self.pass_time(3600.0)
            else:  # the clock was set back
                self.was_set = True
                self.move(self.clock.jump, 86_400.0)
        raise AssertionError(f"{[self.state(run) for run in self.going_on()]} do not end")

    def waits_for_another(self, run: str) -> bool:
        """Say whether a run waits for the end of one that has ended."""
        waits = [step for step in self.state(run).steps.values() if step.state == "waiting"]
        return any(step.child is not None and self.ended(step.child["run"]) for step in waits)

    def let_go_on(self, run: str) -> None:
        state = self.state(run)
        if state.paused:
            self.ask(self.host.engine.resume(run, "ann"))
        for place, ends in list(self.host.executor.held.items()):
            if place[0] == run:
                ends.set_result(outcome("passes"))
        for key in list(state.approvals):
            self.answer(run, key, True)
        waits = [step for step in state.steps.values() if step.kind == "event" and step.state == "waiting"]
        for type in {step.options["type"] for step in waits}:
            self.send(run, type)

    def check_end(self, run: str) -> None:
        """Hold the state that a run has ended in, as its engine tells it, to its journal and its program."""
        state, promises = self.state(run), self.runs[run]
        may_be = {"passed", *(["failed"] if promises.may_fail else []), *(["cancelled"] if state.cancel else [])}
        assert state.state in may_be, (run, state.state, state.error)
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
