"""The test of a pipeline that the documentation shows is the one in the example, and passes there as written."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "pipelines_examples" / "python-service"


def test_documented_test_passes_beside_its_pipeline(tmp_path: Path) -> None:
    shutil.copytree(EXAMPLE, tmp_path, dirs_exist_ok=True)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", ".stepwell"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, "3 passed" in done.stdout) == (0, True), done.stdout + done.stderr


def test_documentation_and_example_are_the_same() -> None:
    documented = re.search(
        r"```python\n# \.stepwell/test_pipeline\.py.*?\n(.*?)```",
        (ROOT / "docs" / "pipelines.md").read_text(),
        re.DOTALL,
    )
    shipped = (EXAMPLE / ".stepwell" / "test_pipeline.py").read_text().split('"""\n\n', 1)[1]
    assert documented is not None and documented[1] == shipped
