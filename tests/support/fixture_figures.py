"""What is told about many runs in memory: on what host they go on, what they use, how they fare, what differs."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from fixture_runs import NASTY, NOW, step, summary

from stepwell.ci.changes import ChangesSince, Commits
from stepwell.ci.comparison import compare, first_difference
from stepwell.ci.deployments import Deployment, Outgoing
from stepwell.ci.expected import Expected, ExpectedStep
from stepwell.ci.runners import Ability, FirstOutputs, RunnerView, Standing, Waiter, Work
from stepwell.ci.trends import Trend, trend_of
from stepwell.ci.usage import DiskUsage, MonthUsage, RepositoryUsage
from stepwell.ci.views import RunLink, RunSummary, RunView
from stepwell.engine.present import Counted
from stepwell.repos.objects import Changes as Paths
from stepwell.repos.objects import CommitInfo, Person
from stepwell.tenants.actors import Actor

if TYPE_CHECKING:
    from fixture_services import FixtureServices


class FixtureRunners:
    """A host on which much goes on; somebody who has just begun sees an idle one."""

    def __init__(self, services: FixtureServices) -> None:
        self._services = services

    def of(self, actor: Actor, tenant: str) -> list[RunnerView]:
        actor.require("read", tenant)
        busy, other = summary(), summary(1843, title=NASTY, branch="main", state="queued")
        work = (
            Work(busy, "e2e chrome#1", "e2e chrome", "run", "mcr.example/playwright:v1.50-noble", 2, NOW - 448),
            Work(busy, "load test#2", f"scan {NASTY}", "run", "", 1, NOW - 12.4),
            Work(busy, "image#1", "build image", "image", "", 1, NOW - 3),
            Work(busy, "", "version", "code", "", 0, NOW - 0.2),
            Work(other, "", "", "code", "", 0, None),
        )
        waiters = (
            Waiter(busy, "coverage#1", "coverage", "waits for a place: at most 8 steps at a time"),
            Waiter(other, "", "", "waits for run #1842: group 'ship-main' lets one run go on at a time"),
        )
        abilities = (
            Ability("python", True, "3.13.2"), Ability("wall", True, "full, as root, in a user namespace of its own"),
            Ability("Landlock", True, "version 7"),
            Ability("trees", False, "steps wait for the checkout of large ones: /dev/fuse cannot be opened",
                    "To be read before, they take root outside of a container, /dev/fuse, Linux 6.12 and git 2.36."),
            Ability("docker", True, f"engine 28.0.1, builds images with BuildKit {NASTY}"),
        )  # fmt: skip
        if self._services.empty:
            return [RunnerView("runner-07", 50, 8, 8, Counted(), None, (), (), Standing(), ())]
        standing = Standing(3, 3, {"acme": 1, "umbrella": 1}, 4, FirstOutputs(38, 0.0142, 1.93))
        used = Counted(2, 1, 2, 9)
        return [RunnerView("runner-07", 50, 8, 6, used, Counted(3, 2), work, waiters, standing, abilities)]


class FixtureUsage:
    """A repository and plans."""

    def __init__(self, services: FixtureServices) -> None:
        self._services = services

    def of(self, actor: Actor, tenant: str) -> list[RepositoryUsage]:
        actor.require("read", tenant)
        if self._services.empty:
            return []
        return [
            RepositoryUsage("payments-api", {"passed": 40, "failed": 2, "waiting": 1}),
            RepositoryUsage("-", {"passed": 3}),
        ]

    def months(self, actor: Actor, tenant: str) -> list[MonthUsage]:
        actor.require("read", tenant)
        if self._services.empty:
            return []
        names = [f"{2024 + n // 12}-{n % 12 + 1:02d}" for n in range(12, 23)]
        mine = [
            MonthUsage(
                "payments-api", name, 90 + 7 * n, 4200.0 * (n + 2), 2600.0 * (n * 5 % 7), 9 << 24, 4 << 20, n << 22
            )
            for n, name in enumerate(names)
        ]
        return [MonthUsage("-", names[-1], 12, 44.0, 0.0, 0, 81_000, 0), *reversed(mine)]

    def disk(self, actor: Actor, tenant: str) -> list[DiskUsage]:
        actor.require("read", tenant)
        if self._services.empty:
            return []
        mine = DiskUsage("payments-api", 21 << 20, 11 * (9 << 24), 11 * (4 << 20), 55 << 22, 9 << 25, 700 << 20)
        return [mine, DiskUsage("-", logs=81_000), DiskUsage(NASTY, git=4096)]


class FixtureExpectations:
    """Run 1842 is expected to go on like one that had three more steps."""

    def of(self, actor: Actor, view: RunView, now: float) -> Expected | None:
        if view.summary.number != 1842:
            return None
        more = (
            ExpectedStep("deploy#1", "deploy", "run", (view.steps[-1].key,), 40.0),
            ExpectedStep("smoke test#1", NASTY, "run", ("deploy#1",), 12.0),
            ExpectedStep("announce#1", "announce", "approval", ("deploy#1",), 0.0),
        )
        return Expected(RunLink("run1838", 1838, "/acme/payments-api/runs/1838"), more, 73.0)


class FixtureChanges:
    """Run 1842 beside one that passed; before the others none did."""

    def of(self, actor: Actor, view: RunView) -> ChangesSince | None:
        if view.summary.number != 1842:
            return None
        green = summary(1838, state="passed", ended_at=NOW - 90_000, started_at=NOW - 90_300, branch="main",
                        sha="b81f02c" + "0" * 33)  # fmt: skip
        person = Person("Mara Okoye", "mara@example.org", NOW - 3600)
        told = ("Round refunds half to even", f"Refuse amounts below one cent {NASTY}", "Try Python 3.14")
        commits = tuple(
            CommitInfo(f"{n}c1e9d4" + "0" * 33, "", (), person, person, text) for n, text in enumerate(told)
        )
        before = tuple(
            replace(one, state="passed", ended_at=(one.started_at or 0) + 20, options=_OLD.get(one.name, {}))
            for one in view.steps if one.name not in ("unit 3.14", "Start the load test?")
        )  # fmt: skip
        before = (*before, step("publish notes", "passed", 100, 2))
        after = tuple(replace(one, options=_NEW.get(one.name, {})) for one in view.steps)
        steps = compare(before, after)
        paths = ("src/ledger/refunds.py", "src/ledger/rounding.py", "tests/test_refunds.py", NASTY)
        return ChangesSince(
            green, before, Commits(commits, 3, Paths(paths)), ("3.11.2", "3.11.9"), steps, first_difference(steps)
        )


class FixtureDeployments:
    """Run 1838 is in every environment; what it went with went from there on."""

    def __init__(self, changes: FixtureChanges) -> None:
        self._changes = changes

    def outgoing(self, actor: Actor, view: RunView, environment: str) -> Outgoing:
        found = self._changes.of(actor, view)
        if found is None:
            return Outgoing(None, Commits())
        return Outgoing(self.current(actor, "acme", "payments-api")["production"], found.commits)

    def current(self, actor: Actor, tenant: str, repository: str) -> dict[str, Deployment]:
        actor.require("read", tenant)
        green = summary(1838, state="passed", created_at=NOW - 90_300, started_at=NOW - 90_300, ended_at=NOW - 90_000,
                        branch="main", sha="b81f02c" + "0" * 33)  # fmt: skip
        return {"production": Deployment("production", green, step("deploy", "passed", -89_000, 41))}


_OLD: dict[str, dict[str, Any]] = {
    "lint": {"command": "ruff check .", "tools": ["ruff==0.11.0"]}, "unit 3.13": {"image": "python:3.13.1-slim"},
}  # fmt: skip


_NEW: dict[str, dict[str, Any]] = {
    "lint": {"command": "ruff check src", "tools": ["ruff==0.12.1"]}, "unit 3.13": {"image": "python:3.13.2-slim"},
}  # fmt: skip


class FixtureTrends:
    """Thirty runs of one pipeline and three of another, in all states."""

    def __init__(self, services: FixtureServices) -> None:
        self._services = services

    def of(self, actor: Actor, tenant: str = "", repository: str = "", branch: str = "") -> list[Trend]:
        if not actor.tenants or self._services.empty:
            return []
        ship = [_past(1812 + n, 240 + 37 * (n * 7 % 11), _STATES.get(n, "passed")) for n in range(30)]
        nightly = [_past(1700 + n, 3600 + 900 * n, "passed", pipeline="Nightly " + NASTY) for n in range(3)]
        return [trend_of(tuple(ship)), trend_of(tuple(nightly))]


_STATES = {4: "failed", 5: "diverged", 11: "cancelled", 17: "failed", 27: "paused", 28: "waiting", 29: "running"}


def _past(number: int, seconds: float, state: str, **changes: Any) -> RunSummary:
    begun = NOW - 540 - 3000 * (1842 - number)
    long = seconds * (20 if number == 1830 else 1)
    ended = None if state in ("running", "waiting", "paused") else begun + long
    return summary(number, state=state, created_at=begun, started_at=begun, ended_at=ended, **changes)
