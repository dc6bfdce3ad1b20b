"""Lists of runs as people narrow them, and what pipelines' last runs tell, from what the engine wrote."""

import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from places import Clone, Place

from stepwell.errors import Denied, Invalid, NotFound
from stepwell.tenants import NOBODY

TWO = """
from stepwell import *

class Check(Pipeline):
    on = [push(), manual()]
    async def run(self, event, step):
        await step.run("test", "true")

class Ship(Pipeline):
    on = [push("main"), tag("v*")]
    async def run(self, event, step):
        pass
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    place = Place(tmp_path_factory.mktemp("lists")).start()
    yield place
    place.stop()


@pytest.fixture(scope="module")
def clone(place: Place) -> Clone:
    """Runs #1 and #2 of a push to main, #3 to a branch, #4 by hand, #5 and #6 of a push whose Ship fails."""
    clone = place.repository()
    clone.pipeline(TWO, "Add orders")
    clone.push()
    clone.pipeline(TWO + "# more\n", "Try under_scores")
    clone.push("refs/heads/topic/a_b")
    place.services.runs.start(place.admin(), "acme", "api", "Check", ref="main")
    clone.pipeline(TWO.replace("        pass", "        raise ValueError"), "Be 100% sure")
    clone.push()
    for run in clone.runs():
        place.finished(run.id)
    return clone


def numbers(clone: Clone, **wanted: Any) -> list[int]:
    found = clone.place.services.runs.list(clone.place.admin(), tenant="acme", repository="api", **wanted)
    return [run.number for run in found.items]


def test_runs_are_narrowed_by_every_filter(clone: Clone) -> None:
    assert numbers(clone) == [6, 5, 4, 3, 2, 1]
    assert numbers(clone, pipeline="Check") == [5, 4, 3, 1]
    assert numbers(clone, kind="manual") == [4]
    assert numbers(clone, branch="topic/a_b") == [3]
    assert numbers(clone, by="nobody") == []
    assert len(numbers(clone, by=clone.place.admin().name)) == 6
    assert len(numbers(clone, state="failed")) == 1


def test_text_finds_titles_commits_and_numbers(clone: Clone) -> None:
    assert numbers(clone, text="ADD ord") == [4, 2, 1]
    assert numbers(clone, text="#3") == [3]
    sha = clone.runs()[0].sha
    assert numbers(clone, text=sha[:8].upper()) == [6, 5]


def test_signs_of_patterns_are_plain_text(clone: Clone) -> None:
    assert numbers(clone, text="100%") == [6, 5]
    assert numbers(clone, text="%") == [6, 5]
    assert numbers(clone, text="under_") == [3]
    assert numbers(clone, text="r_s") == [3]


def test_filters_that_are_none_are_refused(clone: Clone) -> None:
    with pytest.raises(Invalid, match="'maybe' does not exist"):
        numbers(clone, state="maybe")
    with pytest.raises(Invalid, match="'magic' does not exist"):
        numbers(clone, kind="magic")
    with pytest.raises(Invalid, match="201 characters"):
        numbers(clone, text="x" * 201)


def test_pages_follow_each_other_under_a_filter(clone: Clone) -> None:
    place, seen, cursor = clone.place, [], None
    while True:
        page = place.services.runs.list(
            place.admin(), tenant="acme", repository="api", kind="push", cursor=cursor, limit=2
        )
        seen += [run.number for run in page.items]
        cursor = page.next
        if cursor is None:
            break
    assert seen == [6, 5, 3, 2, 1]


def test_choices_are_what_there_is(clone: Clone) -> None:
    choices = clone.place.services.runs.choices(clone.place.admin(), "acme", "api")
    assert choices.pipelines == ("Check", "Ship")
    assert choices.branches == ("main", "topic/a_b")
    assert choices.people == (clone.place.admin().name,)


def test_trends_tell_each_pipelines_speed_and_reliability(clone: Clone) -> None:
    place = clone.place
    trends = {trend.pipeline: trend for trend in place.services.trends.of(place.admin(), "acme", "api")}
    assert set(trends) == {"Check", "Ship"}
    assert (trends["Check"].pass_rate, trends["Check"].judged) == (1.0, 4)
    assert (trends["Ship"].pass_rate, trends["Ship"].judged) == (0.5, 2)
    assert [run.number for run in trends["Check"].runs] == sorted(run.number for run in trends["Check"].runs)
    assert trends["Check"].median_seconds is not None
    (topic,) = place.services.trends.of(place.admin(), "acme", "api", "topic/a_b")
    assert (topic.pipeline, topic.judged) == ("Check", 1)


def test_a_trend_ends_at_thirty_runs(clone: Clone) -> None:
    place = clone.place
    _repeat(place.settings.database, clone.runs()[-1].id, 40)
    admin = place.admin()
    assert max(len(trend.runs) for trend in place.services.trends.of(admin, "acme")) == 30


def test_strangers_see_no_list_and_no_trend(clone: Clone) -> None:
    place = clone.place
    stranger = place.person("sam")
    for actor in (NOBODY, stranger):
        assert place.services.trends.of(actor, "acme", "api") == []
        assert place.services.runs.choices(actor, "acme", "api").branches == ()
        with pytest.raises((Denied, NotFound)):
            place.services.catalog.get(actor, "acme", "api")


def _repeat(database: Path, run: str, times: int) -> None:
    """Copy the row of a run, as if it had run so often in another repository."""
    with sqlite3.connect(database) as db:
        columns = [row[1] for row in db.execute("PRAGMA table_info(runs)")]
        row = dict(zip(columns, db.execute("SELECT * FROM runs WHERE id = ?", (run,)).fetchone(), strict=True))
        metadata = json.loads(row["metadata"])
        for n in range(times):
            copy = {
                **row,
                "serial": None,
                "id": f"copy{n}",
                "scope": "acme/other",
                "number": n,
                "metadata": json.dumps(metadata),
            }
            db.execute(f"INSERT INTO runs VALUES({','.join('?' * len(columns))})", [copy[c] for c in columns])
