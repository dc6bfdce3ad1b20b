"""A loader may fail in every way it likes: the run says why, is kept, and goes on when the code is back."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from engines import Workshop

from stepwell.dynamic import Code, bind, pin, route
from stepwell.engine.specs import Limits
from stepwell.errors import Conflict, Invalid, NotFound, TryLater

QUICK = Limits(loading=0.05, again=0.02)
WAITS = """
class W(Pipeline):
    async def run(self, event, step):
        return await step.wait_for_event("w", type="go")
"""
Load = Callable[[Mapping[str, Any]], Awaitable[Code]]


@pytest.fixture
async def shop(tmp_path: Path) -> AsyncIterator[Workshop]:
    shop = Workshop(tmp_path)
    shop.sources["s"] = WAITS
    yield shop
    await shop.isolates.close()


async def fails(metadata: Mapping[str, Any]) -> Code:
    raise ZeroDivisionError("the embedder's mistake")


async def is_lost(metadata: Mapping[str, Any]) -> Code:
    raise NotFound("The code was deleted.")


async def hangs(metadata: Mapping[str, Any]) -> Code:
    await asyncio.Event().wait()
    raise AssertionError


async def gives_nothing(metadata: Mapping[str, Any]) -> Any:
    return None


async def gives_bytes(metadata: Mapping[str, Any]) -> Code:
    return Code("d", {"pipeline.py": b"import os"}, "pipeline.py:W")  # type: ignore[dict-item]


def waits_for_nothing(metadata: Mapping[str, Any]) -> Any:
    return pin({"pipeline.py": WAITS}, "pipeline.py:W")


async def gives_other_code(metadata: Mapping[str, Any]) -> Code:
    return pin({"pipeline.py": WAITS}, "pipeline.py:W")


@pytest.mark.parametrize(
    ("broken", "says"),
    [
        (fails, "could not be loaded: ZeroDivisionError: the embedder's mistake"),
        (is_lost, "The code was deleted."),
        (hangs, "is not there after 0.05 s"),
        (gives_nothing, "gave NoneType for this run where Code belongs"),
        (gives_nothing, "Have it return Code, as pin(files, entry) makes it."),
        (waits_for_nothing, "gave Code where something to await belongs. Write `async def load(metadata):`."),
        (gives_bytes, "Code has file 'pipeline.py' of type bytes"),
        (gives_other_code, "The code of this run has changed"),
    ],
)
async def test_whatever_is_wrong_with_the_code_is_a_reason_and_no_loss(shop: Workshop, broken: Load, says: str) -> None:
    async with shop.running(limits=QUICK) as engine:
        handle = await bind(engine, {"tenant": "t", "source": "s"}).create({"kind": "manual"})
        await shop.hibernating(handle.id)
    async with shop.running(limits=QUICK, loader=route(broken)) as engine:
        handle = await bind(engine, {"tenant": "t"}).get(handle.id)
        await handle.send_event("go", "yes")
        state = await shop.until(lambda state: state.reason, handle.id)
        assert state.state == "waiting" and says in str(state.reason)
    async with shop.running(limits=QUICK) as engine:
        assert (await shop.finished(handle.id)).result == "yes"


@pytest.mark.parametrize("broken", [fails, is_lost, hangs, gives_nothing])
async def test_who_asks_again_for_a_run_that_is_there_needs_no_loader(shop: Workshop, broken: Load) -> None:
    async with shop.running(limits=QUICK) as engine:
        first = await bind(engine, {"tenant": "t", "source": "s"}).create({"payload": 1}, id="once")
    async with shop.running(limits=QUICK, loader=route(broken)) as engine:
        again = await bind(engine, {"tenant": "t", "source": "s"}).create({"payload": 1}, id="once")
        assert (first.created, again.created, again.number) == (True, False, first.number)
        with pytest.raises(Conflict, match="'once' is taken"):
            await bind(engine, {"tenant": "u", "source": "s"}).create({"payload": 1}, id="once")


@pytest.mark.parametrize(
    ("broken", "says"), [(hangs, "is not there after 0.05 s"), (gives_nothing, "gave NoneType for this run")]
)
async def test_a_loader_that_gives_no_code_creates_no_run(shop: Workshop, broken: Load, says: str) -> None:
    async with shop.running(limits=QUICK, loader=broken) as engine:
        workflows = bind(engine, {"tenant": "t", "source": "s"})
        with pytest.raises(TryLater, match=says):
            await workflows.create({"payload": 1})
        assert await workflows.runs() == []


async def test_a_loader_that_recovers_needs_no_restart(shop: Workshop) -> None:
    broken = False

    async def load(metadata: Mapping[str, Any]) -> Code:
        return await (fails if broken else shop.load)(metadata)

    async with shop.running(limits=QUICK, loader=load) as engine:
        handle = await bind(engine, {"tenant": "t", "source": "s"}).create({"kind": "manual"})
        await shop.hibernating(handle.id)
        broken = True
        await handle.send_event("go", "yes")
        await shop.until(lambda state: state.reason, handle.id)
        broken = False
        assert (await shop.finished(handle.id)).result == "yes"


async def test_runs_that_wake_together_ask_a_slow_loader_once(shop: Workshop) -> None:
    asked = 0
    may_answer = asyncio.Event()

    async def slow(metadata: Mapping[str, Any]) -> Code:
        nonlocal asked
        asked += 1
        await may_answer.wait()
        return await shop.load(metadata)

    async with shop.running() as engine:
        workflows = bind(engine, {"tenant": "t", "source": "s"})
        handles = [await workflows.create({"kind": "manual"}) for _ in range(5)]
        for handle in handles:
            await shop.hibernating(handle.id)
    async with shop.running(limits=QUICK, loader=route(slow)):
        for handle in handles:
            await shop.engine.send_event(handle.id, "go", "yes")
            await shop.until(lambda state: state.reason, handle.id)
        may_answer.set()
        for handle in handles:
            assert (await shop.finished(handle.id)).result == "yes"
    assert asked == 1


async def test_a_loader_cannot_change_metadata() -> None:
    async def greedy(metadata: Any) -> Code:
        metadata["tenant"] = "evil"
        metadata["list"].append("more")
        return pin({"pipeline.py": ""}, "pipeline.py")

    metadata = {"tenant": "acme", "list": ["one"]}
    await route(greedy)(metadata)
    assert metadata == {"tenant": "acme", "list": ["one"]}


def test_code_is_pinned_by_its_content() -> None:
    code = pin({"a.py": "1", "b.py": "2"}, "a.py:A")
    assert pin({"b.py": "2", "a.py": "1"}, "a.py:A").digest == code.digest
    others = [pin({"a.py": "1", "b.py": "3"}, "a.py:A"), pin({"a.py": "1"}, "a.py:A"), pin(code.files, "a.py:B")]
    assert len({code.digest, *(other.digest for other in others)}) == 4
    assert pin(code.files, "a.py:A", root="acme").digest == code.digest


@pytest.mark.parametrize(
    "wrong", [{"digest": 1}, {"files": ["pipeline.py"]}, {"files": {"pipeline.py": None}}, {"entry": None}]
)
def test_what_no_isolate_could_be_sent_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(Invalid, match="Give text, and files"):
        Code(**{"digest": "d", "files": {}, "entry": "pipeline.py", **wrong})


@pytest.mark.parametrize(
    ("files", "entry", "says"),
    [
        ({}, "pipeline.py", "names no module of this code; its modules are: none."),
        ({"a.py": "", "b.txt": ""}, "pipeline.py", "its modules are: 'a.py'. Write one of them"),
        ({"pipeline.py": ""}, ".stepwell/pipeline.py:W", "its modules are: 'pipeline.py'."),
        ({".stepwell/pipeline.py": ""}, ".stepwell/pipeline.py", "its modules are: none."),
        ({"plan": ""}, "plan", "names no module"),
        ({"pipeline.py": ""}, "", "The entry '' names no module"),
        ({"pipeline.py": "", "../b": ""}, "pipeline.py", "Code has a file '../b'"),
        ({"/pipeline.py": ""}, "/pipeline.py", "Code has a file '/pipeline.py'"),
        ({"": "", "pipeline.py": ""}, "pipeline.py", "Code has a file ''"),
        ({"pipeline.py": b""}, "pipeline.py", "Code has file 'pipeline.py' of type bytes"),
        ({"pipeline.py": ""}, None, "Code has entry of type NoneType"),
    ],
)
def test_code_that_no_run_could_be_made_of_is_not_pinned(files: Any, entry: Any, says: str) -> None:
    with pytest.raises(Invalid) as caught:
        pin(files, entry)
    assert says in str(caught.value)


def test_code_may_have_files_beside_its_modules() -> None:
    files = {"pipeline.py": "", "steps/mail.py": "", ".env": "", "a b/ü.txt": ""}
    assert pin(files, "steps/mail.py:Mail").digest != pin(files, "pipeline.py").digest
