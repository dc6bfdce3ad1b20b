from dataclasses import replace
from pathlib import Path
from typing import Any

from fixture_people import ADMIN
from fixture_runs import NOW, busy_run, step, summary
from fixture_services import FixtureServices, services

from stepwell.ci.changes import ChangesSince, Commits
from stepwell.ci.comparison import compare, first_difference
from stepwell.ci.views import RunView, StepView
from stepwell.repos.objects import Changes, CommitInfo, Person
from stepwell_web import changesview


def since(view: RunView, commits: Commits, seconds: float = 100.0) -> ChangesSince:
    green = summary(1, state="passed", started_at=NOW - 1000, ended_at=NOW - 1000 + seconds, sha="b" * 40)
    steps = compare(view.steps, view.steps)
    return ChangesSince(green, view.steps, commits, ("3.11", "3.11"), steps, first_difference(steps))


def said(commits: Commits, *steps: StepView, **run: Any) -> str:
    view = replace(busy_run(), summary=summary(**run), steps=steps)
    return changesview.sentence(view, since(view, commits))


def commits(count: int, *paths: str, complete: bool = True) -> Commits:
    person = Person("A", "a@example.org", NOW)
    return Commits((CommitInfo("c" * 40, "", (), person, person, "x"),), count, Changes(paths, complete))


def test_one_sentence_says_what_happened_since() -> None:
    assert said(commits(1, "a.py")) == "1 commit, 1 file changed."
    assert said(commits(1200, "a", "b", complete=False)) == "1,200 commits, more than 2 files changed."
    assert said(Commits(gone=True)) == "The green run's commit is not in the repository any more."
    assert said(Commits(), sha="b" * 40) == "The same commit."


def test_the_pace_is_told_of_a_run_that_passed() -> None:
    run = {"state": "passed", "started_at": NOW - 500, "sha": "b" * 40}
    assert said(Commits(), **run, ended_at=NOW - 350) == "The same commit; 50s slower: 2m 30s instead of 1m 40s."
    assert said(Commits(), **run, ended_at=NOW - 390) == "The same commit; as fast as then: 1m 50s."


def test_the_time_of_a_person_is_no_pace() -> None:
    run = {"state": "passed", "started_at": NOW - 500, "sha": "b" * 40}
    asked = step("Ship it?", "passed", 60, 80, kind="approval", key="ship#1")
    assert said(Commits(), asked, **run, ended_at=NOW - 390) == (
        "The same commit; 1m 10s faster: 30s instead of 1m 40s without waits."
    )
    view = replace(busy_run(), steps=(asked, step("nap", "passed", 0, 9, kind="event"), step("build", "passed", 0, 9)))
    later = tuple(replace(one, ended_at=(one.ended_at or 0.0) + 600) for one in view.steps)
    found = replace(since(view, Commits()), steps=compare(view.steps, later))
    assert [(row.name, row.pace) for row in changesview.page(view, found).rows] == [("build", "10m 00s slower")]


def test_steps_that_are_as_before_stand_apart() -> None:
    view = busy_run()
    page = changesview.page(view, since(view, Commits()))
    assert page.rows == []
    assert [(why, row.name) for why, row in page.told] == [("The first step that failed is", "unit 3.13")]
    assert len(page.same) == len(view.steps)


def test_what_differs_first_and_what_failed_first_are_told(tmp_path: Path) -> None:
    given: FixtureServices = services(tmp_path)
    view = busy_run()
    found = given.changes.of(ADMIN, view)
    assert found is not None
    page = changesview.page(view, found)
    assert [(why, row.name) for why, row in page.told] == [
        ("The first step that differs is", "lint"), ("The first step that failed is", "unit 3.13"),
    ]  # fmt: skip
    assert page.python == ("3.11.2", "3.11.9")
    rows = {row.name: row for row in page.rows}
    assert (rows["unit 3.11"].pace, rows["unit 3.11"].slower) == ("1m 12s slower", True)
    assert rows["publish notes"].after is None
