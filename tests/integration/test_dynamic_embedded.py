"""The documented lines, as written: one SQLite file, and nothing of the product around it is imported."""

import ast
import asyncio
import os
import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any
from unittest.mock import AsyncMock, Mock

import pytest
from engines import HEAD, Workshop

from stepwell.authoring.version import REPLAY
from stepwell.dynamic import LogLines, Rate, TestClock, bind, embedded, pin, route
from stepwell.engine.engine import Engine
from stepwell.engine.local import NoLogs, ProcessIsolates
from stepwell.engine.seams import BindingCall, Code
from stepwell.engine.state import RunState
from stepwell.engine.thread import EngineThread
from stepwell.errors import Invalid, Unavailable
from stepwell.store.journal_sqlite import SqliteJournal

ROOT = Path(__file__).resolve().parents[2]
FOREIGN = "fastapi starlette uvicorn dulwich git docker sqlmodel sqlalchemy alembic typer jinja2 pydantic cryptography"
ROOMS = ["stepwell.authoring", "stepwell.dynamic", "stepwell.engine", "stepwell.errors", "stepwell.store"]
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


def run(path: Path, program: str) -> list[str]:
    """Run a program and give what it prints."""
    (path / "embedded.py").write_text(program)
    done = subprocess.run(
        [sys.executable, "embedded.py"], cwd=path, capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return done.stdout.splitlines()


def files(path: Path) -> set[str]:
    return {file.name.partition("-")[0] for file in path.iterdir()}


def test_ten_documented_lines_and_one_file_are_enough(tmp_path: Path) -> None:
    program = documented("async with embedded(")
    assert len([line for line in program.splitlines() if line]) <= 10
    (tmp_path / "greet.py").write_text(documented("class Greet("))
    assert run(tmp_path, program + CHECK) == ["Hello, world!", f"{ROOMS} []"]
    assert files(tmp_path) == {"embedded.py", "greet.py", "runs.db"}


def test_documented_parts_run_with_one_file_and_nothing_else(tmp_path: Path) -> None:
    said = run(tmp_path, documented("await engine.start()") + CHECK)
    assert said[0] == "1 created " and "done greet#1" in " ".join(said) and said[-3].endswith(" ended ")
    assert said[-2:] == ["Hello, world!", f"{ROOMS} []"]
    assert files(tmp_path) == {"embedded.py", "runs.db"}


AGAIN = """
class W(Pipeline):
    async def run(self, event, step):
        child = await self.env.workflows.create("child", 1, pipeline="Child")
        said = await self.env.notes.write("hello")
        try:
            await step.run("no", "true")
        except StepFailed as error:
            return await step.wait_for_event("w", type="go"), child["number"], said, error.message

class Child(Pipeline):
    async def run(self, event, step): pass
"""


async def test_an_embedded_engine_goes_on_the_next_time(tmp_path: Path) -> None:
    async def load(metadata: Mapping[str, Any]) -> Code:
        return pin({"pipeline.py": HEAD + AGAIN}, "pipeline.py:W")

    notes = Mock(call=AsyncMock(return_value="written"))
    async with embedded(tmp_path / "runs.db", load, bindings={"notes": notes}) as engine:
        made = await bind(engine, {"tenant": "t"}).create({})
        async for entry in made.subscribe():
            if entry.type == "asked" and entry.key == "w#1":
                break
    async with embedded(tmp_path / "runs.db", load) as engine:
        found = await bind(engine, {"tenant": "t"}).get(made.id)
        await found.send_event("go", "on")
        state = await asyncio.wait_for(found.finished(), 60)
    assert state.result[:3] == ["on", 2, "written"] and "no executor" in state.result[3]
    assert notes.call.await_count == 1


async def test_one_engine_at_a_time_on_a_file(tmp_path: Path) -> None:
    program = """
import asyncio, sys
from unittest.mock import AsyncMock
from stepwell.dynamic import embedded
from stepwell.errors import Unavailable

async def main():
    try:
        async with embedded("runs.db", AsyncMock()):
            print("runs")
    except Unavailable as error:
        print(error)

asyncio.run(main())
"""
    async with embedded(tmp_path / "runs.db", AsyncMock()):
        refused = f"runs on the database 'runs.db' already (process {os.getpid()}). Use that one, end it"
        (said,) = await asyncio.to_thread(run, tmp_path, program)
        assert refused in said
        with pytest.raises(Unavailable, match="already"):
            async with embedded(tmp_path / "runs.db", AsyncMock()):
                raise AssertionError
    assert await asyncio.to_thread(run, tmp_path, program) == ["runs"]


async def test_a_file_that_is_none_leaves_no_process_behind(tmp_path: Path) -> None:
    (tmp_path / "runs.db").mkdir()
    with pytest.raises(Unavailable, match="cannot be opened"):
        async with embedded(tmp_path / "runs.db", AsyncMock()):
            raise AssertionError


async def test_documented_binding_is_one() -> None:
    names: dict[str, Any] = {"Invalid": Invalid, "engine": Mock(), "database": Mock(write=AsyncMock(return_value=7))}
    exec(documented("engine.offer"), names)
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


def test_documented_lines_have_an_engine_on_a_thread(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async def load(metadata: Mapping[str, Any]) -> Code:
        return pin(
            {"pipeline.py": HEAD + "class W(Pipeline):\n    async def run(self, event, step): return event.payload\n"},
            "pipeline.py:W",
        )

    isolates = ProcessIsolates()
    engine = Engine(SqliteJournal(tmp_path / "runs.db"), isolates, route(load), logs=NoLogs())
    names = {"engine": engine, "isolates": isolates, "workflows": bind(engine, {}), "EngineThread": EngineThread}
    exec(documented("EngineThread("), names)
    assert capsys.readouterr().out == "world\n"
    assert isolates.alive == 0 and "engine" not in {thread.name for thread in threading.enumerate()}


async def play_documented(word: str, **names: Any) -> None:
    """Run these documented lines."""
    await eval(compile(documented(word), "documented", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT), names)


async def test_documented_words_of_people_let_the_code_go_on(shop: Workshop) -> None:
    asks = documented("step.approval(").replace("yes = ", "return (", 1).strip() + ").by, "
    shop.sources["s"] = "class W(Pipeline):\n    async def run(self, event, step):\n        " + asks
    async with shop.running() as engine:
        run = await bind(engine, {"tenant": "acme", "source": "s"}).create({})
        await shop.hibernating(run.id)
        await play_documented("run.approve(", run=run)
        assert (await shop.finished(run.id)).result == ["ann"]


async def test_documented_lines_have_a_run_go_on_with_newer_code(shop: Workshop) -> None:
    old = 'class W(Pipeline):\n    async def run(self, event, step):\n        one = await step.do("one", lambda: 1)\n'
    old += '        await step.wait_for_event("w", type="go")\n'
    shop.sources |= {
        "1": old + "        return one",
        "2": old + '        return await step.do("two", lambda: [one, 2])',
    }
    async with shop.running(loader=route(by_version(shop))) as engine:
        workflows = bind(engine, {"tenant": "acme"})
        run = await workflows.create({}, metadata={"version": "1"})
        await shop.hibernating(run.id)
        await play_documented('metadata={"version": "2"}', run=run)
        newer = (await workflows.runs(limit=1))[0]
        await newer.send_event("go")
        assert (await shop.finished(newer.id)).result == [1, 2]


def by_version(shop: Workshop) -> Callable[[Mapping[str, Any]], Awaitable[Code]]:
    async def load(metadata: Mapping[str, Any]) -> Code:
        return pin({"pipeline.py": HEAD + shop.sources[metadata["version"]]}, "pipeline.py:W")

    return load


NOISY = """
class W(Pipeline):
    async def run(self, event, step):
        print("begun")
        large = await step.do("large", lambda: print("at work") or "x" * 1_500_000)
        await step.wait_for_event("w", type="go")
        print("over")
        return len(large)
"""


async def test_an_embedder_may_keep_large_results_and_hear_what_code_prints(tmp_path: Path) -> None:
    async def load(metadata: Mapping[str, Any]) -> Code:
        return pin({"pipeline.py": HEAD + NOISY}, "pipeline.py:W")

    heard: list[tuple[str, str]] = []

    def hear(run: str, key: str, text: str) -> None:
        heard.append((key, text))
        raise RuntimeError("the embedder's mistake")

    place = (tmp_path / "runs.db", load)
    kept = {"large_results": tmp_path / "results", "logs": LogLines(hear)}
    async with embedded(*place, **kept) as engine:  # type: ignore[arg-type]
        run = await bind(engine, {"tenant": "t"}).create({})
        async for entry in run.subscribe():
            if entry.type == "asked":
                break
    async with embedded(*place, **kept) as engine:  # type: ignore[arg-type]
        again = await bind(engine, {"tenant": "t"}).get(run.id)
        await again.send_event("go")
        assert (await asyncio.wait_for(again.finished(), 60)).result == 1_500_000
    assert heard == [("", "begun\n"), ("large#1", "at work\n"), ("", "over\n")]


async def test_a_large_result_without_a_place_is_refused(tmp_path: Path) -> None:
    async def load(metadata: Mapping[str, Any]) -> Code:
        return pin({"pipeline.py": HEAD + NOISY}, "pipeline.py:W")

    async with embedded(tmp_path / "runs.db", load) as engine:
        run = await bind(engine, {"tenant": "t"}).create({})
        state = await asyncio.wait_for(run.finished(), 60)
    assert state.state == "failed" and "Keep large data elsewhere" in str(state.reason)


TORN = """
import lib.mail
class W(Pipeline):
    async def run(self, event, step):
        lib.mail.send()
"""
MAIL = "def send():\n    raise RuntimeError('no post today')\n"


@pytest.mark.parametrize(
    ("rules", "root", "shown"),
    [(REPLAY, "", ""), (REPLAY, "acme/greet", "acme/greet/"), (2, "", ".stepwell/"), (2, "acme/greet", "acme/greet/")],
)
async def test_an_error_names_the_files_of_the_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rules: int, root: str, shown: str
) -> None:
    """A run of before the third rules is shown as it was, for its code may have seen that."""

    async def load(metadata: Mapping[str, Any]) -> Code:
        return pin({"greet.py": HEAD + TORN, "lib/mail.py": MAIL}, "greet.py:W", root=root)

    monkeypatch.setattr("stepwell.engine.engine.REPLAY", rules)
    async with embedded(tmp_path / "runs.db", load) as engine:
        state = await asyncio.wait_for((await bind(engine, {"tenant": "t"}).create({})).finished(), 60)
    assert state.error is not None
    told = [line for line in state.error["traceback"].splitlines() if "File" in line]
    assert told == [
        f'  File "{shown}greet.py", line {HEAD.count(chr(10)) + 5}, in run',
        f'  File "{shown}lib/mail.py", line 2, in send',
    ]


async def test_a_folder_of_the_process_gives_no_modules_to_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def load(metadata: Mapping[str, Any]) -> Code:
        return pin({"greet.py": HEAD + TORN, "lib/__init__.py": ""}, "greet.py:W")

    monkeypatch.chdir(tmp_path)
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "mail.py").write_text(MAIL)
    async with embedded(tmp_path / "runs.db", load) as engine:
        state = await asyncio.wait_for((await bind(engine, {"tenant": "t"}).create({})).finished(), 60)
    assert "there is no module 'lib.mail'. run() sees the standard library, stepwell, and the files beside it." in str(
        state.reason
    )


LONG = """
class W(Pipeline):
    async def run(self, event, step):
        before = step.now()
        await step.sleep("a day", "24 hours")
        return (step.now() - before).total_seconds()
"""


async def test_a_day_is_slept_at_once_when_a_test_moves_the_clock(tmp_path: Path) -> None:
    async def load(metadata: Mapping[str, Any]) -> Code:
        return pin({"pipeline.py": HEAD + LONG}, "pipeline.py:W")

    clock = TestClock()
    async with embedded(tmp_path / "runs.db", load, clock=clock) as engine:
        run = await bind(engine, {"tenant": "t"}).create({})
        async for entry in run.subscribe():
            if entry.type == "asked":
                clock.advance(86_400)
        assert (await run.status()).result == 86_400
