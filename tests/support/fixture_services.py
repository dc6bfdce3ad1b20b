"""Services that answer from memory: pages of every state without an engine, a runner or a database.

For tests of what the web makes of the services' answers. That the answers themselves are right is tested with the real
services in tests/integration/test_web_*.py.
"""

from __future__ import annotations

import builtins
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from fixture_files import PIXEL, README, collect
from fixture_installation import FixtureInstallation
from fixture_secrets import FixtureSecrets
from fixture_tokens import FixtureTokens

from stepwell.ci.artifacts import Artifacts
from stepwell.ci.browsing import File, Folder, Patch, Refs, Tip
from stepwell.ci.bulk import Wanted
from stepwell.ci.changes import ChangesSince, Commits
from stepwell.ci.comparison import compare, first_difference
from stepwell.ci.deployments import Deployment, Outgoing
from stepwell.ci.expected import Expected, ExpectedStep
from stepwell.ci.history import Choices
from stepwell.ci.moments import Changes, FileChange
from stepwell.ci.plans import Checked, Plan, PlanStep
from stepwell.ci.reports import Reports
from stepwell.ci.results import Results
from stepwell.ci.runners import Ability, FirstOutputs, RunnerView, Standing, Waiter, Work
from stepwell.ci.sources import Source
from stepwell.ci.trends import Trend, trend_of
from stepwell.ci.triggers import Declared
from stepwell.ci.usage import DiskUsage, MonthUsage, RepositoryUsage
from stepwell.ci.views import (
    ApprovalView,
    AttemptView,
    DecisionView,
    EnvironmentView,
    InputView,
    Page,
    PipelinesView,
    PipelineView,
    Problem,
    RepositoryView,
    RunLink,
    RunSummary,
    RunView,
    ScheduleView,
    StepView,
    WaitingView,
    WayOn,
)  # fmt: skip
from stepwell.dynamic import Changed, Dead, DeadRuns, Refused, Report
from stepwell.engine.entries import Entry
from stepwell.engine.present import Counted
from stepwell.engine.rounds import PastStep, Round
from stepwell.engine.specs import Note, RunRef
from stepwell.errors import Conflict, Denied, Invalid, NotFound
from stepwell.repos.latest import LastCommit, LastCommits
from stepwell.repos.objects import Changes as Paths
from stepwell.repos.objects import CommitInfo, EntryKind, Person, TreeEntry
from stepwell.settings import Settings
from stepwell.store.blobs import BlobFiles
from stepwell.store.caches import CacheKey
from stepwell.store.tables import AuditEntry
from stepwell.tenants.actors import ACTIONS, Actor
from stepwell.tenants.members import MemberView

NOW = 1_763_800_000.0
NASTY = "</script><script>alert(1)</script><img src=x onerror=alert(2)>"
ADMIN = Actor("p1", "ida.berg", {"acme": "owner"}, via="session")
STRANGER = Actor("p2", "sam", {}, via="session")
VIEWER = Actor("p3", "eve", {"acme": "viewer"}, via="session")
LOG = b"""\x1econtainer python:3.13-slim started in 84 ms
\x1b[1m============================= test session starts ==============================\x1b[0m
platform linux -- Python 3.13.2, pytest-9.0.1, pluggy-1.6.0
rootdir: /workspace, configfile: pyproject.toml
collecting ... \x1b[1mcollected 103 items\x1b[0m

tests/test_ledger.py \x1b[32m........................\x1b[0m\x1b[32m                               [ 23%]\x1b[0m
tests/test_refunds.py \x1b[32m.........\x1b[31mF\x1b[32m......\x1b[33ms\x1b[31m                            [ 39%]\x1b[0m
tests/test_webhooks.py \x1b[32m...................................\x1b[0m\x1b[31m                 [ 74%]\x1b[0m

=================================== FAILURES ===================================
\x1b[31m\x1b[1m______________________ test_partial_refund_rounds_half_even ______________________\x1b[0m

    \x1b[94mdef\x1b[39;49;00m \x1b[92mtest_partial_refund_rounds_half_even\x1b[39;49;00m(ledger):
        charge = ledger.charge(\x1b[94m1005\x1b[39;49;00m, currency=\x1b[33m"EUR"\x1b[39;49;00m)
        refund = ledger.refund(charge.id, ratio=Decimal(\x1b[33m"0.5"\x1b[39;49;00m))
>       \x1b[94massert\x1b[39;49;00m refund.minor_units == \x1b[94m502\x1b[39;49;00m
\x1b[1m\x1b[31mE       assert 503 == 502\x1b[0m
\x1b[1m\x1b[31mE        +  where 503 = Refund(id="re_9f2", minor_units=503).minor_units\x1b[0m

\x1b[1m\x1b[31mtests/test_refunds.py\x1b[0m:88: AssertionError
\x1b[36m\x1b[1m=========================== short test summary info ============================\x1b[0m
\x1b[31mFAILED\x1b[0m tests/test_refunds.py::\x1b[1mtest_partial_refund_rounds_half_even\x1b[0m - assert 503 == 502
\x1b[31m================== \x1b[1m1 failed\x1b[0m, \x1b[32m101 passed\x1b[0m, \x1b[33m1 skipped\x1b[31m in 82.16s\x1b[0m
"""


GROUPED = b"""$ make install
::group::\x1b[1mResolve\x1b[0m 41 packages
one of them
another of them
::endgroup::
##[group]Build
wheel is built
##[endgroup]
done
"""


@dataclass(frozen=True)
class FixtureLine:
    """A line of a log in memory."""

    number: int
    at: float
    text: bytes
    note: bool


@dataclass
class FixtureLog:
    """A log in memory that can grow."""

    data: bytes = b""
    finished: bool = True

    @property
    def size(self) -> int:
        return len(self.data)

    @property
    def line_count(self) -> int:
        return self.data.count(b"\n") + (bool(self.data) and not self.data.endswith(b"\n"))

    def read(self, offset: int = 0, limit: int = 65536) -> bytes:
        return self.data[offset : offset + limit]

    def lines(self, start: int = 0, count: int = 500) -> list[FixtureLine]:
        texts = self.data.split(b"\n")[: self.line_count][start : start + count]
        return [
            FixtureLine(start + n, NOW - 280 + start + n, t.removeprefix(b"\x1e"), t.startswith(b"\x1e"))
            for n, t in enumerate(texts)
        ]


def summary(number: int = 1842, **changes: Any) -> RunSummary:
    """A run in a list."""
    plain = RunSummary(
        id=f"run{number}", tenant="acme", repository="payments-api", number=number, title="Round refunds half to even",
        state="running", reason="", pipeline="Ship", kind="push", branch="fix/refund-rounding", tag="",
        sha="7c1e9d4" + "0" * 33, message="Round refunds half to even", actor="mara.okoye", created_at=NOW - 540,
        started_at=NOW - 540, ended_at=None,
        counts={"passed": 7, "failed": 1, "running": 1, "waiting": 1}, waiting=(), rerun_of="", seq=40,
    )  # fmt: skip
    return replace(plain, **changes)


def step(name: str, state: str, start: float, seconds: float | None, *needs: str, **changes: Any) -> StepView:
    """A step that began `start` seconds after the run."""
    begun = NOW - 540 + start
    ended = begun + seconds if seconds is not None and state in ("passed", "failed", "cancelled") else None
    asked = state in ("queued", "waiting", "skipped")
    attempt = 0 if asked else 1
    said: Any = state if state in ("passed", "failed", "running") else "running"
    tried = AttemptView(1, said, begun, ended, None, None, 10)
    plain = StepView(
        key=f"{name}#1", name=name, kind="run", state=state, reason="", attempt=attempt,  # type: ignore[arg-type]
        attempts=(tried,) if attempt else (), asked_at=begun, started_at=None if asked else begun, ended_at=ended,
        due=None,
        where="pipeline.py:7", command=f"make {name}", image="", tools=(), environment="", secrets=(), network=False,
        options={}, value=None, exit_code=0 if state == "passed" else None, error=None,
        needs=tuple(f"{n}#1" for n in needs), log_size=10 if attempt else 0,
    )  # fmt: skip
    return replace(plain, **changes)


def approval(run: RunSummary, **changes: Any) -> ApprovalView:
    """An approval that waits."""
    said = DecisionView("jun.sato", NOW - 300, True, "numbers look right", {})
    plain = ApprovalView(
        run=run, key="load test#1", name="Start the load test?", kind="approval", environment="preview-1842",
        reviewers=("ida.berg", "jun.sato"), count=2, approved=1,
        fields={"users": ["100", "500"], "note": "", "minutes": 30, "warm": True},
        decisions=(said,), asked_at=NOW - 240, due=NOW + 86160, may_decide=True, why_not="",
    )  # fmt: skip
    return replace(plain, **changes)


CONNECTIONS = {
    "places": [
        {"host": "packages.example", "port": 443, "refused": None, "count": 4, "sent": 5_120, "received": 88_064},
        {"host": "files.packages.example", "port": 443, "refused": None, "count": 12, "sent": 9_310,
         "received": 41_300_000},
        {"host": "2606:4700::6812:2", "port": 8443, "refused": None, "count": 1, "sent": 0, "received": 0},
        {"host": "169.254.169.254", "port": 80, "refused": f"not a public address {NASTY}", "count": 2, "sent": 0,
         "received": 0},
    ],
    "others": 3,
}  # fmt: skip


def busy_run() -> RunView:
    """A run with a step in every state."""
    run = summary(waiting=(WaitingView("load test#1", "Start the load test?", "preview-1842"),))
    error = {"type": "CommandFailed", "message": "pytest -q ended with exit code 1.", "traceback": ""}
    tests = ("unit 3.11", "unit 3.12", "unit 3.13", "unit 3.14")
    steps = (
        step("checkout", "passed", 0, 3),
        step("install", "passed", 5, 18, "checkout", where="pipeline.py:16", attempts=(
            AttemptView(1, "passed", run.created_at + 5, run.created_at + 23, None, None, 10, CONNECTIONS),
        )),
        step("lint", "passed", 25, 12, "install"), step("typecheck", "passed", 25, 31, "install"),
        *(step(n, "failed" if n == "unit 3.13" else "passed", 25, 92 + i, "install", image=f"python:{n[5:]}-slim",
               command="pytest -q --color=yes", where="pipeline.py:18", exit_code=1 if n == "unit 3.13" else 0,
               error=error if n == "unit 3.13" else None) for i, n in enumerate(tests)),
        step("build image", "passed", 25, 64, "install", where="pipeline.py:19"),
        step("coverage", "skipped", 120, None, *tests),
        step("migrate the oldest database that we support", "passed", 92, 22, "build image", key="migrate#1"),
        step("scan", "passed", 92, 22, "build image"), step("e2e chrome", "running", 92, None, "build image"),
        step("version", "passed", 130, 0.042, "scan", kind="do", command="", value={"version": "2.4.1", "tag": NASTY}),
        step("Start the load test?", "waiting", 300, None, "version", kind="approval", command="", key="load test#1",
             environment="preview-1842", reason="waits for 1 of 2 approvals for preview-1842"),
        step("load test", "queued", 300, None, "version", key="load test#2"),
    )  # fmt: skip
    return RunView(run, {"kind": "push"}, "pipeline.py:Ship", "c0de", None, None, steps, (approval(run),), True, 0)


def asking_run(number: int, **changes: Any) -> RunView:
    """A run that asks what others ask, too."""
    waits = (WaitingView("Ship it?#1", "Ship it?", "production"),)
    run = summary(number, state="waiting", counts={"waiting": 1}, waiting=waits, branch="main")
    asked = approval(
        run, key="Ship it?#1", name="Ship it?", environment="production", reviewers=(), count=1, approved=0,
        fields={"version": "1.0"}, decisions=(),
    )  # fmt: skip
    steps = (step("Ship it?", "waiting", 0, None, kind="approval"),)
    shown = (replace(asked, **changes),)
    return RunView(run, {"kind": "push"}, "pipeline.py:Ship", "c0de", None, None, steps, shown, True, 0)


def failed_run() -> RunView:
    """A run that ended before its first step: the program is wrong."""
    trace = (
        'Traceback (most recent call last):\n  File ".stepwell/pipeline.py", line 12, in run\n    await step.rn("x")\n'
    )
    error = {"type": "AttributeError", "message": f"'Step' object has no attribute 'rn' {NASTY}", "traceback": trace}
    run = summary(
        1841, state="failed", ended_at=NOW - 200, counts={}, title=NASTY, message=NASTY, branch=NASTY, actor=NASTY
    )
    return RunView(run, {}, "pipeline.py:Ship", "c0de", None, error, (), (), True, 0)


def broken_run() -> RunView:
    """A run that ended with the failure of its last step."""
    run = summary(1835, state="failed", created_at=NOW - 9600, started_at=NOW - 9600, ended_at=NOW - 9500,
                  counts={"passed": 1, "failed": 1}, title="Deploy the new ledger", branch="main",
                  reason="Step 'deploy' failed: ./deploy.sh ended with exit code 4.")  # fmt: skip
    said = {"type": "CommandFailed", "message": "./deploy.sh ended with exit code 4.", "traceback": ""}
    error = {
        "type": "StepFailed",
        "message": "Step 'deploy' failed: ./deploy.sh ended with exit code 4.",
        "traceback": "",
    }
    steps = (step("build", "passed", -9060, 5), step("deploy", "failed", -9055, 4, "build", exit_code=4, error=said))
    return RunView(run, {"kind": "push"}, "pipeline.py:Ship", "c0de", None, error, steps, (), True, 0)


def diverged_run() -> RunView:
    """A run that was restarted with newer code, which asked for another step than the old one had."""
    message = "Step 'build#1' differs: its command was 'make build', is 'make all'. Its journal says what was done."
    error = {"type": "Diverged", "message": message, "traceback": "", "step": "build#1"}
    run = summary(1836, state="diverged", created_at=NOW - 9000, started_at=NOW - 9000, ended_at=NOW - 8990,
                  counts={"passed": 2}, title="Build everything", branch="main")  # fmt: skip
    steps = (step("build", "passed", -8460, 5), step("deploy", "passed", -8455, 4, "build"))
    itself, source = (RunLink(f"run{n}", n, f"/acme/payments-api/runs/{n}") for n in (1836, 1840))
    ways = (
        WayOn(itself, "build#1", "Restart from build#1"), WayOn(source, "bye#1", "Go on with the old code of #1840"),
    )  # fmt: skip
    return RunView(
        run, {"kind": "push"}, "pipeline.py:Ship", "c0de", None, error, steps, (), True, 0, restart_of=source,
        restarted_at="bye#1", ways_on=ways,
    )  # fmt: skip


def passed_run() -> RunView:
    """A short run that passed in its third round."""
    run = summary(1840, state="passed", ended_at=NOW - 5000, created_at=NOW - 5040, started_at=NOW - 5040,
                  counts={"passed": 2}, title="Add invoices", branch="main")  # fmt: skip
    steps = (step("hello", "passed", -4500, 1.2), step("bye", "passed", -4498, 20, "hello"))
    rounds = (
        Round(1, NOW - 12_000, NOW - 8400, 1, (PastStep("hello#1", "hello", "run", "passed", 1, NOW - 8410, 2.0),)),
        Round(2, NOW - 8400, NOW - 5040, 120, (
            PastStep("hello#2", "hello", "run", "failed", 2, NOW - 8000, 64.0),
            PastStep(f"{NASTY}#2", NASTY, "sleep", "cancelled", 0, None, None),
        )),
    )  # fmt: skip
    return RunView(
        run, {"kind": "push"}, "pipeline.py:Ship", "c0de", None, None, steps, (), True, 0, round=3, rounds=rounds
    )


def wide_run() -> RunView:
    """A run of 200 steps side by side, one of which failed, behind one step and before another."""
    run = summary(1834, state="failed", ended_at=NOW - 400, counts={"passed": 199, "failed": 1, "skipped": 1},
                  title="Check every package", branch="main")  # fmt: skip
    letters = "abcdefghijklmnopqrst"
    names = [f"package-{a}{b}" for a in letters for b in letters[:10]]
    error = {"type": "CommandFailed", "message": "make ended with exit code 2.", "traceback": ""}
    steps = (
        step("checkout", "passed", 0, 3),
        *(step(name, "failed" if n == 150 else "passed", 4, 1 + n / 100, "checkout", exit_code=2 if n == 150 else 0,
               error=error if n == 150 else None) for n, name in enumerate(names)),
        step("publish", "skipped", 9, None, "checkout", *names),
    )  # fmt: skip
    return RunView(run, {"kind": "push"}, "pipeline.py:Ship", "c0de", None, None, steps, (), True, 0)


def waited_run() -> RunView:
    """A run of two minutes' work that waited three days for a person, with a second try."""
    begun = NOW - 300_000
    run = summary(1839, state="passed", created_at=begun, started_at=begun + 2, ended_at=begun + 259_400, branch="main",
                  counts={"passed": 6}, title="Charge in cents", sha="41d0c9e" + "0" * 33)  # fmt: skip
    spans = {"install": (3, 21, 16), "unit 3.11": (21, 60, 18), "unit 3.12": (21, 63, 18), "build image": (21, 75, 19),
             "Ship it?": (75.4, 259_300, 23), "deploy": (259_301, 259_399, 24)}  # fmt: skip
    steps = tuple(
        step(name, "passed", start - 299_460, end - start, where=f".stepwell/pipeline.py:{line}",
             kind="approval" if name == "Ship it?" else "run")
        for name, (start, end, line) in spans.items()
    )  # fmt: skip
    return RunView(run, {"kind": "push"}, "pipeline.py:Ship", "c0de", None, None, steps, (), True, 0)


def waited_journal() -> list[Entry]:
    """The journal of that run."""
    told: list[tuple[float, str, str, int, Any]] = [
        (0, "created", "", 0, {"entry": "pipeline.py:Ship"}), (3, "asked", "install#1", 0, _ask("install")),
        (4, "started", "install#1", 1, {}), (21, "done", "install#1", 1, {"ok": True}),
        *((21, "asked", f"{n}#1", 0, _ask(n)) for n in ("unit 3.11", "unit 3.12", "build image")),
        (22, "started", "unit 3.11#1", 1, {}), (22, "started", "unit 3.12#1", 1, {}),
        (30, "retry", "unit 3.11#1", 1, {"error": {}, "due": 40}), (40, "fired", "unit 3.11#1", 0, None),
        (41, "started", "unit 3.11#1", 2, {}), (45, "started", "build image#1", 1, {}),
        (60, "done", "unit 3.11#1", 2, {"ok": True}), (63, "done", "unit 3.12#1", 1, {"ok": True}),
        (75, "done", "build image#1", 1, {"ok": True}), (75.4, "asked", "Ship it?#1", 0, _ask("Ship it?", "approval")),
        (259_300, "done", "Ship it?#1", 0, {"ok": True}), (259_301, "asked", "deploy#1", 0, _ask("deploy")),
        (259_302, "started", "deploy#1", 1, {}), (259_399, "done", "deploy#1", 1, {"ok": True}),
        (259_400, "ended", "", 0, {"state": "passed"}),
    ]  # fmt: skip
    return [
        Entry("run1839", n, NOW - 300_000 + at, kind, key, attempt, 1, data)  # type: ignore[arg-type]
        for n, (at, kind, key, attempt, data) in enumerate(told, 1)
    ]


def _ask(name: str, kind: str = "run") -> dict[str, Any]:
    return {"kind": kind, "name": name, "where": ".stepwell/pipeline.py:18"}


def huge_log() -> bytes:
    """A log of 20,000 lines."""
    return b"".join(b"line %d of a long log\n" % n for n in range(1, 20_001))


@dataclass
class FixtureServices:
    """Stands where `stepwell.ci.services.Services` stands."""

    settings: Settings
    empty: bool = False
    stopped: list[str] = field(default_factory=list)
    logged: dict[tuple[str, str, int], FixtureLog] = field(default_factory=dict)

    def __post_init__(self) -> None:
        shown = (
            busy_run(), failed_run(), passed_run(), waited_run(), diverged_run(), broken_run(), wide_run(),
            asking_run(1830), asking_run(1831), asking_run(1832, environment="", fields={}),
        )  # fmt: skip
        self.views = {v.summary.id: v for v in shown}
        self.decided: list[tuple[str, str, bool, str, Any]] = []
        self.entry_callbacks: list[Callable[[Entry | Note, Any], None]] = []
        self.log_callbacks: list[Callable[[Any], None]] = []
        self.tenants = _Tenants(self)
        self.runs = _Runs(self)
        self.control = _Control(self)
        self.bulk = _Bulk(self)
        self.plans = _Plans()
        blobs = BlobFiles(self.settings.state / "blobs")
        self.results = Results(self.runs, blobs)  # type: ignore[arg-type]
        self.artifacts = Artifacts(self.runs, blobs)  # type: ignore[arg-type]
        self.reports = Reports(self.runs, blobs)  # type: ignore[arg-type]
        self.catalog = _Catalog(self)
        self.environments = _Environments()
        self.caches = _Caches(self)
        self.moments = _Moments()
        self.trends = _Trends(self)
        self.sources = _Sources()
        self.changes = _Changes()
        self.expectations = _Expectations()
        self.deployments = _Deployments(self.changes)
        self.browsing = _Browsing(self)
        self.removal = _Removal(self)
        self.usage = _Usage(self)
        self.runners = _Runners(self)
        self.installation = FixtureInstallation(self.settings, NOW, self.empty)
        self.engine = _Feed(self.entry_callbacks, "subscribe")
        self.logs = _Feed(self.log_callbacks, "follow")
        self.repositories = self.pushes = None
        busy = self.views["run1842"]
        if not self.empty:
            kept = collect(blobs, "run1842", NASTY)
            steps = (replace(one, collected=kept) if one.name == "unit 3.13" else one for one in busy.steps)
            busy = self.views["run1842"] = replace(busy, steps=tuple(steps))
        for one in busy.steps:
            data = LOG if one.name == "unit 3.13" else f"\x1b[32m$\x1b[0m make {one.name}\n{NASTY}\n".encode()
            self.logged["run1842", one.key, 1] = FixtureLog(data, one.state != "running")
        self.logged["run1842", "install#1", 1] = FixtureLog(GROUPED)
        self.logged["run1840", "hello#1", 1] = FixtureLog(huge_log())


class _Feed:
    """Takes callbacks as the engine and the log store do."""

    def __init__(self, callbacks: list[Any], name: str) -> None:
        self._callbacks = callbacks
        setattr(self, name, self._add)

    def _add(self, callback: Any) -> Callable[[], None]:
        self._callbacks.append(callback)
        return lambda: self._callbacks.remove(callback)


@dataclass
class _Person:
    id: str = "p1"
    name: str = "ida.berg"


class _Tenants:
    """Sign-in, sessions and tokens of the two people."""

    def __init__(self, services: FixtureServices) -> None:
        self.links = self.sessions = self.people = self.quotas = self.registries = self
        self.tokens = FixtureTokens(self.actor, NOW, services.empty)
        self.secrets = FixtureSecrets(NOW, services.empty)
        self.members, self.audit = _Members(services), _Audit(services)
        self.services = services
        self.codes = {"code-1"}
        self.open_sessions = {"admin-session": ADMIN, "stranger-session": STRANGER, "viewer-session": VIEWER}

    def redeem(self, code: str) -> _Person:
        if code not in self.codes:
            raise Denied("This sign-in link was used, is too old or never existed. Make one: stepwell signin")
        self.codes.remove(code)
        return _Person()

    def add(self, actor: Actor, name: str, title: str = "") -> _Person:
        if name in ("ida.berg", "mara.okoye"):
            raise Conflict(f"There is a person {name!r} already.")
        return _Person("p9", name)

    def check_password(self, name: str, password: str) -> _Person:
        raise Denied("Name or password is wrong.")

    def open(self, person: str) -> str:
        return "admin-session"

    def close(self, session: str) -> None:
        self.open_sessions.pop(session, None)

    def actor(self, secret: str) -> Actor | None:
        known = {
            "p1": ADMIN,
            "sw_admin": replace(ADMIN, via="token"),
            "sw_stranger": replace(STRANGER, via="token"),
            "p3": VIEWER,
        }
        return known.get(secret) or self.open_sessions.get(secret)

    def get(self, actor: Actor, name: str) -> Any:
        actor.require("read", name)
        return _TenantView(name, "Acme", actor.roles[name], NOW)

    def list(self, actor: Actor, tenant: str = "", *_: Any) -> list[Any]:
        if tenant:
            actor.require("read", tenant)
        return []

    def issue(self, person: str, **_: Any) -> str:
        return f"code-of-{person}"

    def put(self, actor: Actor, tenant: str, *_: Any, **where: Any) -> None:
        actor.require("manage", tenant)

    def remove(self, actor: Actor, tenant: str, *_: Any, **where: Any) -> None:
        actor.require("manage", tenant)


class _Members:
    """Two people of the tenant."""

    def __init__(self, services: FixtureServices) -> None:
        self._services = services

    def list(self, actor: Actor, tenant: str) -> list[MemberView]:
        actor.require("read", tenant)
        return [MemberView("ida.berg", "Ida Berg", "owner"), MemberView("mara.okoye", NASTY, "developer")]

    def put(self, actor: Actor, tenant: str, person: str, role: str) -> None:
        actor.require("own", tenant)
        self._services.stopped.append(f"member {person} {role}")

    def remove(self, actor: Actor, tenant: str, person: str) -> None:
        actor.require("own", tenant)
        self._services.stopped.append(f"no member {person}")


class _Audit:
    """Two changes."""

    def __init__(self, services: FixtureServices) -> None:
        self._services = services

    def list(self, actor: Actor, tenant: str, before: int | None = None, limit: int = 100) -> list[AuditEntry]:
        actor.require("manage", tenant)
        if self._services.empty:
            return []
        detail = {"reviewers": ["ida.berg", "jun.sato"], "count": 2, "reason": NASTY, "undo": None}
        return [
            AuditEntry(id=2, at=NOW - 400, tenant=tenant, actor="ida.berg", action="environment.put",
                       subject="production", detail=detail),
            AuditEntry(id=1, at=NOW - 90_000, tenant=tenant, actor=NASTY, action="secret.put", subject="KEY"),
        ]  # fmt: skip


class _Runners:
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


class _Usage:
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


@dataclass(frozen=True)
class _TenantView:
    name: str
    title: str
    role: str
    created_at: float


class _Runs:
    def __init__(self, services: FixtureServices) -> None:
        self._services = services

    def _see(self, actor: Actor, run_id: str) -> RunView:
        view = self._services.views.get(run_id)
        if view is None or not actor.may("read", view.summary.tenant):
            raise NotFound("There is no such run, or you may not see it.")
        return view

    def list(self, actor: Actor, *, tenant: str | None = None, state: str | None = None, **_: Any) -> Page[RunSummary]:
        if tenant:
            actor.require("read", tenant)
        if self._services.empty or not actor.tenants:
            return Page(())
        return Page(tuple(v.summary for v in self._services.views.values() if state in (None, v.summary.state)))

    def choices(self, actor: Actor, tenant: str, repository: str = "") -> Choices:
        actor.require("read", tenant)
        return Choices(("Nightly", "Ship"), ("fix/refund-rounding", "main", NASTY), ("ida.berg", "mara.okoye"))

    def get(self, actor: Actor, run_id: str) -> RunView:
        return self._see(actor, run_id)

    def summary(self, actor: Actor, run_id: str) -> RunSummary:
        return self._see(actor, run_id).summary

    def step(self, actor: Actor, run_id: str, key: str) -> StepView:
        found = next((one for one in self._see(actor, run_id).steps if one.key == key), None)
        if found is None:
            raise NotFound(f"There is no step {key!r}.")
        return found

    def by_number(self, actor: Actor, tenant: str, repository: str, number: int) -> RunView:
        actor.require("read", tenant)
        return self._see(actor, f"run{number}")

    def start(self, actor: Actor, tenant: str, repository: str, pipeline: str, **_: Any) -> RunSummary:
        actor.require("write", tenant)
        return summary(1842)

    def rerun(self, actor: Actor, run_id: str) -> RunSummary:
        return self._see(actor, run_id).summary

    def decide(
        self, actor: Actor, run_id: str, key: str, *, approve: bool, comment: str = "", fields: Any = None
    ) -> None:
        self._see(actor, run_id)
        self._services.decided.append((run_id, key, approve, comment, fields))

    def send_event(self, actor: Actor, run_id: str, type: str, payload: Any, id: str | None = None) -> None:
        self._see(actor, run_id)

    def journal(self, actor: Actor, run_id: str, after: int = 0, limit: int = 1000) -> builtins.list[Entry]:
        self._see(actor, run_id)
        entries = waited_journal() if run_id == "run1839" else JOURNAL
        return [e for e in entries if e.seq > after][:limit]

    def inbox(self, actor: Actor) -> builtins.list[ApprovalView]:
        asked = [a for v in self._services.views.values() for a in v.approvals if actor.may("read", a.run.tenant)]
        if self._services.empty:
            return []
        if actor.may("approve", "acme"):
            return asked
        return [
            replace(a, may_decide=False, why_not="Your role or token does not allow you to approve here.")
            for a in asked
        ]

    def inbox_count(self, actor: Actor) -> int:
        return sum(a.may_decide for a in self.inbox(actor))

    def log(self, actor: Actor, run_id: str, key: str, attempt: int | None = None) -> FixtureLog:
        self._see(actor, run_id)
        return self._services.logged.setdefault((run_id, key, attempt or 1), FixtureLog())


class _Control:
    def __init__(self, services: FixtureServices) -> None:
        self._services = services

    def _did(self, actor: Actor, run_id: str, what: str) -> RunView:
        view = self._services.runs._see(actor, run_id)
        actor.require("write", view.summary.tenant)
        self._services.stopped.append(f"{what} {run_id}")
        return view

    def cancel(self, actor: Actor, run_id: str, reason: str = "", *, undo: bool = False) -> None:
        self._did(actor, run_id, "cancel")

    def terminate(self, actor: Actor, run_id: str, reason: str = "") -> None:
        self._did(actor, run_id, "terminate")

    def kill_isolate(self, actor: Actor, run_id: str) -> None:
        self._did(actor, run_id, "kill")
        raise Conflict("The run is in no process now: there is nothing to kill. It costs rows only.")

    def in_process(self, actor: Actor, run_id: str) -> bool:
        return True

    def pause(self, actor: Actor, run_id: str, reason: str = "") -> None:
        self._did(actor, run_id, "pause")

    def resume(self, actor: Actor, run_id: str) -> None:
        self._did(actor, run_id, "resume")

    def restart(
        self, actor: Actor, run_id: str, step: str, *, code: str = "same", key: str | None = None
    ) -> RunSummary:
        return self._did(actor, run_id, f"restart {code} {step}").summary


class _Plans:
    """Takes no plan, not even from those who may send some."""

    def check(self, actor: Actor, tenant: str, files: Mapping[str, str]) -> Checked:
        actor.require("write", tenant, "-")
        if wrong := next((path for path, text in files.items() if "wrong" in text), ""):
            return Checked(problem=Problem("syntax-error", NASTY, f".stepwell/{wrong}", 2))
        return Checked((Declared("First", "pipeline.py:First"),), (PlanStep("run", NASTY, "pipeline.py", 4),))

    def files(self, actor: Actor, tenant: str, digest: str) -> Mapping[str, str]:
        actor.require("read", tenant, "-")
        return {
            "pipeline.py": f"import helper\n\n{NASTY}\n",
            "helper.py": f"DAY = 1\n# {NASTY}\n",
            "lib/dates.py": "DAY = 1\n",
        }

    def start(self, actor: Actor, tenant: str, plan: Plan) -> tuple[RunRef, Checked]:
        self.check(actor, tenant, plan.files)
        raise Invalid("This server runs none.")


class _Bulk:
    def __init__(self, services: FixtureServices) -> None:
        self._services = services

    def sweep(self, actor: Actor, action: str, tenant: str, wanted: Wanted, cursor: str | None = None) -> Report:
        actor.require("write", tenant, wanted.repository)
        self._services.stopped.append(f"{action} {tenant} {wanted.pipeline} {cursor}")
        refused = Refused("run1841", tenant, "acme/payments-api", 1841, NASTY)
        return Report((Changed("run1842", tenant, "acme/payments-api", 1842, "paused"),), (refused,), 2, "more")

    def dead(self, actor: Actor, tenant: str, repository: str = "", cursor: str | None = None) -> DeadRuns:
        actor.require("read", tenant, repository)
        found = Dead("run1841", tenant, "acme/payments-api", 1841, "Ship", "failed", "load", NASTY, NOW)
        other = self._services.views["run1836"]
        told = str((other.error or {})["message"])
        diverged = Dead(
            "run1836", tenant, "acme/payments-api", 1836, other.summary.title, "diverged", "diverged", told, NOW
        )
        return DeadRuns((found, diverged), 3, None)


JOURNAL = [
    Entry("run1842", 1, NOW - 540, "created", "", 0, 0, {"entry": "pipeline.py:Ship"}),
    Entry("run1842", 2, NOW - 539, "asked", "lint#1", 0, 1, {"kind": "run", "name": "lint", "where": "pipeline.py:9"}),
    Entry("run1842", 3, NOW - 538, "started", "lint#1", 1, 1, {"runner": "local"}),
    Entry("run1842", 4, NOW - 520, "done", "lint#1", 1, 0, {"ok": False, "seconds": 18.2, "error": {"message": NASTY}}),
    Entry(
        "run1842", 5, NOW - 519, "decision", "load test#1", 0, 0, {"by": "jun.sato", "approve": True, "comment": NASTY}
    ),
]


SOURCE = f'''from asyncio import gather

from stepwell import Pipeline, manual, push

from lib.versions import version

PYTHONS = ("3.11", "3.12", "3.13", "3.14")  # {NASTY}


class Ship(Pipeline):
    """Check every push; ship main."""

    on = [push("main"), manual(target=["staging", "production"])]

    async def run(self, event, step):
        await step.run("install", "make install")
        await gather(
            *(step.run(f"unit {{v}}", "pytest -q --color=yes", image=f"python:{{v}}-slim") for v in PYTHONS),
            step.run("build image", "make image"),
        )
        await step.do("version", version, event.number)
'''


class _Sources:
    """One pipeline of two files; run 1841 has none that can be read."""

    def of(self, actor: Actor, run: RunSummary) -> Source:
        if run.number == 1841:
            return Source(run.sha, {}, f"Commit {NASTY} is not in the repository any more.")
        return Source(run.sha, {"lib/versions.py": "def version(number):\n    return number\n", "pipeline.py": SOURCE})


class _Expectations:
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


class _Changes:
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


PATCH = "\n".join((
    "diff --git a/src/ledger/rounding.py b/src/ledger/rounding.py", "index 1111111..2222222 100644",
    "--- a/src/ledger/rounding.py", "+++ b/src/ledger/rounding.py", "@@ -8,4 +8,5 @@ def half_even(amount):",
    " from decimal import ROUND_HALF_EVEN, Decimal", " ",
    '-    return amount.quantize(Decimal("1"))', f"+    # {NASTY}",
    '+    return amount.quantize(Decimal("1"), ROUND_HALF_EVEN)', " ",
    "diff --git a/logo.png b/logo.png", "index 1111111..2222222 100644",
    "Binary files a/logo.png and b/logo.png differ",
    "diff --git a/docs/old.md b/docs/new.md", "similarity index 100%",
    "rename from docs/old.md", "rename to docs/new.md",
    "",
))  # fmt: skip


class _Browsing:
    """One branch of three commits, one folder and one file of it."""

    def __init__(self, services: FixtureServices) -> None:
        self._services = services

    def _commits(self) -> list[CommitInfo]:
        person = Person("Mara Okoye", "mara@example.org", NOW - 3600)
        told = ("Round refunds half to even\n\nOne cent was lost.", f"Refuse amounts below one cent {NASTY}", "Begin")
        shas = ["7c1e9d4" + "0" * 33, "1c1e9d4" + "0" * 33, "41d0c9e" + "0" * 33]
        return [CommitInfo(sha, "", (), person, person, text) for sha, text in zip(shas, told, strict=True)]

    def names(self, actor: Actor, tenant: str, name: str) -> tuple[list[str], list[str]]:
        return (["main"], ["v1"]) if self.tip(actor, tenant, name).sha else ([], [])

    def refs(self, actor: Actor, tenant: str, name: str) -> Refs:
        if not self.tip(actor, tenant, name).sha:
            return Refs({}, {})
        first, second, third = self._commits()
        return Refs({"fix/refund-rounding": first, NASTY: second, "main": third}, {"v1": third})

    def tip(self, actor: Actor, tenant: str, name: str, ref: str = "") -> Tip:
        self._services.catalog.get(actor, tenant, name)
        return Tip(ref or "main", "" if self._services.empty else self._commits()[0].sha)

    def at(self, actor: Actor, tenant: str, name: str, sha: str, path: str = "") -> Folder | File:
        actor.require("read", tenant)
        if path in ("", "src"):
            prefix = f"{path}/" if path else ""
            named: tuple[tuple[str, EntryKind, int | None], ...] = (
                ("src", "folder", None), ("refunds.py", "file", 1234), (NASTY, "file", 5), ("lib", "submodule", None),
                ("README.md", "file", len(README) if not path else 10_000_000), ("logo.png", "file", len(PIXEL)),
            )  # fmt: skip
            return Folder(path, tuple(TreeEntry(n, prefix + n, kind, sha, size) for n, kind, size in named))
        if path == "many":
            names = [f"record-{n:05}.json" for n in range(10_000)]
            return Folder(path, tuple(TreeEntry(name, f"many/{name}", "file", sha, n) for n, name in enumerate(names)))
        files = {"logo.png": PIXEL, "app.bin": b"\0\1", "README.md": README, "notes.md": b"# Notes\n"}
        if path in files:
            return File(path, files[path])
        if path != "src/refunds.py":
            raise NotFound(f"There is no file {path!r} in commit {sha[:12]}.")
        return File(path, SOURCE.encode())

    def sized(
        self, actor: Actor, tenant: str, name: str, entries: builtins.list[TreeEntry]
    ) -> builtins.list[TreeEntry]:
        return [*entries]

    def content(self, actor: Actor, tenant: str, name: str, entry: TreeEntry, *, limit: int) -> bytes:
        actor.require("read", tenant)
        return README

    def last_commits(
        self, actor: Actor, tenant: str, name: str, sha: str, folder: str, *, wait_s: float
    ) -> LastCommits:
        actor.require("read", tenant)
        if folder and wait_s < 1:
            return LastCommits()
        first, second, third = (LastCommit(one.sha, NOW - 3600, one.subject) for one in self._commits())
        return LastCommits({"src": first, "refunds.py": first, NASTY: second, "README.md": third, "lib": third}, True)

    def history(self, actor: Actor, tenant: str, name: str, sha: str, *, skip: int, limit: int) -> list[CommitInfo]:
        actor.require("read", tenant)
        return self._commits()[skip : skip + limit]

    def patch(self, actor: Actor, tenant: str, name: str, sha: str) -> Patch:
        self._services.catalog.get(actor, tenant, name)
        found = [one for one in self._commits() if one.sha == sha]
        if not found:
            raise NotFound(f"There is no commit {sha!r}.")
        return Patch(found[0], PATCH, True)


class _Removal:
    """Whatever `going_on` lists keeps the repository."""

    def __init__(self, services: FixtureServices) -> None:
        self._services = services
        self.runs: list[str] = []

    def going_on(self, actor: Actor, tenant: str, name: str) -> list[str]:
        actor.require("own", tenant)
        self._services.catalog.get(actor, tenant, name)
        return self.runs

    def remove(self, actor: Actor, tenant: str, name: str) -> None:
        actor.require("own", tenant)
        self._services.stopped.append(f"no {tenant}/{name}")


class _Deployments:
    """Run 1838 is in every environment; what it went with went from there on."""

    def __init__(self, changes: _Changes) -> None:
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


class _Trends:
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


class _Moments:
    def changes(self, actor: Actor, run_id: str, key: str) -> Changes:
        actor.require("write", "acme")
        return Changes(
            [
                FileChange("src/refunds.py", "changed", 1234, 1240, PATCH.partition("diff --git a/logo.png")[0]),
                FileChange(f"build/{NASTY}", "added", None, 9 << 20, why="It is too large to be compared."),
                FileChange(
                    "docs/old.md", "removed", 310, None, "--- a/docs/old.md\n+++ /dev/null\n@@ -1 +0,0 @@\n-Old.\n"
                ),
            ],
            5003,
        )

    def archive(self, actor: Actor, run_id: str, key: str, when: str) -> list[bytes]:
        actor.require("write", "acme")
        return []


class _Caches:
    def __init__(self, services: FixtureServices) -> None:
        self._services = services

    def list(self, actor: Actor, tenant: str, name: str) -> list[CacheKey]:
        actor.require("read", tenant)
        if self._services.empty:
            return []
        return [
            CacheKey("npm-7c1e9d4", "main", ("node_modules", ".npm"), "d1", 9 << 25, 31_204, NOW - 900, NOW - 300, "r"),
            CacheKey(NASTY, "round-refunds", ("target",), "d2", 9 << 20, 1, NOW - 900, NOW - 900, "r2"),
        ]  # fmt: skip

    def remove(self, actor: Actor, tenant: str, name: str, prefix: str = "", branch: str = "") -> int:
        actor.require("manage", tenant)
        self._services.stopped.append(f"caches {prefix} {branch}".strip())
        return 0

    def remove_key(self, actor: Actor, tenant: str, name: str, key: str, branch: str) -> int:
        actor.require("manage", tenant)
        self._services.stopped.append(f"cache {key} of {branch}")
        return 1


class _Catalog:
    def __init__(self, services: FixtureServices) -> None:
        self._services = services

    def _repository(self, actor: Actor, name: str = "payments-api") -> RepositoryView:
        last = None if self._services.empty else summary()
        may = tuple(a for a in ACTIONS if actor.may(a, "acme"))
        return RepositoryView(
            "r1", "acme", name, "Takes and gives back money", "main", ("main",), NOW, "ida.berg", last, may
        )

    def list(self, actor: Actor, tenant: str | None = None, *, last_runs: bool = True) -> list[RepositoryView]:
        one = self._repository(actor)
        shown = one if last_runs else replace(one, last_run=None)
        return [shown] if actor.tenants and not self._services.empty else []

    def get(self, actor: Actor, tenant: str, name: str) -> RepositoryView:
        actor.require("read", tenant)
        if name not in ("payments-api", "broken", "new-project"):
            raise NotFound(f"There is no '{tenant}/{name}', or you may not see it.")
        return self._repository(actor, name)

    def create(self, actor: Actor, tenant: str, name: str, description: str = "") -> RepositoryView:
        actor.require("write", tenant)
        return self._repository(actor, name)

    artifacts_days = 90.0

    def update(self, actor: Actor, tenant: str, name: str, **_: Any) -> None:
        actor.require("manage", tenant)

    def schedules(self, actor: Actor, tenant: str, name: str) -> tuple[ScheduleView, ...]:
        actor.require("read", tenant)
        if self._services.empty:
            return ()
        return (ScheduleView("Nightly", "0 3 * * 1-5", "Europe/Berlin", NOW + 30_000, NOW - 50_000),)

    def pipelines(self, actor: Actor, tenant: str, name: str, ref: str | None = None) -> PipelinesView:
        actor.require("read", tenant)
        if name == "broken":
            problem = Problem("syntax-error", f"invalid syntax {NASTY}", "pipeline.py", 12, "Traceback …")
            return PipelinesView("main", "7c1e9d4", (), problem)
        if self._services.empty:
            return PipelinesView("main", "", (), Problem("empty", "Nothing has been pushed yet."))
        inputs = (InputView("target", ("staging", "production"), "staging", True), InputView("note", (), "", False))
        ship = PipelineView(
            "Ship", "pipeline.py:Ship", "Check every push; ship main.", 7, ("push to main", "manual"), True, inputs
        )
        return PipelinesView("main", "7c1e9d4", (ship,))


class _Environments:
    def list(self, actor: Actor, tenant: str, name: str) -> list[EnvironmentView]:
        actor.require("read", tenant)
        return [EnvironmentView("production", ("ida.berg", "jun.sato"), 2, ("main",), True)]

    def get(self, actor: Actor, tenant: str, name: str, environment: str) -> EnvironmentView:
        return self.list(actor, tenant, name)[0]

    def put(self, actor: Actor, tenant: str, *_: Any, **__: Any) -> None:
        actor.require("manage", tenant)

    def remove(self, actor: Actor, tenant: str, *_: Any) -> None:
        actor.require("manage", tenant)


def services(state: Path, empty: bool = False, base: str = "http://testserver") -> FixtureServices:
    """Make services over a state directory; `empty`: of somebody who has just signed in for the first time."""
    return FixtureServices(Settings(state=state, url=base), empty)
