"""Stop the engine at transactions of runs that share groups and rates; go on; their order holds all the same."""

import asyncio
import os
from collections.abc import Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import Literal

import pytest
from engines import Workshop

from stepwell.authoring.order import Rate
from stepwell.engine.entries import Entry
from stepwell.engine.fold import fold
from stepwell.engine.local import ProcessIsolates
from stepwell.engine.order import Order
from stepwell.engine.rebuild import Rebuild
from stepwell.errors import Conflict
from stepwell.store.derived_sqlite import SqliteTables
from stepwell.store.journal import Committed, NewRun, Write
from stepwell.store.journal_sqlite import SqliteJournal

STORIES = {
    "queue": [Order("g")] * 4,
    "newest": [Order("g"), *[Order("g", "newest")] * 3],
    "cancel": [Order("g"), Order("g"), Order("g", "cancel"), Order("g")],
    "rate": [Order(rate=Rate("k", 2, 0.03))] * 4,
    "all": [Order("g", rate=Rate("k", 1, 0.02), delay=0.01)] * 3,
}
ENDS = {
    "queue": ["passed"] * 4,
    "newest": ["passed", "cancelled", "cancelled", "passed"],
    "cancel": ["cancelled", "cancelled", "passed", "passed"],
    "rate": ["passed"] * 4,
    "all": ["passed"] * 3,
}
EVERY = 1 if os.environ.get("STEPWELL_SOAK") else 3
"""Every so many commits are tried; `make soak` tries all."""
Moment = Literal["before", "after"]


class Crashed(Exception):
    """The journal is gone, as after a power cut."""


class CrashingJournal(SqliteJournal):
    """Serves so many commits, then refuses everything; the last one is durable or not."""

    def __init__(self, path: Path, commits: int, moment: Moment) -> None:
        super().__init__(path, wal_bytes=4096)
        self.left = commits
        self.moment = moment
        self.crashed = asyncio.Event()

    def open(self) -> None:
        super().open()
        self.db.execute("PRAGMA synchronous=OFF")  # no power is cut here, and hundreds of engines are started

    def commit(self, writes: Sequence[Write], new: Sequence[NewRun] = ()) -> Committed:
        self.left -= 1
        if self.left < 0 or (self.left == 0 and self.moment == "before"):
            self.crashed.set()
            raise Crashed
        committed = super().commit(writes, new)
        if self.left == 0:
            self.crashed.set()
            raise Crashed
        return committed


async def tell(shop: Workshop, story: str) -> None:
    """Create the story's runs, where they are not yet, and end one after the other."""
    orders = STORIES[story]
    for n, order in enumerate(orders):
        await shop.create('return await step.wait_for_event("w", type="go")', f"r{n}", order=order)
    for n in range(len(orders)):
        await shop.until(lambda state: state.finished or "w#1" in state.steps, f"r{n}")
        with suppress(Conflict):
            await shop.engine.send_event(f"r{n}", "go", n, id="go")
        await shop.finished(f"r{n}")


async def play(shop: Workshop, story: str, commits: int, moment: Moment) -> int:
    """Tell a story until it is told or the journal crashes; give the number of commits it took."""
    journal = CrashingJournal(shop.database, commits, moment)
    async with shop.running(journal=journal):
        telling = asyncio.ensure_future(tell(shop, story))
        crashed = asyncio.ensure_future(journal.crashed.wait())
        await asyncio.wait({telling, crashed}, return_when=asyncio.FIRST_COMPLETED, timeout=30)
        assert telling.done() or crashed.done()
        crashed.cancel()
        while not telling.done():  # wait_for loses a cancellation that meets its result
            telling.cancel()
            await asyncio.wait({telling}, timeout=0.01)
        if not telling.cancelled() and not journal.crashed.is_set():
            telling.result()
    return commits - journal.left


def journals(shop: Workshop, story: str) -> list[list[Entry]]:
    """Read all runs, and hold what is kept beside their journals to them."""
    journal = shop.journal()
    journal.open()
    with closing(journal):
        report = Rebuild(SqliteTables(journal), mend=False).run()
        assert (report.told, report.damaged) == ([], [])
        return [entries for n in range(len(STORIES[story])) if (entries := journal.entries(f"r{n}"))]


def begun(entries: list[Entry]) -> float | None:
    """When a run was let go."""
    if not entries[0].data.get("held"):
        return entries[0].at
    return next((entry.at for entry in entries if entry.type == "admitted"), None)


def check_order(story: str, found: list[list[Entry]]) -> None:
    """No run of a group began before the ones before it had ended, none above its rate."""
    order = STORIES[story][0]
    begins = [begun(entries) for entries in found]
    times = [at for at in begins if at is not None]
    assert times == sorted(times)
    if order.group:
        for n, begin in enumerate(begins):
            assert begin is None or all(before[-1].type == "ended" for before in found[:n])
            assert begin is None or all(before[-1].at <= begin for before in found[:n])
    if order.rate is not None:
        for first, later in zip(times, times[order.rate.runs :], strict=False):
            assert later - first >= order.rate.seconds


@pytest.mark.parametrize("story", sorted(STORIES))
async def test_a_crash_at_any_commit_changes_no_order(story: str, tmp_path: Path) -> None:
    isolates = ProcessIsolates()
    whole = Workshop(tmp_path / "whole", isolates)
    commits = await play(whole, story, 1_000_000, "after")
    expected = [fold(entries).state for entries in journals(whole, story)]
    assert expected == ENDS[story]
    for commit in range(1, commits + 1, EVERY):
        shop = Workshop(tmp_path / str(commit), isolates)
        moment: Moment = "before" if commit % 2 else "after"  # EVERY is odd, so that both are tried
        await play(shop, story, commit, moment)
        check_order(story, journals(shop, story))
        await play(shop, story, 1_000_000, "after")
        found = journals(shop, story)
        assert [fold(entries).state for entries in found] == expected, f"crashed {moment} commit {commit}"
        check_order(story, found)
    await isolates.close()
