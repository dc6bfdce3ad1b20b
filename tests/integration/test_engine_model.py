"""Random lives of runs, against a model of what is promised.

Programs are invented and played by real isolates, the clock is moved and set, hosts crash, two hosts live on one
journal, the disk refuses, runs stand in groups, call others and are restarted; at the end somebody answers all that is
waited for, and every run must come to its end.

A few lives, the same ones each time, are always played; `STEPWELL_SOAK=1` plays hundreds of new ones.
"""

import os
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import pytest
from hosts import Host, outcome
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, precondition, rule
from invented import TYPES, Program, may_fail, orders, programs
from lives import Stage
from promises import Promises, rounds
from promises_between import adopted_by_restart, told_again, undoing_was_cut_short

from stepwell.engine.order import Order
from stepwell.engine.specs import Restart, RunSpec
from stepwell.errors import Conflict

SOAK = bool(os.environ.get("STEPWELL_SOAK"))
RUNS = ("a", "b", "c", "d", "e")
IMMORTAL = {"a", "b"}  # not cancelled by people
RESTARTS = 4  # tried in one life

ONE = st.integers(0, 999)
"""Which of those there are: what Hypothesis draws must not depend on how a race between runs has ended."""
HOW = st.sampled_from(["passes", "fails", "is lost"])
_T = TypeVar("_T")


def one_of(candidates: Sequence[_T], which: int) -> _T | None:
    return candidates[which % len(candidates)] if candidates else None


class Life(Stage):
    """One journal and everything that happens to it."""

    restarts = 0
    most_hosts = 2

    @initialize(invented=st.tuples(*[st.tuples(programs(), orders())] * 2), hosts=st.integers(1, 2))
    def begin(self, invented: tuple[tuple[Program, Order], ...], hosts: int) -> None:
        self.most_hosts = hosts
        for run, (program, order) in zip(RUNS, invented, strict=False):
            self.create(run, program, order)

    @rule(run=st.sampled_from(RUNS), program=programs(), order=orders())
    def create_again_or_late(self, run: str, program: Program, order: Order) -> None:
        self.create(run, program, order)

    def create(self, run: str, program: Program, order: Order) -> None:
        params = {"kind": "manual", "inputs": {"effects": self.effects_of(run)}, "payload": {"program": program}}
        promises = self.runs.setdefault(run, Promises(run))
        if self.ask(self.host.engine.create(self.spec(run, params, "first", order))) and not promises.created:
            promises.created, promises.may_fail = True, may_fail(program)
        self.settle()

    def effects_of(self, run: str) -> str:
        path = self.path / run
        path.touch()
        return str(path)

    def spec(
        self, run: str, params: Mapping[str, Any], version: str, order: Order, restart: Restart | None = None
    ) -> RunSpec:
        metadata, digest = {"version": version}, self.codes[version].digest
        return RunSpec(run, "t", "t/x", "", metadata, params, digest, restart=restart, order=order)

    @rule(which=ONE, step=ONE, newer=st.booleans(), order=orders())
    def restart(self, which: int, step: int, newer: bool, order: Order) -> None:
        """Refused while the run goes on; then from any step of it, with the same or newer code."""
        if self.restarts == RESTARTS or not (source := one_of(self.adoptable(), which)):
            return
        if not self.ended(source):
            self.restart_from(source, self.asked_by(source)[0], newer, order)
        for _ in range(4):
            if not self.ended(source):
                self.answer_everything(3600.0)
        if key := one_of(self.asked_by(source), step):  # none: it has just continued
            self.restart_from(source, key, newer, order)

    def restart_from(self, source: str, key: str, newer: bool, order: Order) -> None:
        self.restarts += 1
        journal = rounds(self.record.runs[source])[-1]
        run, version = f"again {self.restarts}", "newer" if newer else journal[0].data["metadata"]["version"]
        same_code = self.codes[version].digest == journal[0].data["code"]
        adopted = adopted_by_restart(journal, key, self.clock.now(), same_code=same_code)
        params = {**journal[0].data["params"], "inputs": {"effects": self.effects_of(run)}}
        refusal = self.tell(self.host.engine.create(self.spec(run, params, version, order, Restart(source, key))))
        if refusal is None:
            assert adopted is not None, f"{run} was restarted from {key} of {source}"
            history = self.record.runs[run][: 1 + len(adopted)]
            assert told_again(history[1:], history) == told_again(adopted, journal), f"{run}, from {key} of {source}"
            promises = self.runs[run] = Promises(run)
            promises.created = True
            promises.adopt(history[1:], self.runs[source])
        elif adopted is not None:
            assert not isinstance(refusal, Conflict) or undoing_was_cut_short(journal), refusal
        self.settle()

    def finish(self) -> None:
        """Bring all to its end; then look at what could be adopted of it, by runs that never begin."""
        super().finish()
        for source in self.adoptable():
            keys = self.asked_by(source)
            for number, key in enumerate(keys[:: 1 + len(keys) // 4]):
                self.restart_from(source, key, number % 2 == 1, Order(delay="1 day"))
        for run in self.going_on():
            self.runs[run].cancelled = self.ask(self.host.engine.terminate(run, "ann"))

    def asked_by(self, run: str) -> list[str]:
        journal = rounds(self.record.runs[run])[-1]
        return sorted({entry.key for entry in journal if entry.key and entry.key[0] != "~"})

    def adoptable(self) -> list[str]:
        """List runs that no other made and that have asked for something."""
        of_nobody = [run for run in self.created() if not self.record.runs[run][0].data.get("parent")]
        return [run for run in of_nobody if self.asked_by(run)]

    @rule(which=ONE, type=st.sampled_from(TYPES), again=st.booleans())
    def event(self, which: int, type: str, again: bool) -> None:
        if run := one_of(self.created(), which):
            id = one_of(sorted(self.runs[run].events), which) if again else None
            if id is not None:
                self.ask(self.host.engine.send_event(run, type, "again", id=id))
            else:
                self.send(run, type)
            self.settle()

    @rule(which=ONE, approve=st.booleans())
    def decide(self, which: int, approve: bool) -> None:
        asking = [(run, key) for run in self.created() for key in sorted(self.state(run).approvals)]
        if place := one_of(asking, which):
            self.answer(*place, approve)
            self.settle()

    @rule(which=ONE, how=HOW)
    def attempt_ends(self, which: int, how: str) -> None:
        """On whatever host; one of a host that lost its run is a late writer."""
        held = [(host, place) for host in self.hosts for place in sorted(host.executor.held)]
        if attempt := one_of(held, which):
            self.end_attempt(*attempt, how)
            self.settle()

    def end_attempt(self, host: Host, place: tuple[str, str], how: str) -> None:
        host.executor.held[place].set_result(outcome(how))
        if how == "fails":
            self.runs[place[0]].failed.add(place[1])

    @rule(which=ONE, how=HOW)
    def pause(self, which: int, how: str) -> None:
        """Commands that are under way end in the pause."""
        if run := one_of(self.going_on(), which):
            self.ask(self.host.engine.pause(run, "ann"))
            self.settle()
            for host in self.hosts:
                for place in [place for place in host.executor.held if place[0] == run]:
                    self.end_attempt(host, place, how)
            self.settle()

    @rule(which=ONE)
    def resume(self, which: int) -> None:
        if run := one_of([run for run in self.going_on() if self.state(run).paused], which):
            self.ask(self.host.engine.resume(run, "ann"))
            self.settle()

    @rule(which=ONE, what=st.sampled_from(["cancel", "cancel and undo", "terminate"]))
    def cut_off(self, which: int, what: str) -> None:
        engine = self.host.engine
        if run := one_of([run for run in self.going_on() if run not in IMMORTAL], which):
            how = {
                "cancel": lambda: engine.cancel(run, "ann"),
                "cancel and undo": lambda: engine.cancel(run, "ann", undo=True),
                "terminate": lambda: engine.terminate(run, "ann"),
            }
            if self.ask(how[what]()):
                self.runs[run].cancelled = True
            self.settle()

    @rule(seconds=st.sampled_from([0.0, 60.0]))
    def everything_is_answered(self, seconds: float) -> None:
        self.answer_everything(seconds)

    def answer_everything(self, seconds: float) -> None:
        for run in self.going_on():
            self.let_go_on(run)
        self.pass_time(seconds)

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
    @precondition(lambda self: len(self.hosts) < self.most_hosts)
    def second_host_takes_over(self) -> None:
        """The first one lives on and does not know."""
        self.host = self.start()
        self.settle()

    @rule()
    @precondition(lambda self: len(self.hosts) == 2)
    def first_host_is_asked_again(self) -> None:
        self.host = next(host for host in self.hosts if host is not self.host)

    @rule(times=st.integers(1, 3))
    def disk_is_full(self, times: int) -> None:
        self.host.journal.refusals = times


Life.TestCase.settings = settings(
    max_examples=120 if SOAK else 12, stateful_step_count=40 if SOAK else 25, derandomize=not SOAK, database=None,
    phases=[Phase.generate, *([Phase.shrink] if SOAK else [])],  # shrinking takes minutes
    deadline=None, suppress_health_check=list(HealthCheck), print_blob=True,
)  # fmt: skip
TestLife = pytest.mark.timeout(1800 if SOAK else 300)(Life.TestCase)
