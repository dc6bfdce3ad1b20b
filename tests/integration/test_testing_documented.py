"""The test of a pipeline that the documentation shows is the one in the example, and passes there as written."""

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any
from unittest.mock import Mock

from stepwell import Pipeline, Result, push
from stepwell.testing import play

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "pipelines_examples" / "python-service"


def test_documented_test_passes_beside_its_pipeline(tmp_path: Path) -> None:
    shutil.copytree(EXAMPLE, tmp_path, dirs_exist_ok=True)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", ".stepwell"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, "3 passed" in done.stdout) == (0, True), done.stdout + done.stderr


def test_documented_runs_of_runs_are_played() -> None:
    page = (ROOT / "docs" / "pipelines.md").read_text()
    code = page.split("### Other runs", 1)[1].split("```python\n", 1)[1].split("```", 1)[0]
    names: dict[str, Any] = {"Pipeline": Pipeline, "push": push, "__name__": __name__}
    exec(compile(code, __file__, "exec"), names)
    shipped = Mock(side_effect=["us", "eu"])
    given = {"workflows.get": {"id": "r1"}, "workflows.create ship *": {"id": "r2", "number": 2}}
    rollout = play(names["Rollout"], results=given, events={"shipped": shipped})
    assert (rollout.state, rollout.result) == ("passed", ["us", "eu"]), rollout.error
    assert rollout.step("workflows.create ship eu").options["args"][1] == {"region": "eu", "answer": "r1"}
    event = {"kind": "workflow", "payload": {"region": "eu", "answer": "r1"}}
    region = play(names["Region"], event, default=Result(), results={"workflows.send_event r1": None})
    assert (region.state, region.step("deploy").options["environment"]) == ("passed", "eu"), region.error


def test_documentation_and_example_are_the_same() -> None:
    documented = re.search(
        r"```python\n# \.stepwell/test_pipeline\.py.*?\n(.*?)```",
        (ROOT / "docs" / "pipelines.md").read_text(),
        re.DOTALL,
    )
    shipped = (EXAMPLE / ".stepwell" / "test_pipeline.py").read_text().split('"""\n\n', 1)[1]
    assert documented is not None and documented[1] == shipped
