"""What waits costs next to nothing, however much of it there is: ten thousand here, a million by `stepwell bench`."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import event

from stepwell.ci.history import Filter, History, cursor_after
from stepwell.cli import bench_parked
from stepwell.cli.bench_parked import Parked, park
from stepwell.repos.repositories import Repositories
from stepwell.store.store import Store
from stepwell.store.tables import Repository
from stepwell.tenants.actors import Actor

FEW, MANY = 500, 10_000
ONE = Actor("p", "p", {"bench": "owner"})
SEVERAL = Actor("p", "p", {"bench": "owner", "acme": "viewer", "other": "viewer"})
LISTS: dict[str, Callable[[History], object]] = {
    "repository": lambda history: history.page(ONE, Filter("bench", "x"), None, 50),
    "one state": lambda history: history.page(ONE, Filter("bench", "x", state="failed"), None, 50),
    "one state and pipeline": lambda history: history.page(ONE, Filter("bench", "x", "passed", "Ship"), None, 50),
    "another repository": lambda history: history.page(ONE, Filter("bench", "none"), None, 50),
    "everything": lambda history: history.page(SEVERAL, Filter(), None, 50),
    "inbox": lambda history: history.waiting(SEVERAL, 100),
    "inbox count": lambda history: history.asking(SEVERAL, 100),
    "last run": lambda history: history.latest({"bench/x": Repository(id="x", tenant="bench", name="x", created_at=0)}),
}


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Parked:
    return asyncio.run(park(tmp_path_factory.mktemp("many"), MANY))


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> Parked:
    return asyncio.run(park(tmp_path_factory.mktemp("few"), FEW))


@contextmanager
def history_of(parked: Parked) -> Iterator[tuple[History, list[int]]]:
    """Lists of runs, and how many hundreds of steps SQLite has taken for them."""
    store, repositories = Store(parked.database), Repositories(parked.state)
    steps = [0]

    def count() -> int:
        steps[0] += 1
        return 0

    def watch(connection: Any, _record: Any) -> None:
        connection.set_progress_handler(count, 100)

    event.listen(store._reading, "connect", watch)
    yield History(store, repositories), steps
    repositories.close()
    store.close()


def test_a_waiting_run_takes_less_than_700_bytes_of_disk_and_nearly_no_memory(many: Parked) -> None:
    (size,) = bench_parked.bytes_per_run(many)
    assert 300 < size < 700
    (memory,) = asyncio.run(bench_parked.memory_per_run(many))
    assert memory < 500, "most of it is what an engine needs that has no runs"


@pytest.mark.parametrize("name", LISTS)
def test_lists_take_as_many_steps_whatever_waits(few: Parked, many: Parked, name: str) -> None:
    taken = []
    for parked in (few, many):
        with history_of(parked) as (history, steps):
            LISTS[name](history)
            taken.append(steps[0])
    assert taken[1] <= 2 * taken[0] + 20, f"{taken} hundreds of steps for {FEW} and {MANY} runs"


def test_pages_of_a_repository_follow_each_other_without_a_gap(few: Parked) -> None:
    with history_of(few) as (history, _):
        for wanted in (Filter("bench", "x"), Filter("bench"), Filter()):
            numbers: list[int] = []
            cursor: str | None = None
            while page := history.page(SEVERAL, wanted, cursor, 120):
                numbers += [run.number for run in page]
                cursor = cursor_after(page[-1])
            assert numbers == list(range(FEW, 0, -1)), wanted
        page = history.page(ONE, Filter("bench", "x"), None, 10)
        gone = f"{page[-1].created_at!r}.{'0' * 24}"
        assert [run.number for run in history.page(ONE, Filter("bench", "x"), gone, 3)] == [490, 489, 488]
        assert [run.number for run in history.waiting(SEVERAL, 3)] == [1, 2, 3], "the oldest first"


def test_of_runs_that_ask_the_oldest_are_counted_where_the_role_may_answer(many: Parked) -> None:
    with history_of(many) as (history, _):
        numbers = [one.id for one in history.asking(SEVERAL, 100)]
        assert numbers == [run.id for run in history.waiting(ONE, 100)]
        assert history.asking(Actor("p", "p", {"bench": "viewer"}), 100) == []
        assert history.asking(replace(ONE, repository="bench/none"), 100) == []


def test_a_start_takes_none_of_them_up_and_any_can_be_woken(many: Parked) -> None:
    assert min(asyncio.run(bench_parked.start_ms(many, 2))) > 0
    assert len(asyncio.run(bench_parked.wake_ms(many, 2))) == 2
    assert min(bench_parked.list_ms(many, 2)) > 0 and min(bench_parked.inbox_ms(many, 2)) > 0
