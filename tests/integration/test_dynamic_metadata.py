"""Metadata is out of reach of the code that it routes: it cannot be read, and what code says does not change it."""

import asyncio
from typing import Any

import pytest
from engines import Workshop

from stepwell.dynamic import bind
from stepwell.errors import Invalid

SEARCH = """
import gc

def search(halves):
    # Two halves, so that the code does not hold what it looks for.
    first, second = (half.encode() for half in halves)
    found = 0
    with open("/proc/self/maps") as maps, open("/proc/self/mem", "rb", 0) as memory:
        for line in list(maps):
            span, mode, *_rest = line.split()
            if not mode.startswith("rw"):
                continue
            begin, end = (int(part, 16) for part in span.split("-"))
            memory.seek(begin)
            try:
                text = memory.read(end - begin)
            except OSError:
                continue
            at = text.find(first)
            while at >= 0:
                found += text.startswith(second, at + len(first))
                at = text.find(first, at + 1)
    return found

class W(Pipeline):
    async def run(self, event, step):
        first = [await step.do("search", search, halves) for halves in event.payload["halves"]]
        await step.wait_for_event("w", type="again")
        return first, [await step.do("again", search, halves) for halves in event.payload["halves"]]
"""


async def test_no_byte_of_metadata_is_in_the_memory_of_an_isolate(shop: Workshop) -> None:
    shop.sources["s"] = SEARCH
    hidden, shown = ("metadata-", "4f8a1c"), ("payload-", "9b27de")
    async with shop.running() as engine:
        workflows = bind(engine, {"tenant": "t", "source": "s", "key": "".join(hidden)})
        payload = {"halves": [hidden, shown], "whole": "".join(shown)}
        handle = await workflows.create({"kind": "manual", "payload": payload})
        await shop.hibernating(handle.id)
        await handle.send_event("again")
        state = await asyncio.wait_for(handle.finished(), 60)
    for of_metadata, of_payload in state.result:
        assert of_metadata == 0
        assert of_payload > 0, "the search finds what is there"


async def test_what_code_says_is_no_metadata(shop: Workshop) -> None:
    shop.sources["s"] = """
class W(Pipeline):
    async def run(self, event, step):
        forged = {"tenant": "evil", "source": "other", "metadata": {"tenant": "evil"}}
        step._turn._head.update(forged)
        await step.do("forged", give, forged)
        return forged
"""
    async with shop.running() as engine:
        handle = await bind(engine, {"tenant": "t", "source": "s"}).create(
            {"kind": "manual", "payload": {"tenant": "evil", "metadata": {"tenant": "evil"}}}
        )
        state: Any = await asyncio.wait_for(handle.finished(), 60)
        assert (state.state, state.tenant, state.metadata) == ("passed", "t", {"tenant": "t", "source": "s"})
        assert [run.id for run in await bind(engine, {"tenant": "evil"}).runs()] == []


async def test_runs_are_listed_by_their_metadata_the_newest_first(shop: Workshop) -> None:
    shop.sources["s"] = "class W(Pipeline):\n    async def run(self, event, step): pass\n"
    async with shop.running() as engine:
        mine = bind(engine, {"tenant": "t", "source": "s", "name": "t/x"})
        others = bind(engine, {"tenant": "u", "source": "s"}, scope="t/x")
        for n in range(230):
            await (mine if n % 2 else others).create({"kind": "manual"}, metadata={"third": n % 3})
        assert [run.number for run in await mine.runs(limit=1000)] == list(range(230, 0, -2))
        assert [run.number for run in await mine.runs(limit=3, before=100)] == [98, 96, 94]
        narrow = bind(engine, {"tenant": "t", "third": 0}, scope="t/x")
        assert [run.number for run in await narrow.runs(limit=4)] == [226, 220, 214, 208]
        assert await bind(engine, {"tenant": "t", "third": 7}, scope="t/x").runs() == []


async def test_metadata_find_their_runs_after_a_restart_whatever_json_makes_of_them(shop: Workshop) -> None:
    shop.sources["s"] = "class W(Pipeline):\n    async def run(self, event, step): pass\n"
    metadata = {"tenant": "t", "source": "s", "tags": ("x", "y"), "of": {1: (2,)}}
    async with shop.running() as engine:
        made = await bind(engine, metadata).create({"payload": 1}, id="one", metadata={"more": (3,)})
    async with shop.running() as engine:
        found = await bind(engine, metadata).get("one")
        assert (found.number, len(await bind(engine, metadata).runs())) == (made.number, 1)
        assert not (await bind(engine, metadata).create({"payload": 1}, id="one", metadata={"more": (3,)})).created
        assert (await found.status()).metadata["of"] == {"1": [2]}


@pytest.mark.parametrize("value", [{1, 2}, float("nan"), b"bytes", object])
async def test_metadata_that_cannot_be_kept_are_refused(shop: Workshop, value: Any) -> None:
    async with shop.running() as engine:
        with pytest.raises(Invalid, match="Metadata cannot be kept"):
            bind(engine, {"tenant": "t", "what": value})
        with pytest.raises(Invalid, match="Metadata cannot be kept"):
            await bind(engine, {"tenant": "t"}).create({}, metadata={"what": value})


@pytest.mark.parametrize("tenant", ["", 0, None, False, 7, ["t"]])
async def test_a_tenant_that_is_given_is_a_text(shop: Workshop, tenant: Any) -> None:
    async with shop.running() as engine:
        with pytest.raises(Invalid, match="The tenant has value"):
            bind(engine, {"tenant": tenant})
        assert bind(engine, {}).tenant == "default"


async def test_metadata_that_are_none_are_refused(shop: Workshop) -> None:
    async with shop.running() as engine:
        with pytest.raises(
            Invalid, match=r"Metadata have value 'acme'\. Give names and values, like {'tenant': 'acme'}"
        ):
            bind(engine, "acme")  # type: ignore[arg-type]


async def test_tenants_number_their_runs_apart_under_the_same_name(shop: Workshop) -> None:
    async with shop.running() as engine:
        scopes = [bind(engine, {"tenant": one, "name": "greeter"}).scope for one in ("a", "b")]
        assert scopes == ["a/greeter", "b/greeter"]
        assert bind(engine, {"tenant": "a", "name": "a/x"}).scope == "a/x"
        assert (bind(engine, {"tenant": "a"}).scope, bind(engine, {"tenant": "a"}, scope="s").scope) == ("a", "s")


@pytest.mark.parametrize(
    ("asked", "says"),
    [({"params": [1]}, "params has value"), ({"params": "x"}, "params has value"), ({"id": ""}, "id has value ''"),
     ({"id": 7}, "id has value 7")],
)  # fmt: skip
async def test_a_run_is_asked_for_by_names_and_values(shop: Workshop, asked: dict[str, Any], says: str) -> None:
    async with shop.running() as engine:
        with pytest.raises(Invalid, match=says):
            await bind(engine, {"tenant": "t", "source": "s"}).create(asked.pop("params", None), **asked)


@pytest.mark.parametrize("params", [{"order": 7}, {"payload": 1, "tenant": "x"}, {5: 1}])
async def test_params_that_no_event_has_are_not_dropped(shop: Workshop, params: Any) -> None:
    async with shop.running() as engine:
        workflows = bind(engine, {"tenant": "t", "source": "s"})
        with pytest.raises(Invalid, match=r"which no event has\. What code is to see goes into its payload"):
            await workflows.create(params)
        assert await workflows.runs() == []
