"""The documented lines, as written: one SQLite file, and nothing of the product around it is imported."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FOREIGN = "fastapi starlette uvicorn dulwich git docker sqlmodel sqlalchemy alembic typer jinja2 pydantic cryptography"
CHECK = f"""
import sys
ours = [name for name in sys.modules if name.startswith(("stepwell", "stepwell_runners", "stepwell_web"))]
rooms = {{".".join(name.split(".")[:2]) for name in ours}}
print(sorted(rooms - {{"stepwell"}}), [name for name in {FOREIGN.split()} if name in sys.modules])
"""


def test_documented_lines_run_with_one_file_and_nothing_else(tmp_path: Path) -> None:
    code = (ROOT / "docs" / "dynamic-workflows.md").read_text().split("```python\n", 1)[1].split("```", 1)[0]
    (tmp_path / "embedded.py").write_text(code + CHECK)
    done = subprocess.run(
        [sys.executable, "embedded.py"], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    said = done.stdout.splitlines()
    assert done.returncode == 0, done.stderr
    assert said[0] == "1 created " and "done greet#1" in done.stdout and said[-3].endswith(" ended ")
    assert said[-2] == "Hello, world!"
    rooms = ["stepwell.authoring", "stepwell.dynamic", "stepwell.engine", "stepwell.errors", "stepwell.store"]
    assert said[-1] == f"{rooms} []"
    assert {path.name.partition("-")[0] for path in tmp_path.iterdir()} == {"embedded.py", "runs.db"}
