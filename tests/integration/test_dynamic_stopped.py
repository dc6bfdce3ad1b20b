"""An engine that does not run, or runs elsewhere, says so: nobody waits for it for ever, and nothing is half done."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, cast
from unittest.mock import AsyncMock

import pytest
from engines import HEAD

from stepwell.dynamic import Handle, Workflows, bind, embedded, pin
from stepwell.engine.seams import Code
from stepwell.errors import Invalid, Unavailable

WAITS = """
class W(Pipeline):
    async def run(self, event, step):
        return await step.wait_for_event("w", type="go")
"""


async def load(metadata: Mapping[str, Any]) -> Code:
    return pin({"pipeline.py": HEAD + WAITS}, "pipeline.py:W")


async def read(run: Handle) -> None:
    async for _ in run.subscribe():
        pass


CALLS: list[Callable[[Workflows, Handle], Awaitable[object]]] = [
    lambda workflows, run: workflows.create({}),
    lambda workflows, run: workflows.create({}, id=run.id),
    lambda workflows, run: workflows.get(run.id),
    lambda workflows, run: workflows.runs(),
    lambda workflows, run: run.status(),
    lambda workflows, run: run.finished(),
    lambda workflows, run: read(run),
    lambda workflows, run: run.journal(),
    lambda workflows, run: run.send_event("go"),
    lambda workflows, run: run.pause("ann"),
    lambda workflows, run: run.resume("ann"),
    lambda workflows, run: run.cancel("ann"),
    lambda workflows, run: run.terminate("ann"),
]


async def test_whoever_waits_for_a_run_is_told_when_the_engine_stops(tmp_path: Path) -> None:
    async with embedded(tmp_path / "runs.db", load) as engine:
        run = await bind(engine, {"tenant": "t"}).create({})
        waiting = [asyncio.ensure_future(run.finished()), asyncio.ensure_future(read(run))]
        async for entry in run.subscribe():
            if entry.type == "asked":
                break
    told = await asyncio.wait_for(asyncio.gather(*waiting, return_exceptions=True), 60)
    assert [type(one) for one in told] == [Unavailable, Unavailable]
    async with embedded(tmp_path / "runs.db", load) as engine:
        again = await bind(engine, {"tenant": "t"}).get(run.id)
        await again.send_event("go", "on")
        assert (await asyncio.wait_for(again.finished(), 60)).result == "on"


@pytest.mark.parametrize("number", range(len(CALLS)))
async def test_a_stopped_engine_is_asked_for_nothing(number: int, tmp_path: Path) -> None:
    async with embedded(tmp_path / "runs.db", load) as engine:
        workflows = bind(engine, {"tenant": "t"})
        run = await workflows.create({})
    with pytest.raises(Unavailable, match=r"does not run|is closed"):
        await asyncio.wait_for(CALLS[number](workflows, run), 60)
    assert not engine.trouble


async def test_an_engine_is_asked_on_its_own_loop(tmp_path: Path) -> None:
    async with embedded(tmp_path / "runs.db", load) as engine:
        workflows = bind(engine, {"tenant": "t"})
        run = await workflows.create({})

        def ask(call: Callable[[Workflows, Handle], Awaitable[object]]) -> object:
            async def asked() -> object:
                return await call(workflows, run)

            return asyncio.run(asked())

        for call in (CALLS[0], *CALLS[8:]):
            with pytest.raises(Invalid, match="on another loop"):
                await asyncio.to_thread(ask, call)
        assert [one.id for one in await workflows.runs()] == [run.id] and not (await run.status()).finished


@pytest.mark.parametrize("database", [":memory:", "file:runs.db", "", "/"])
async def test_a_database_is_a_file(database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(Invalid, match="Give the path of a file"):
        async with embedded(database, AsyncMock()):
            raise AssertionError
    assert not list(tmp_path.iterdir())


async def test_who_does_it_and_which_event_it_is_are_texts(tmp_path: Path) -> None:
    async with embedded(tmp_path / "runs.db", load) as engine:
        run = await bind(engine, {"tenant": "t"}).create({})
        wrong: Any = None
        for told in (
            run.pause(wrong),
            run.cancel(wrong),
            run.terminate(wrong),
            run.send_event("go", id=cast("Any", 5)),
        ):
            with pytest.raises(Invalid, match=r"(by|id) has value '(None|5)'\. Give a text"):
                await told
        assert [entry.type for entry in await run.journal()][:1] == ["created"]
        assert (await run.status()).state in {"queued", "running", "waiting"}
