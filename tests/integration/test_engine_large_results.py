"""Results that are larger than a journal takes: kept beside it, given back, bounded, and gone with their run."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from engines import Workshop

from stepwell.engine.specs import Limits, Restart, RunSpec
from stepwell.errors import Conflict
from stepwell.store.blobs import BlobFile, BlobFiles


@pytest.fixture
async def shop(tmp_path: Path) -> AsyncIterator[Workshop]:
    shop = Workshop(tmp_path)
    yield shop
    await shop.isolates.close()


@pytest.fixture
def blobs(tmp_path: Path) -> BlobFiles:
    return BlobFiles(tmp_path / "blobs")


LARGE = """
def large(letter, size=1_500_000): return [letter * size, size]
first = await step.do("a", large, "ä")
await step.wait_for_event("w", type="go")
second = await step.do("b", large, "b", 1_048_571)
return [first[0][-1], len(first[0]), first[1], len(second[0])]
"""


async def test_a_large_result_stands_beside_the_journal_and_comes_back(shop: Workshop, blobs: BlobFiles) -> None:
    async with shop.running(blobs=blobs):
        await shop.create(LARGE)
        waiting = await shop.hibernating()
        step = waiting.steps["a#1"]
        assert step.value is None and step.blob is not None
        whole = blobs.path("r", step.blob["id"]).read_bytes()
        assert (len(whole), json.loads(whole)) == (step.blob["size"], ["ä" * 1_500_000, 1_500_000])
    async with shop.running(blobs=blobs) as engine:
        await engine.send_event("r", "go", None)
        state = await shop.finished()
        assert state.result == ["ä", 1_500_000, 1_500_000, 1_048_571]
        assert state.steps["b#1"].blob is not None
        assert sum(len(json.dumps(entry.data)) for entry in await engine.journal("r")) < 3_000


async def test_exactly_a_mebibyte_stays_in_the_journal(shop: Workshop, blobs: BlobFiles) -> None:
    async with shop.running(blobs=blobs):
        await shop.create('return len(await step.do("a", lambda: "x" * 1_048_574))')
        state = await shop.finished()
        assert (state.result, state.steps["a#1"].blob) == (1_048_574, None)


async def test_many_large_results_at_once_from_threads_and_tasks(shop: Workshop, blobs: BlobFiles) -> None:
    body = """
def sync(n): return str(n) * 1_100_000
async def other(n): return str(n) * 1_100_000
texts = await gather(*(step.do("t", (sync, other)[n % 2], n) for n in range(8)))
await step.wait_for_event("w", type="go")
return [[text[0], len(text)] for text in texts]
"""
    async with shop.running(blobs=blobs) as engine:
        await shop.create(body)
        await shop.hibernating()
        await engine.send_event("r", "go", None)
        assert (await shop.finished()).result == [[str(n), 1_100_000] for n in range(8)]


@pytest.mark.parametrize(
    ("most", "said"),
    [
        (3_000_000, "The result of step 'a' is 4,000,002 bytes of JSON; at most 3,000,000 (2 MiB) are kept."),
        (None, "The result of step 'a' is 4,000,002 bytes of JSON; at most 1,048,576 (1 MiB) are kept."),
    ],
)
async def test_what_is_too_large_is_refused_by_name(
    shop: Workshop, blobs: BlobFiles, most: int | None, said: str
) -> None:
    if most is not None:
        blobs.most_bytes = most
    async with shop.running(blobs=blobs if most is not None else None):
        await shop.create('await step.do("a", lambda: "x" * 4_000_000, retries=0)')
        state = await shop.finished()
        assert state.steps["a#1"].error is not None
        assert (state.steps["a#1"].error["type"], said in str(state.reason)) == ("ResultRefused", True)


async def test_all_results_of_a_run_have_a_bound(shop: Workshop, blobs: BlobFiles) -> None:
    async with shop.running(blobs=blobs, limits=Limits(kept_bytes=3_000_000)):
        await shop.create('for n in range(9): await step.do("a", lambda: "x" * 1_400_000)')
        state = await shop.finished()
        assert str(state.reason) == (
            "The run's results take 3,000,000 bytes beside its journal; no more are allowed. Return less."
        )
        assert state.counts["passed"] == 2


async def test_a_step_that_is_given_up_while_its_result_is_kept_blocks_nothing(
    shop: Workshop, blobs: BlobFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep, begun, go = BlobFile.keep, asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()

    def slow(self: BlobFile) -> str:
        loop.call_soon_threadsafe(begun.set)
        asyncio.run_coroutine_threadsafe(go.wait(), loop).result(20)
        return keep(self)

    monkeypatch.setattr(BlobFile, "keep", slow)
    body = """
task = asyncio.ensure_future(step.do("a", lambda: "x" * 2_000_000))
await step.wait_for_event("w", type="go")
task.cancel()
await step.wait_for_event("on", type="on")
return "over"
"""
    async with shop.running(blobs=blobs) as engine:
        await shop.create(body)
        await asyncio.wait_for(begun.wait(), 60)
        await engine.send_event("r", "go", None)
        await shop.until(lambda state: any(step.name == "on" for step in state.steps.values()))
        go.set()
        assert (await shop.hibernating()).steps["a#1"].state == "passed"
        await engine.send_event("r", "on", None)
        assert (await shop.finished()).result == "over"


async def test_a_blob_that_is_gone_holds_the_run_and_says_so(shop: Workshop, blobs: BlobFiles) -> None:
    async with shop.running(blobs=blobs) as engine:
        await shop.create(LARGE)
        step = (await shop.hibernating()).steps["a#1"]
        assert step.blob is not None
        path = blobs.path("r", step.blob["id"])
        kept = path.read_bytes()
        path.unlink()
        await engine.send_event("r", "go", None)
        state = await shop.until(lambda state: "cannot be read" in str(state.reason))
        assert not state.finished
        path.write_bytes(kept)
    async with shop.running(blobs=blobs):
        assert (await shop.finished()).state == "passed"


async def test_a_full_disk_postpones_the_turn(
    shop: Workshop, blobs: BlobFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = [True]
    keep = BlobFile.keep

    def refused(self: BlobFile) -> str:
        if full:
            full.pop()
            raise OSError(28, "No space left on device")
        return keep(self)

    monkeypatch.setattr(BlobFile, "keep", refused)
    async with shop.running(blobs=blobs, limits=Limits(again=0.05)):
        await shop.create('return len(await step.do("a", lambda: "x" * 2_000_000))')
        assert (await shop.finished()).result == 2_000_000


async def test_a_fresh_journal_takes_no_old_results_along(shop: Workshop, blobs: BlobFiles, tmp_path: Path) -> None:
    body = """
await step.do("a", lambda: "x" * 2_000_000)
if not event.payload: await step.continue_as(1)
await step.wait_for_event("w", type="go")
"""
    async with shop.running(blobs=blobs):
        await shop.create(body)
        await shop.until(lambda state: state.round == 2 and state.state == "waiting")
        assert len([path for path in (tmp_path / "blobs").rglob("*") if path.is_file()]) == 1


async def test_a_restarted_run_has_the_large_results_that_it_adopts(shop: Workshop, blobs: BlobFiles) -> None:
    body = """
text = await step.do("a", lambda: "x" * 2_000_000)
await step.sleep("s", 0)
if not os.path.exists(MENDED): await step.do("boom", lambda: 1 / 0, retries=0)
return len(text)
""".replace("MENDED", repr(str(shop.database.parent / "mended")))

    async def again(id: str) -> None:
        failed = await shop.engine.get("r")
        assert failed is not None
        restart = Restart("r", "boom#1")
        await shop.engine.create(
            RunSpec(id, "t", "t/x", "W", failed.metadata, {}, failed.code, "pipeline.py:W", restart=restart)
        )

    async with shop.running(blobs=blobs):
        await shop.create(body)
        assert (await shop.finished()).state == "failed"
        (shop.database.parent / "mended").touch()
        await again("again")
        blobs.remove("r")
        assert (await shop.finished("again")).result == 2_000_000
        with pytest.raises(Conflict, match=r"is not kept any more\. Restart from the step that made it"):
            await again("late")


HOSTILE: list[Any] = [
    ["chunk", "a#1", 1, "x"],
    ["chunk", "a#1", 0, 7],
    ["chunk", "a#1", 0],
    ["chunk", 7, 0, "x"],
    ["large", "a#1", "a", "f", 1, 5, 0.0],
    ["large", "s#1", "a", "f", 1, 1, 0.0],
    ["fetch", "../../../etc/passwd", 0],
    ["fetch", "0" * 64, -1],
    ["fetch", "0" * 64, "0"],
    ["fetch"],
]


@pytest.mark.parametrize("command", HOSTILE)
async def test_what_is_no_result_gets_nowhere(shop: Workshop, blobs: BlobFiles, command: list[Any]) -> None:
    body = f"""
import json
asleep = step.sleep("s", 1000)
step._turn.wire.put(json.dumps({command!r}))
await asleep
"""
    async with shop.running(blobs=blobs):
        await shop.create(body)
        state = await shop.until(lambda state: state.finished or "There is no blob" in str(state.reason))
        assert "broke the protocol" in str(state.reason) or command[1].startswith("..")
