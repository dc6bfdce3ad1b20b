"""Runs in every state, as services in memory show them, with journals and programs."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from stepwell.ci.views import (
    ApprovalView,
    AttemptView,
    DecisionView,
    RunLink,
    RunSummary,
    RunView,
    StepView,
    WaitingView,
    WayOn,
)
from stepwell.engine.entries import Entry
from stepwell.engine.rounds import PastStep, Round

NOW = 1_763_800_000.0

NASTY = "</script><script>alert(1)</script><img src=x onerror=alert(2)>\u202emoc"


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
        run,
        {"kind": "push"},
        "pipeline.py:Ship",
        "c0de",
        {"invoices": 12, "sent": True},
        None,
        steps,
        (),
        True,
        0,
        round=3,
        rounds=rounds,
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
