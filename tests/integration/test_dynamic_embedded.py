"""The documented lines, as written: one SQLite file, and nothing of the product around it is imported."""

import ast
import subprocess
import sys
from pathlib import Path
from typing import Any
from unittest.mock import AsyncMock, Mock

import pytest
from engines import Workshop

from stepwell.dynamic import Rate, bind
from stepwell.engine.fold import RunState
from stepwell.engine.seams import BindingCall
from stepwell.errors import Invalid

ROOT = Path(__file__).resolve().parents[2]
FOREIGN = "fastapi starlette uvicorn dulwich git docker sqlmodel sqlalchemy alembic typer jinja2 pydantic cryptography"
CHECK = f"""
import sys
ours = [name for name in sys.modules if name.startswith(("stepwell", "stepwell_runners", "stepwell_web"))]
rooms = {{".".join(name.split(".")[:2]) for name in ours}}
print(sorted(rooms - {{"stepwell"}}), [name for name in {FOREIGN.split()} if name in sys.modules])
"""


def documented(word: str) -> str:
    """Give the example of the page that has this word."""
    examples = (ROOT / "docs" / "dynamic-workflows.md").read_text().split("```python\n")[1:]
    (found,) = (code for example in examples if word in (code := example.split("```", 1)[0]))
    return found


def test_documented_lines_run_with_one_file_and_nothing_else(tmp_path: Path) -> None:
    code = documented("import asyncio")
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


async def test_documented_binding_is_one() -> None:
    code = documented("engine.offer")
    names: dict[str, Any] = {"Invalid": Invalid, "engine": Mock(), "database": Mock(write=AsyncMock(return_value=7))}
    exec(code, names)
    name, notes = names["engine"].offer.call_args.args
    run = RunState("r", tenant="acme")
    assert (
        name == "notes" and await notes.call(BindingCall(run, "notes.write hello#1", 5.0, "write", ("hello",), {})) == 7
    )
    names["database"].write.assert_called_once_with("acme", "hello", key=("r", "notes.write hello#1", 5.0))
    with pytest.raises(Invalid):
        await notes.call(BindingCall(run, "notes.drop#1", 5.0, "drop", (), {}))


async def test_documented_orders_are_accepted(shop: Workshop) -> None:
    async with shop.running() as engine:
        shop.sources["s"] = "class W(Pipeline):\n    async def run(self, event, step): pass"
        names: dict[str, Any] = {"workflows": bind(engine, {"tenant": "acme", "source": "s"})}
        await eval(compile(documented("Order("), "documented", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT), names)
        orders = [(await run.status()).order for run in await names["workflows"].runs()]
        limited, later, grouped = orders
        assert limited.rate == Rate("mails", 100, 60) and later.start_at and (grouped.group, grouped.policy) == (
            "deploy", "newest"
        )  # fmt: skip
