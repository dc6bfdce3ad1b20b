"""Tests for programs: how many passed and failed, and what the failed ones said."""

from typing import Any

from fastapi import APIRouter

from stepwell.ci.junit import CaseState, add_up
from stepwell_web.api import answers
from stepwell_web.api.access import Caller

router = APIRouter(tags=["tests"])


@router.get("/runs/{id}/tests")
def tests(caller: Caller, *, id: str, step: str | None = None, state: CaseState | None = None) -> dict[str, Any]:
    """Count the tests that a run's reports name, and list them by step, failures first; `state` narrows the lists."""
    found = caller.services.reports.listed(caller.actor, id, step)
    steps = []
    for one in found:
        cases = [answers.plain(case) for case in one.cases if state in (None, case.state)]
        steps.append({**answers.plain(one), "cases": cases})
    return {"counts": add_up(one.counts for one in found), "steps": steps}
