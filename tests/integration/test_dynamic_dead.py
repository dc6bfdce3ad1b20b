"""Runs that will not go on by themselves are found with what they died of, and nobody else is among them."""

import sqlite3
from collections.abc import Mapping
from contextlib import closing
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
from engines import HEAD, Workshop

from stepwell.ci.dead_list import DeadList
from stepwell.dynamic import Code, Dead, Death, Handle, Selection, bind, dead_runs, survey
from stepwell.engine.specs import Limits
from stepwell.errors import Invalid, NotFound
from stepwell.store.store import Store

CLASS = "class W(Pipeline):\n    async def run(self, event, step):\n        "
WAITS = CLASS + 'await step.wait_for_event("w", type="go")\n'
SOURCES = {
    "lost": WAITS,
    "syntax": "class W(Pipeline:\n",
    "import": f"import requests\n{CLASS}pass\n",
    "empty": "",
    "other": WAITS,
    "stalls": f"{CLASS}while True: pass\n",
    "exits": f"{CLASS}os._exit(3)\n",
    "damaged": WAITS,
    # These live, or came to an end of their own making:
    "waits": WAITS,
    "paused": WAITS,
    "raises": f"{CLASS}raise ValueError('of its own')\n",
    "passes": f"{CLASS}pass\n",
    "cancelled": WAITS,
}
DEAD: Mapping[str, tuple[Death, str]] = {
    "lost": ("stands", "The code was deleted."),
    "syntax": ("load", "pipeline.py:"),
    "import": ("load", "there is no module 'requests'"),
    "empty": ("load", "pipeline.py"),
    "other": ("diverged", "does not match the journal"),
    "stalls": ("turns", "did not yield for 0.3 s"),
    "exits": ("turns", "The code was ended 3 times in a row"),
    "damaged": ("unreadable", "Run: stepwell doctor --check-journal"),
}
QUICK = Limits(stall=0.3, again=0.05)


async def begin(shop: Workshop) -> dict[str, Handle]:
    """Have a run of each source come to where it stops by itself."""
    shop.sources |= SOURCES
    made = {name: await bind(shop.engine, {"tenant": "t", "source": name}).create({}) for name in SOURCES}
    for name, source in SOURCES.items():
        await (shop.hibernating if source == WAITS else shop.finished)(made[name].id)
    await made["paused"].pause("ann", "for a while")
    await made["cancelled"].cancel("ann")
    await shop.finished(made["cancelled"].id)
    return made


def damage(shop: Workshop, run: Handle) -> None:
    """Spoil an entry of a run that was going on when its server stopped."""
    with closing(sqlite3.connect(shop.database)) as db:
        db.execute("UPDATE journal SET data='{' WHERE run=? AND seq=2", (run.id,))
        db.execute("UPDATE runs SET awake=1 WHERE id=?", (run.id,))
        db.commit()


async def load(shop: Workshop, metadata: Mapping[str, Any]) -> Code:
    """Load as ever, but for the code that is gone and the one that has become another under the same digest."""
    code = await shop.load(metadata)
    if metadata["source"] == "lost":
        raise NotFound("The code was deleted.")
    if metadata["source"] == "other":
        return replace(code, files={"pipeline.py": f'{HEAD}{CLASS}await step.do("another", give)\n'})
    return code


async def everyone(shop: Workshop, which: Selection | None = None, most: int = 2) -> list[Dead]:
    """List to the end, a few with each call."""
    found = [await dead_runs(shop.engine, which, most=most)]
    while found[-1].next is not None:
        found.append(await dead_runs(shop.engine, which, found[-1].next, most))
    assert all(len(page.runs) <= most for page in found)
    return [one for page in found for one in page.runs]


def listed(shop: Workshop, tenant: str, scope: str = "") -> list[Dead]:
    """List them as the page does, twice: what is told from memory is the same."""
    with closing(Store(shop.database)) as store:
        deaths, pages = DeadList(store, shop.engine.clock.now), list[list[Dead]]()
        for most in (2, 3):
            found = [deaths.of(tenant, scope, most=most)]
            while found[-1].next is not None:
                found.append(deaths.of(tenant, scope, found[-1].next, most))
            assert all(len(page.runs) <= most for page in found)
            pages.append([one for page in found for one in page.runs])
    assert pages[0] == pages[1]
    return pages[0]


async def test_the_dead_are_listed_with_what_they_died_of(shop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(survey, "PAGE", 3)
    async with shop.running(limits=QUICK):
        runs = await begin(shop)
        named = {run.id: name for name, run in runs.items()}
        assert {named[one.run] for one in await everyone(shop)} == {"syntax", "import", "empty", "stalls", "exits"}
    damage(shop, runs["damaged"])
    async with shop.running(limits=QUICK, loader=partial(load, shop)) as engine:
        for name in ("lost", "other"):
            await engine.send_event(runs[name].id, "other", None)
            await shop.until(lambda state: state.reason, runs[name].id)
        found = {named[one.run]: one for one in await everyone(shop, Selection("t"))}
        assert {name: one.death for name, one in found.items()} == {name: death for name, (death, _) in DEAD.items()}
        for name, one in found.items():
            assert DEAD[name][1] in one.reason, one
            assert (one.tenant, one.number) == ("t", runs[name].number) and one.since > 0
        assert {named[one.run] for one in await everyone(shop, Selection("t", metadata={"source": "lost"}))} == {"lost"}
        assert await everyone(shop, Selection("u", states=["waiting"])) == []  # type: ignore[arg-type]
        assert listed(shop, "t") == await everyone(shop, Selection("t")) and listed(shop, "u") == []
        assert listed(shop, "t", "t/none") == []
        with pytest.raises(Invalid, match="belongs to another question"):
            await dead_runs(engine, Selection("t"), (await dead_runs(engine, Selection(), most=1)).next)
