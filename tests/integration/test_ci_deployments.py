"""What is in an environment and what an approval lets out: real commits, runs of the real engine."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from places import SHIP, Clone, Place

from stepwell.ci.deployments import Outgoing
from stepwell.errors import NotFound
from stepwell.tenants import NOBODY


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    place = Place(tmp_path).start()
    place.admin()
    yield place
    place.stop()


@pytest.fixture
def clone(place: Place) -> Clone:
    clone = place.repository("shop")
    place.services.tenants.secrets.put(place.admin(), "acme", "KEY", "s3cret-value", repository="shop")
    return clone


def pushed(clone: Clone, commit: str = "HEAD", ref: str = "refs/heads/main") -> str:
    clone.push(ref, commit=commit)
    run = str(clone.runs()[0].id)
    clone.place.waiting(run)
    return run


def shipped(clone: Clone) -> str:
    run, place = pushed(clone), clone.place
    place.services.runs.decide(place.admin(), run, place.waiting(run).approvals[0].key, approve=True)
    assert place.finished(run).summary.state == "passed"
    return run


def outgoing(clone: Clone, run: str) -> Outgoing:
    place = clone.place
    view = place.services.runs.get(place.admin(), run)
    return place.services.deployments.outgoing(place.admin(), view, "production")


def test_what_goes_out_is_what_came_since_the_last_run_that_went_there(clone: Clone) -> None:
    clone.pipeline(SHIP, "One")
    first = pushed(clone)
    assert outgoing(clone, first).now is None
    clone.place.services.control.cancel(clone.place.admin(), first)
    clone.place.finished(first)

    clone.commit_files({"a.txt": "1"}, "Two")
    second = shipped(clone)
    oldest = clone.git("rev-parse", "HEAD~1")
    clone.commit_files({"a.txt": "2"}, "Three")
    clone.commit_files({"b.txt": "1"}, "Four")
    found = outgoing(clone, pushed(clone))
    assert found.now is not None and found.now.run.id == second
    assert [one.subject for one in found.commits.listed] == ["Four", "Three"]
    assert found.commits.paths.paths == ("a.txt", "b.txt")

    found = outgoing(clone, pushed(clone, oldest, "refs/heads/release/1"))
    assert found.back and [one.subject for one in found.commits.listed] == ["Two"]


def test_a_run_that_was_looked_at_before_it_went_out_is_known_to_have_gone_out(place: Place, clone: Clone) -> None:
    clone.pipeline(SHIP, "One")
    run = pushed(clone)
    assert place.services.deployments.current(place.admin(), "acme", "shop") == {}
    place.services.runs.decide(place.admin(), run, place.waiting(run).approvals[0].key, approve=True)
    place.finished(run)
    for _ in range(2):
        found = place.services.deployments.current(place.admin(), "acme", "shop")
        assert {name: one.run.id for name, one in found.items()} == {"production": run}


def test_strangers_learn_of_no_deployment(place: Place, clone: Clone) -> None:
    with pytest.raises(NotFound):
        place.services.deployments.current(NOBODY, "acme", "shop")
