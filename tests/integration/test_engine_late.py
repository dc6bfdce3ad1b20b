"""Steps that take longer than their timeout, through the engine and the real executor together."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest
from engines import Workshop
from heavy import IMAGE, opened
from logged import attempt

from stepwell.engine.attempts import patience
from stepwell.engine.seams import Executed
from stepwell.engine.specs import Limits
from stepwell.engine.state import RunState
from stepwell_runners.executor import LocalExecutor

REPORT = '<testsuite><testcase name="one"/></testsuite>'
LATE = f"mkdir out; echo half > out/part; echo '{REPORT}' > junit.xml; exec sleep 600"
KEEPS = 'timeout=3, artifacts=["out/**"], junit=["junit.xml"]'
REMEDY = "It did not end within 3 seconds, and was killed. Give it longer with timeout=."


@pytest.mark.parametrize(("kind", "killed_after"), [("run", 3700.0), ("image", 3700.0), ("read", 50.0)])
def test_only_reads_are_killed_by_the_engine_itself(kind: Executed, killed_after: float) -> None:
    asked = dataclasses.replace(attempt("make", timeout=50), kind=kind)
    assert patience(asked, Limits())[0] == killed_after
    assert patience(attempt("make"), Limits())[0] == 0


async def late(shop: Workshop, executor: LocalExecutor, options: str) -> RunState:
    async with shop.running(executor=executor):
        await shop.create(f"await step.run('s', {LATE!r}, {options})")
        return await shop.finished(seconds=60)


def assert_kept(state: RunState) -> None:
    step = state.steps["s#1"]
    assert (state.state, step.state) == ("failed", "failed")
    assert step.error is not None and (step.error["type"], step.error["message"]) == ("Timeout", REMEDY)
    assert step.collected is not None
    assert (step.collected["artifacts"], step.collected["reports"]) == (1, 1)
    assert step.collected["tests"]["passed"] == 1


async def test_a_late_command_keeps_its_artifacts_and_reports(shop: Workshop, executor: LocalExecutor) -> None:
    assert_kept(await late(shop, executor, KEEPS))


@pytest.mark.docker
async def test_a_late_container_keeps_its_artifacts_and_reports(
    request: pytest.FixtureRequest, shop: Workshop, engine: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(request, engine, tmp_path, monkeypatch) as executor:
        assert_kept(await late(shop, executor, f"image={IMAGE!r}, {KEEPS}"))
