"""The files of moments: what steps in isolates changed, and their workspaces before and after."""

from dataclasses import replace

import pytest
from logged import Log, attempt

from stepwell.ci.moments import Changes, Moment
from stepwell.engine.seams import Prepared
from stepwell_runners.executor import LocalExecutor


async def step(executor: LocalExecutor, command: str, base: tuple[str, ...] = ()) -> Moment:
    """Run a command; the moment it makes."""
    asked = replace(attempt(command, base), key=f"step#{len(base) + 1}")
    outcome = await executor.execute(asked, Prepared(), Log())
    assert outcome.ok and outcome.layer, outcome
    return Moment(None, base, outcome.layer)


def told(found: Changes) -> list[tuple[str, str]]:
    return [(one.kind, one.path) for one in found.items]


def after(moment: Moment) -> tuple[str, ...]:
    assert moment.layer
    return (*moment.base, moment.layer)


async def test_changes_that_are_not_listed_are_counted(
    executor: LocalExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stepwell_runners.moments.MOST_LISTED", 10)
    moment = await step(executor, "mkdir d && cd d && seq 1 25 | xargs touch")
    found = executor.moments.changes(moment)
    assert (len(found.items), found.total, found.more) == (10, 25, 15)


async def test_files_under_a_directory_that_a_file_replaced_are_told(executor: LocalExecutor) -> None:
    first = await step(executor, "mkdir -p src/deep src/none; echo a > src/a; echo b > src/deep/b")
    second = await step(executor, "rm -rf src; echo f > src", after(first))
    assert told(executor.moments.changes(second)) == [
        ("changed", "src"),
        ("removed", "src/a"),
        ("removed", "src/deep/b"),
        ("removed", "src/none/"),
    ]
    third = await step(executor, "rm src; mkdir src; echo c > src/c", after(second))
    assert told(executor.moments.changes(third)) == [("changed", "src"), ("added", "src/c")]


async def test_directories_with_nothing_else_to_tell_are_told(executor: LocalExecutor) -> None:
    first = await step(executor, "mkdir -p a/b c; touch c/file")
    assert told(executor.moments.changes(first)) == [("added", "a/b/"), ("added", "c/file")]
    second = await step(executor, "chmod 700 c; rm -r a", after(first))
    assert told(executor.moments.changes(second)) == [("removed", "a/b/"), ("mode", "c/")]
