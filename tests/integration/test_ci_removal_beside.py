"""Runs, pushes and schedules that begin on a repository beside its deletion: before it, or not at all."""

import asyncio
import shutil
import sqlite3
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from places import Clone, Place

from stepwell.ci import launch
from stepwell.ci.beginnings import Beginnings
from stepwell.ci.bulk import Wanted
from stepwell.ci.plans import Plan
from stepwell.ci.removal import Removal
from stepwell.errors import Conflict, NotFound, TryLater

SOURCE = """
from stepwell import *

class Ship(Pipeline):
    on = [push(), manual(), cron("0 3 * * *")]
    async def run(self, event, step):
        await step.run("work", "true")
        if event.kind == "plan":
            await step.approval("Go on?")
"""
SECONDS = 20.0
PLAN = Plan({"pipeline.py": SOURCE}, repository="api")


@pytest.fixture
def clone(place: Place) -> Clone:
    clone = place.repository()
    clone.pipeline(SOURCE)
    clone.push()
    place.services.pushes.finish()
    place.finished(clone.runs()[0].id)
    return clone


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(12) as threads:
        yield threads


@contextmanager
def held_up(patch: pytest.MonkeyPatch, owner: Any, name: str) -> Iterator[threading.Event]:
    """Hold up calls of a function until the block is left; the event is set by the first."""
    call, arrived, go = getattr(owner, name), threading.Event(), threading.Event()

    def wait(*arguments: Any, **more: Any) -> Any:
        arrived.set()
        assert go.wait(SECONDS)
        return call(*arguments, **more)

    patch.setattr(owner, name, wait)
    try:
        yield arrived
    finally:
        go.set()


def deleted(place: Place) -> None:
    place.services.removal.remove(place.admin(), "acme", "api")


def left(place: Place) -> list[Any]:
    with closing(sqlite3.connect(place.settings.database)) as db:
        tables = ("runs", "journal", "schedules", "push_intents", "removed_repositories", "numbers")
        return [row for table in tables for row in db.execute(f"SELECT * FROM {table}")]


def test_a_plan_that_is_begun_first_keeps_the_repository(
    place: Place, clone: Clone, threads: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    with held_up(monkeypatch, launch, "answer_of") as begun:
        plan = threads.submit(place.services.plans.start, place.admin(), "acme", PLAN)
        assert begun.wait(SECONDS)
        deletion = threads.submit(deleted, place)
    run, _ = plan.result(SECONDS)
    with pytest.raises(Conflict, match=r"Runs of acme/api have not ended: acme/- #1"):
        deletion.result(SECONDS)
    place.waiting(run.id)
    place.services.control.terminate(place.admin(), run.id)
    place.finished(run.id)
    deleted(place)
    assert place.services.runs.get(place.admin(), run.id).summary.finished  # a plan's run belongs to the tenant
    with pytest.raises(NotFound, match="has been deleted"):
        place.services.runs.rerun(place.admin(), run.id)


def test_what_comes_while_a_repository_is_deleted_is_refused_and_leaves_nothing(
    place: Place, clone: Clone, threads: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    services, owner = place.services, place.admin()
    context, update = clone.context(), clone.update()
    key = (clone.id, "Ship", "0 3 * * *", "UTC")
    on, looked = Beginnings.on, threading.Semaphore(0)

    def seen(self: Beginnings, repository: str) -> Any:
        looked.release()
        return on(self, repository)

    monkeypatch.setattr(Beginnings, "on", seen)
    run = clone.runs()[0].id
    attempts: list[Callable[[], Any]] = [
        lambda: services.plans.start(owner, "acme", PLAN),
        lambda: services.runs.start(owner, "acme", "api", pipeline="Ship"),
        lambda: services.runs.rerun(owner, run),
    ]
    with held_up(monkeypatch, Removal, "_take_away") as begun:
        deletion = threads.submit(deleted, place)
        assert begun.wait(SECONDS)
        late: list[Future[Any]] = [threads.submit(attempt) for attempt in attempts]
        firing = threads.submit(services.schedules.fire, key, 1_800_000_000.0)
        for _ in range(len(attempts) + 1):
            assert looked.acquire(timeout=SECONDS)  # they have found the repository, and wait
        bulk = threads.submit(
            services.bulk.sweep, owner, "restart", "acme", Wanted(states=frozenset({"passed"}), key="k")
        )
        assert clone.refusal(update, owner) is None  # a push is let in
    deletion.result(SECONDS)
    for attempt in late:
        with pytest.raises(NotFound, match="has been deleted: nothing begins on it any more"):
            attempt.result(SECONDS)
    firing.result(SECONDS)
    assert not bulk.result(SECONDS).changed
    told = asyncio.run(services.pushes.post_receive(context, [update]))
    assert told == ["stepwell: the repository was deleted meanwhile: nothing of this push is kept"]
    assert left(place) == []


def test_a_push_that_finds_the_repository_gone_leaves_no_intent(place: Place, clone: Clone) -> None:
    services, row = place.services, place.services.pushes._row(clone.id)
    update = clone.update()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(services.pushes, "_row", lambda _: row)  # it was looked up just before
        deleted(place)
        with pytest.raises(NotFound, match="nothing is pushed to it any more"):
            clone.refusal(update, place.admin())
    with pytest.raises(NotFound):
        clone.refusal(update, place.admin())
    assert left(place) == []


def test_schedules_of_a_push_are_not_set_on_a_deleted_repository(
    place: Place, clone: Clone, monkeypatch: pytest.MonkeyPatch
) -> None:
    services, row = place.services, place.services.pushes._row(clone.id)
    sha = clone.runs()[0].sha
    declared = services.declarations.read("acme", clone.id, sha)
    monkeypatch.setattr(services.declarations, "read", lambda *_: declared)
    deleted(place)
    services.schedules.sync(row, sha)
    assert left(place) == []


def test_files_that_a_git_process_keeps_go_a_minute_later_and_hold_up_no_other(place: Place, clone: Clone) -> None:
    other = place.repository("other")
    removal, repositories = place.services.removal, place.base.repositories

    def busy(*_: Any) -> None:
        raise OSError(39, "Directory not empty")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(place.base.repositories, "let_go", busy)  # between the rename and the removal
        deleted(place)
    assert [path.name for path in repositories.root.iterdir() if path.name.startswith(".gone-")]
    removal.remove(place.admin(), "acme", "other")
    assert not list(repositories.root.iterdir()), other.id
    assert left(place) == []


def test_who_waits_for_somebody_who_has_not_done_is_told_to_try_again(place: Place, clone: Clone) -> None:
    beginnings = Beginnings(place.base.store, wait_seconds=0.0)
    with beginnings.on(clone.id):
        with pytest.raises(TryLater), beginnings.none_on(clone.id):
            raise AssertionError("nobody may delete now")
        with beginnings.on(clone.id), beginnings.on_any("acme") as there:
            assert there == {clone.id}
    with beginnings.on_any("acme"), pytest.raises(TryLater), beginnings.none_on(clone.id):
        raise AssertionError("nobody may delete now")
    with beginnings.none_on(clone.id):
        for entry in (beginnings.on(clone.id), beginnings.on_any("acme"), beginnings.none_on(clone.id)):
            with pytest.raises(TryLater), entry:
                raise AssertionError("nobody may begin now")
    with beginnings.none_on(clone.id), beginnings.none_on("another"), pytest.raises(NotFound), beginnings.on("third"):
        raise AssertionError("there is no such repository")


def test_a_deleted_repository_takes_no_schedules_of_others_along(place: Place, clone: Clone) -> None:
    other, pushes = place.repository("other"), place.services.pushes
    other.pipeline(SOURCE)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pushes, "finish", lambda: None)  # both wait to be dealt with
        for one in (clone, other):
            one.commit_files({"more": "more"})
            one.push()
            place.finished(one.runs()[0].id)
    deleted(place)
    pushes.finish()
    assert [one.cron for one in place.services.catalog.schedules(place.admin(), "acme", "other")] == ["0 3 * * *"]


def test_a_push_that_gets_the_number_of_a_deleted_repositorys_intent_has_its_runs(place: Place, clone: Clone) -> None:
    other, pushes = place.repository("other"), place.services.pushes
    other.pipeline(SOURCE)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pushes, "finish", lambda: None)
        clone.commit_files({"more": "more"})
        clone.push()  # its intent waits to be closed
        place.finished(clone.runs()[0].id)
    deleted(place)
    context, updates = other.context(), [other.update("refs/heads/side"), other.update()]
    assert other.permit(context, updates) is None  # with the numbers 1 and 2, as the two of the other had
    pushes.finish()  # beside the push, as the keeper does
    for update in updates:
        other.move(update)
    told = asyncio.run(pushes.post_receive(context, updates))
    assert [line.partition(" →")[0] for line in told] == ["stepwell: run #1 Ship", "stepwell: run #2 Ship"]


def test_a_file_that_git_removes_first_does_not_end_the_removal(
    place: Place, clone: Clone, monkeypatch: pytest.MonkeyPatch
) -> None:
    remove, passes = shutil.rmtree, list[Path]()

    def beaten(path: Path) -> None:
        passes.append(path)
        if len(passes) == 1:
            (path / "HEAD").unlink()
            raise FileNotFoundError(2, "No such file", "HEAD")
        remove(path)

    with monkeypatch.context() as patch:
        patch.setattr("stepwell.repos.repositories.shutil", SimpleNamespace(rmtree=beaten))
        place.base.repositories.delete(clone.id)
    assert len(passes) == 2 and not list(place.base.repositories.root.iterdir())
