"""What changed since the last green run: real commits, runs of the real engine."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from places import Clone, Place

from stepwell.ci.changes import ChangesSince
from stepwell.errors import NotFound
from stepwell.tenants import NOBODY

CHECK = """
from stepwell import *

class Check(Pipeline):
    on = [push()]
    async def run(self, event, step):
        await step.run("lint", "ruff check .", tools=["ruff==0.11.0"])
        await step.run("test", "pytest")
"""
NEWER = CHECK.replace("0.11.0", "0.12.1")
BROKEN = NEWER + "        raise ValueError\n"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    place = Place(tmp_path_factory.mktemp("changes")).start()
    yield place
    place.stop()


def pushed(clone: Clone, source: str, message: str, ref: str = "refs/heads/main") -> str:
    run = clone.pushed(source, ref, message)
    clone.place.finished(run)
    return run


def compared(clone: Clone, run: str) -> ChangesSince | None:
    place = clone.place
    return place.services.changes.of(place.admin(), place.services.runs.get(place.admin(), run))


def test_a_failed_run_is_compared_with_the_last_that_passed(place: Place) -> None:
    clone = place.repository("red")
    green = pushed(clone, CHECK, "One")
    pushed(clone, BROKEN, "Two")
    clone.commit_files({"src/a.py": "", "src/b.py": ""}, "Three")
    red = pushed(clone, BROKEN + "# more\n", "Four")
    found = compared(clone, red)
    assert found is not None
    assert found.green.id == green
    assert [commit.subject for commit in found.commits.listed] == ["Four", "Three", "Two"]
    assert found.commits.count == 3
    assert found.commits.paths.paths == (".stepwell/pipeline.py", "src/a.py", "src/b.py")
    assert found.first is not None
    assert [(d.what, d.before, d.after) for d in found.first.differences] == [("tools", "ruff==0.11.0", "ruff==0.12.1")]
    assert found.python[0] == found.python[1] != ""


def test_the_first_green_run_has_nothing_to_compare_with(place: Place) -> None:
    clone = place.repository("first")
    assert compared(clone, pushed(clone, CHECK, "One")) is None


def test_a_new_branch_is_compared_with_the_default_branch(place: Place) -> None:
    clone = place.repository("branch")
    green = pushed(clone, CHECK, "One")
    found = compared(clone, pushed(clone, NEWER, "Try", "refs/heads/topic"))
    assert found is not None
    assert found.green.id == green
    again = compared(clone, pushed(clone, NEWER + "# more\n", "Go on", "refs/heads/topic"))
    assert again is not None
    assert (again.green.branch, again.first) == ("topic", None)


def test_a_green_commit_that_was_forced_away_is_told(place: Place) -> None:
    clone = place.repository("forced")
    pushed(clone, CHECK, "One")
    found = compared(clone, pushed(clone, NEWER, "Two"))
    assert found is not None
    run = place.services.runs.get(place.admin(), str(clone.runs()[0].id))
    repository = place.services.repositories.path(clone.id)
    (loose,) = repository.glob(f"objects/{found.green.sha[:2]}/{found.green.sha[2:]}")
    loose.unlink()
    place.services.repositories.reader(clone.id).close()
    gone = place.services.changes.of(place.admin(), run)
    assert gone is not None
    assert gone.commits.gone
    assert gone.first is not None  # steps are compared all the same


def test_a_long_way_is_counted_whole_and_listed_in_part(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stepwell.ci.changes.COMMITS", 2)
    clone = place.repository("long")
    pushed(clone, CHECK, "One")
    for n in range(3):
        clone.commit_files({"a": str(n)}, f"Step {n}")
    found = compared(clone, pushed(clone, NEWER, "Last"))
    assert found is not None
    assert (len(found.commits.listed), found.commits.count) == (2, 4)


def test_strangers_compare_nothing(place: Place, tmp_path: Path) -> None:
    clone = place.repository("closed")
    run = place.services.runs.get(place.admin(), pushed(clone, CHECK, "One"))
    for actor in (NOBODY, place.person("sam")):
        with pytest.raises(NotFound):
            place.services.changes.of(actor, run)


def test_a_run_that_goes_on_is_expected_to_go_on_like_the_last_green_one(place: Place) -> None:
    clone, admin, services = place.repository("expected"), place.admin(), place.services
    green = pushed(clone, CHECK, "One")
    asked = """\n        await step.approval("ok?")"""
    waits = CHECK.replace("""0.11.0"])""", f"""0.11.0"]){asked}""")
    clone.pipeline(waits, "Two")
    clone.push()
    view = place.waiting(str(clone.runs()[0].id))
    found = services.expectations.of(admin, view, view.summary.created_at)
    assert found is not None
    assert (found.green.id, [step.key for step in found.steps]) == (green, ["test#1"])
    assert services.expectations.of(admin, services.runs.get(admin, green), 0.0) is None
    services.control.terminate(admin, view.summary.id)
