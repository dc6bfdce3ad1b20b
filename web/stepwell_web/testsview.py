"""The tests of a run as its page shows them: failures first and open, the rest by number."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from stepwell.ci.junit import STATES, Case
from stepwell.ci.reports import StepTests
from stepwell.ci.views import RunView
from stepwell_web import runview, times

MOST_FAILURES, MOST_OTHERS = 200, 1_000
OPEN = 3
"""Failures of a step whose text is open at once."""
_SHOWN = {"failed": "failed", "error": "failed", "skipped": "skipped", "passed": "passed"}
_WORDS = {"failed": "failed", "error": "broken", "skipped": "skipped", "passed": "passed"}


@dataclass(frozen=True)
class CaseRow:
    """A test. `where` is its file and line, `word` its state in one word."""

    group: str
    name: str
    state: str
    word: str
    time: str
    message: str
    text: str
    where: str
    open: bool


@dataclass(frozen=True)
class TestGroup:
    """The tests of a step."""

    step: str
    href: str
    sentence: str
    failures: Sequence[CaseRow]
    failures_left: int
    others: Sequence[tuple[str, str, Sequence[CaseRow], int]]  # state's shape, words, rows, how many are not listed
    problems: Sequence[tuple[str, str]]


def groups(view: RunView, found: Iterable[StepTests]) -> list[TestGroup]:
    """Show tests by step, those with failures first."""
    steps = {step.key: step for step in view.steps}
    ordered = sorted(found, key=lambda one: not (one.counts["failed"] or one.counts["error"]))
    return [_group(one, runview.href(view, steps[one.key])) for one in ordered]


def _group(one: StepTests, href: str) -> TestGroup:
    failed = [case for case in one.cases if case.state in ("failed", "error")]
    rows = [_row(case, number < OPEN) for number, case in enumerate(failed[:MOST_FAILURES])]
    others = []
    for state in ("skipped", "passed"):
        cases = [case for case in one.cases if case.state == state]
        if cases:
            slowest = sorted(cases, key=lambda case: -case.seconds)
            listed = [_row(case) for case in slowest[:MOST_OTHERS]]
            others.append((state, f"{len(cases):,} {state}", listed, len(cases) - len(listed)))
    return TestGroup(one.step, href, sentence(one.counts), rows, len(failed) - len(rows), others, one.problems)


def _row(case: Case, is_open: bool = False) -> CaseRow:
    where = f"{case.file}:{case.line}" if case.file and case.line is not None else case.file
    time = times.duration(case.seconds) if case.seconds else ""
    text = case.text if case.text != case.message else ""
    return CaseRow(
        case.group, case.name or "(no name)", _SHOWN[case.state], _WORDS[case.state], time, case.message, text, where,
        is_open,
    )  # fmt: skip


def sentence(counts: Mapping[str, Any]) -> str:
    """Say how many tests came to what: "2 of 103 tests failed, 1 skipped, in 1m 22s"."""
    if not counts.get("total"):
        return "No tests"
    total = f"{counts['total']:,} test{'' if counts['total'] == 1 else 's'}"
    parts = [f"{counts[state]:,} {_WORDS[state]}" for state in STATES if counts[state]]
    if counts["passed"] == counts["total"]:
        said = f"All {total} passed" if counts["total"] > 1 else "1 test passed"
    else:
        said = f"{total}: {', '.join(parts)}"
    return f"{said} in {times.duration(counts['seconds'])}" if counts["seconds"] else said
