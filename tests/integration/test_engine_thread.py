"""The engine on its own thread: reached from other loops and threads, and honest about not running."""

import asyncio
from pathlib import Path

import pytest
from engines import Workshop

from stepwell.dynamic import bind, route
from stepwell.engine.engine import Engine
from stepwell.engine.local import NoLogs
from stepwell.engine.thread import EngineThread
from stepwell.errors import Unavailable


async def test_another_loop_creates_a_run_and_waits_for_it(tmp_path: Path) -> None:
    shop = Workshop(tmp_path)
    shop.sources["s"] = "class W(Pipeline):\n    async def run(self, event, step):\n        return 7\n"
    engine = Engine(shop.journal(), shop.isolates, route(shop.load), logs=NoLogs())
    order: list[str] = []

    async def before() -> None:
        order.append("before")

    async def after() -> None:
        order.append("after")
        await shop.isolates.close()

    thread = EngineThread(engine, before=[before], after=[after])
    thread.start()
    try:
        handle = await thread.run(bind(engine, {"tenant": "t", "source": "s"}).create({"kind": "manual"}))
        assert (await asyncio.wait_for(thread.run(handle.finished()), 60)).result == 7
    finally:
        thread.stop()
    assert order == ["before", "after"]
    with pytest.raises(Unavailable):
        thread.submit(engine.get("r"))


def test_what_keeps_the_engine_from_starting_is_raised(tmp_path: Path) -> None:
    (tmp_path / "s.db").write_text("no database " * 100)
    shop = Workshop(tmp_path)
    engine = Engine(shop.journal(), shop.isolates, route(shop.load), logs=NoLogs())
    with pytest.raises(Unavailable):
        EngineThread(engine).start()
