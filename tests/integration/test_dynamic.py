"""Dynamic workflows: each run finds its own code, and nobody finds another's run."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from stepwell.dynamic import Start, bind, route
from stepwell.engine.engine import Engine
from stepwell.engine.local import NoLogs, ProcessIsolates
from stepwell.engine.seams import Code
from stepwell.errors import Conflict, Invalid, NotFound
from stepwell.store.journal_sqlite import SqliteJournal

PLAN = """
from stepwell import Pipeline

def answer(n): return n + {extra}

class Plan(Pipeline):
    async def run(self, event, step):
        got = await step.wait_for_event("w{extra}", type="go") if {waits} else 0
        return await step.do("step of {tenant}", answer, got)
"""


def code_of(metadata: Mapping[str, Any]) -> Code:
    extra = int(metadata.get("extra", 1))
    text = PLAN.format(extra=extra, tenant=metadata["tenant"], waits=metadata.get("waits", False))
    return Code(f"{metadata['tenant']}-{extra}", {"pipeline.py": text}, "pipeline.py:Plan")


async def load(metadata: Mapping[str, Any]) -> Code:
    return code_of(metadata)


@pytest.fixture
async def isolates() -> AsyncIterator[ProcessIsolates]:
    isolates = ProcessIsolates()
    yield isolates
    await isolates.close()


@pytest.fixture
async def engine(tmp_path: Path, isolates: ProcessIsolates) -> AsyncIterator[Engine]:
    engine = Engine(SqliteJournal(tmp_path / "runs.db"), isolates, route(load), logs=NoLogs())
    await engine.start()
    yield engine
    await engine.stop()


async def test_ten_lines_and_one_file_are_enough(tmp_path: Path) -> None:
    isolates = ProcessIsolates()
    engine = Engine(SqliteJournal(tmp_path / "runs.db"), isolates, route(load), logs=NoLogs())
    await engine.start()
    workflows = bind(engine, {"tenant": "acme"})
    handle = await workflows.create(params={"kind": "manual"})
    assert (await handle.finished()).result == 1
    await engine.stop()
    await isolates.close()


async def test_every_tenant_runs_its_own_code_across_a_restart(tmp_path: Path, isolates: ProcessIsolates) -> None:
    database = tmp_path / "runs.db"
    ids: dict[int, str] = {}
    for start in (True, False):
        engine = Engine(SqliteJournal(database), isolates, route(load), logs=NoLogs())
        await engine.start()
        for n in range(12):
            workflows = bind(engine, {"tenant": f"t{n}", "extra": n, "waits": True})
            if start:
                ids[n] = (await workflows.create({"kind": "manual"})).id
            else:
                handle = await workflows.get(ids[n])
                await handle.send_event("go", 100)
                state = await asyncio.wait_for(handle.finished(), 60)
                assert (state.result, f"step of t{n}#1" in state.steps) == (100 + n, True)
        await engine.stop()


async def test_a_handle_is_only_for_runs_of_its_metadata(engine: Engine) -> None:
    handle = await bind(engine, {"tenant": "acme", "repository": 1}).create(
        {"kind": "manual"}, metadata={"commit": "c"}
    )
    for metadata in ({"tenant": "acme", "repository": 1}, {"tenant": "acme"}):
        assert (await bind(engine, metadata).get(handle.id)).number == 1
    for metadata in ({"tenant": "evil"}, {"tenant": "acme", "repository": 2}, {"tenant": "acme", "commit": "d"}):
        with pytest.raises(NotFound):
            await bind(engine, metadata).get(handle.id)


async def test_bound_metadata_cannot_be_changed_nor_ids_be_stolen(engine: Engine) -> None:
    acme, evil = bind(engine, {"tenant": "acme"}), bind(engine, {"tenant": "evil"})
    await acme.create({"kind": "manual"}, id="one")
    with pytest.raises(Conflict):
        await evil.create({"kind": "manual"}, id="one")
    with pytest.raises(Invalid):
        await evil.create({"kind": "manual"}, metadata={"tenant": "acme"})
    assert not (await acme.create({"kind": "manual"}, id="one")).created


async def test_a_batch_is_numbered_in_its_scope(engine: Engine) -> None:
    workflows = bind(engine, {"tenant": "acme", "name": "acme/api"})
    handles = await workflows.create_batch([Start({"kind": "manual"}, id=f"b{n}") for n in range(5)])
    assert [handle.number for handle in handles] == [1, 2, 3, 4, 5]
    for handle in handles:
        assert (await asyncio.wait_for(handle.finished(), 60)).scope == "acme/api"


async def test_equal_metadata_are_loaded_once_and_failures_are_not_kept() -> None:
    asked = 0

    async def slow(metadata: Mapping[str, Any]) -> Code:
        nonlocal asked
        asked += 1
        await asyncio.sleep(0)
        if asked == 1:
            raise NotFound("gone")
        return code_of(metadata)

    loader = route(slow)
    with pytest.raises(NotFound):
        await loader({"tenant": "a"})
    first, second = await asyncio.gather(loader({"tenant": "a"}), loader({"tenant": "a"}))
    assert first is second and await loader({"tenant": "a"}) is first
    assert asked == 2
