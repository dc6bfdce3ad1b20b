"""The measurements of pages measure pages: of a server that people have, with a past, every kind of them."""

import asyncio
from collections.abc import Iterator

import httpx
import pytest

from stepwell.cli import bench_live, bench_pages
from stepwell.cli.bench import measures
from stepwell.cli.measured_place import Made, Place
from stepwell.errors import Unavailable

COPIES = 20


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    made = Made(tmp_path_factory.mktemp("measured"))
    yield made.serve(COPIES)
    made.close()


def test_every_kind_of_page_is_asked_for_and_answers(place: Place) -> None:
    paths = bench_pages.paths(place)
    found = asyncio.run(bench_pages.under_load(place, paths, 1))
    assert {f"page_{name}_ms" for name in found} < set(measures())
    assert {len(values) for values in found.values()} == {1} and min(min(one) for one in found.values()) > 0
    with httpx.Client(base_url=place.url, cookies={"stepwell": place.cookie}, timeout=60) as web:
        run = web.get(paths["run"]).text
        assert run.count('class="step"') >= 200 and "Passed" in run
        assert "line 50001 of what" in web.get(paths["log_chunk"]).text
        newest = web.get("/api/v1/runs", params={"tenant": "home"}, headers={"Authorization": f"Bearer {place.token}"})
        assert {item["number"] for item in newest.json()["items"]} == set(range(1, 6 + COPIES))
        copied = web.get(f"/home/bench/runs/{5 + COPIES}")
        assert "lint" in copied.text and copied.status_code == 200


def test_the_page_of_a_run_is_small_with_all_that_it_loads(place: Place) -> None:
    assert 20_000 < bench_pages.transferred(place, f"{place.waiting}?step=unit-1") <= 60_000


def test_every_viewer_is_told_of_an_event(place: Place) -> None:
    samples = asyncio.run(bench_live.viewers_event_ms(place, 5, 2))
    assert len(samples) == 2 and min(samples) > 0


@pytest.mark.chromium
def test_the_first_line_of_a_long_log_is_seen(place: Place) -> None:
    (taken,) = bench_live.log_first_line_ms(place, 1)
    assert taken > 0


def test_a_server_that_falls_behind_is_said_for_each_figure_but_measured_once(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []

    async def too_many(*_: object) -> dict[str, list[float]]:
        asked.append(1)
        async with asyncio.TaskGroup() as group:
            group.create_task(late())
        return {}

    async def late() -> None:
        raise TimeoutError("late")

    monkeypatch.setattr(bench_pages, "place", lambda: place)
    monkeypatch.setattr(bench_pages, "under_load", too_many)
    bench_pages._outcome.cache_clear()
    for name in ("page_home_ms", "page_run_ms"):
        with pytest.raises(Unavailable, match="50 requests a second were too many"):
            measures()[name]()
    bench_pages._outcome.cache_clear()
    assert asked == [1]
