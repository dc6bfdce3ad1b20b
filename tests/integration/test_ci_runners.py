"""What runs where now, who waits for what, and who is told of it: a real engine and database."""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest
from live import wait_until
from places import EchoExecutor, Place

from stepwell.ci.runners import Ability, FirstOutputs, Runners, RunnerView, Standing
from stepwell.engine.present import Counted
from stepwell.engine.seams import Attempt, Outcome, Output, Prepared
from stepwell.errors import NotFound
from stepwell.tenants import NOBODY, Actor

PIPELINE = """
from stepwell import *

class Check(Pipeline):
    on = [push()]
    concurrency = group("one")
    async def run(self, event, step):
        await asyncio.gather(*(step.run(f"heavy {n}", "true", image="busybox") for n in range(10)))
"""


class Held(EchoExecutor):
    """Attempts that last until they are cancelled."""

    async def execute(self, attempt: Attempt, prepared: Prepared, output: Output) -> Outcome:
        await asyncio.get_running_loop().create_future()
        raise AssertionError("nobody answers")


class Host:
    """A host of which everything is known."""

    name = "runner-07"

    def abilities(self) -> Sequence[Ability]:
        return [Ability("state", True, "/var/lib/stepwell, 3 GiB free"), Ability("docker", False, "none", "Start it.")]

    def forget_repository(self, scope: str, repository: str) -> bool:
        return True

    def standing(self) -> Standing:
        return Standing(2, 3, {"acme": 1, "other": 1}, 4, FirstOutputs(2, 0.014, 1.9))

    def layers(self, runs: Sequence[str]) -> Sequence[int]:
        return [0 for _ in runs]

    def snapshots(self) -> Mapping[str, int]:
        return {}


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    place = Place(tmp_path)
    place.executor = Held()
    place.start()
    yield place
    place.stop()


def look(place: Place, actor: Actor, tenant: str = "acme") -> RunnerView:
    services = place.services
    (found,) = Runners(services.thread, services.runs, services.store, Host()).of(actor, tenant)
    return found


def test_people_see_what_runs_where_and_what_waits_for_what(place: Place) -> None:
    shop, admin = place.repository("shop"), place.admin()
    shop.pipeline("import asyncio\n" + PIPELINE)
    shop.push()
    wait_until(lambda: look(place, admin).used.containers == 8, 60, "eight steps in containers")
    wait_until(lambda: look(place, admin).used.waits == 2, 60, "two steps without a place")
    shop.commit_files({"a": "b"})
    shop.push()
    wait_until(lambda: len(look(place, admin).waiters) == 3, 60, "a run behind its group")
    view = look(place, admin)
    heavy = [one for one in view.work if one.key]
    assert {(one.run.number, one.kind, one.image, one.attempt) for one in heavy} == {(1, "run", "busybox", 1)}
    assert all(one.since is not None for one in heavy)
    assert (view.steps, view.used.isolates + view.used.containers) == (8, 8)
    reasons = {one.name: one.reason for one in view.waiters}
    assert reasons["heavy 9"] == "waits for a place: at most 8 steps at a time"
    assert "#1" in next(one.reason for one in view.waiters if one.run.number == 2)


def test_what_is_of_others_is_told_to_nobody_but_admins(place: Place) -> None:
    shop, admin = place.repository("shop"), place.admin()
    shop.pipeline("import asyncio\n" + PIPELINE)
    shop.push()
    wait_until(lambda: look(place, admin).used.containers == 8, 60, "eight steps in containers")
    place.services.tenants.create(admin, "other")
    admin = place.admin()
    stranger = place.person("stranger", "owner", "other")
    seen = look(place, stranger, "other")
    assert (seen.work, seen.waiters, seen.used, seen.others) == ((), (), Counted(), None)
    assert seen.standing == Standing(0, 3, {"other": 1}, 4)
    assert seen.abilities == (Ability("state", True), Ability("docker", False))
    told = look(place, admin, "other")
    assert (told.work, told.others and told.others.containers, sum(told.standing.warm.values())) == ((), 8, 2)
    assert told.standing.first_outputs == FirstOutputs(2, 0.014, 1.9)
    assert told.abilities[1] == Ability("docker", False, "none", "Start it.")
    for actor in (stranger, NOBODY):
        with pytest.raises(NotFound):
            look(place, actor)
