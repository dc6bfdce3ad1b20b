"""Repositories: created, described, and hidden from strangers."""

import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from places import Place

from stepwell.ci.catalog import Catalog
from stepwell.ci.environments import Environments
from stepwell.errors import Conflict, Denied, Invalid, NotFound, Unavailable
from stepwell.tenants import NOBODY


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    place = Place(tmp_path).start()
    place.admin()
    yield place
    place.stop()


def test_a_new_repository_is_empty_and_says_so(place: Place) -> None:
    view = place.services.catalog.create(place.admin(), "acme", "api", "An API")
    assert (view.full_name, view.clone_path, view.default_branch, view.last_run) == (
        "acme/api", "/acme/api.git", "main", None,
    )  # fmt: skip
    assert view.may == ("read", "write", "approve", "manage", "own")
    pipelines = place.services.catalog.pipelines(place.admin(), "acme", "api")
    assert pipelines.problem is not None
    assert pipelines.problem.message == "Nothing has been pushed yet."


@pytest.mark.parametrize("name", ["..", "a/../b", "a..b", ".hidden", "a.git", "settings", "", "x" * 101, "a b"])
def test_names_that_could_be_something_else_are_refused(place: Place, name: str) -> None:
    with pytest.raises(Invalid):
        place.services.catalog.create(place.admin(), "acme", name)
    assert list(place.services.repositories.root.iterdir()) == []


def test_a_taken_name_is_refused_also_in_capitals(place: Place) -> None:
    place.services.catalog.create(place.admin(), "acme", "api")
    for name in ("api", "API"):
        with pytest.raises(Conflict, match="already"):
            place.services.catalog.create(place.admin(), "acme", name)
    assert len(list(place.services.repositories.root.iterdir())) == 1


def test_a_repository_whose_row_cannot_be_written_leaves_no_files(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(place.services.tenants.audit, "add", fail)
    with pytest.raises(OSError, match="disk full"):
        place.services.catalog.create(place.admin(), "acme", "api")
    assert list(place.services.repositories.root.iterdir()) == []


def test_the_last_run_and_the_pipelines_are_shown(place: Place) -> None:
    clone = place.repository()
    clone.pipeline()
    clone.push()
    (view,) = place.services.catalog.list(place.admin())
    assert view.last_run is not None
    assert view.last_run.number == 1
    shown = place.services.catalog.pipelines(place.admin(), "acme", "api", "main")
    (pipeline,) = shown.pipelines
    assert (pipeline.name, pipeline.doc, pipeline.manual) == ("Ship", "Check and ship.", True)
    assert pipeline.triggers == ("push to main, release/*", "by hand")
    assert [(one.name, one.choices, one.default) for one in pipeline.inputs] == [
        ("target", ("staging", "production"), "staging"),
        ("dry", ("true", "false"), "false"),
    ]


def test_settings_are_for_maintainers(place: Place) -> None:
    clone = place.repository()
    clone.pipeline()
    clone.push()
    clone.push("refs/heads/next")
    catalog = place.services.catalog
    with pytest.raises(Denied):
        catalog.update(place.person("ann", "developer"), "acme", "api", description="mine")
    with pytest.raises(NotFound, match="'missing'"):
        catalog.update(place.admin(), "acme", "api", default_branch="missing")
    view = catalog.update(place.admin(), "acme", "api", description="new", default_branch="next", protected=["next"])
    assert (view.description, view.default_branch, view.protected) == ("new", "next", ("next",))


def test_reviewers_must_be_members_and_enough(place: Place) -> None:
    place.repository()
    put = place.services.environments.put
    with pytest.raises(Invalid, match="'mallory' is no member"):
        put(place.admin(), "acme", "api", "production", reviewers=["mallory"])
    with pytest.raises(Invalid, match="2 approvals cannot be required"):
        put(place.admin(), "acme", "api", "production", reviewers=["admin"], count=2)
    with pytest.raises(Invalid, match="not valid"):
        put(place.admin(), "acme", "api", "a/b")
    view = put(place.admin(), "acme", "api", "production", reviewers=["admin"], branches=["main"])
    assert place.services.environments.get(place.admin(), "acme", "api", "production") == view


def test_rules_survive_a_restart(place: Place) -> None:
    clone = place.repository()
    place.services.environments.put(place.admin(), "acme", "api", "production", count=3)
    place.stop()
    place.start()
    assert place.services.environments.rules(clone.id, "production").count == 3
    assert place.services.environments.rules(clone.id, "other").count == 0


def test_a_push_on_a_host_without_isolates_is_kept_and_runs_later(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise Unavailable("This host cannot give the wall.")

    clone = place.repository()
    clone.pipeline()
    with monkeypatch.context() as broken:
        broken.setattr(place.services.declarations, "_describe", refuse)
        lines = clone.push()
    assert lines == [
        "stepwell: This host cannot give the wall.",
        "stepwell: the push is kept; its runs start as soon as that is mended",
    ]
    assert clone.runs() == []
    place.services.pushes.reconcile(0)
    assert len(clone.runs()) == 1


@pytest.mark.parametrize(
    ("kind", "method"),
    [(kind, name) for kind in (Catalog, Environments) for name in vars(kind) if not name.startswith("_")],
)
def test_a_stranger_finds_no_repository_by_any_method(place: Place, kind: Any, method: str) -> None:
    if method == "rules":
        return  # for the engine's loop: takes ids, no actor
    place.repository()
    place.services.environments.put(place.admin(), "acme", "api", "production")
    place.services.tenants.create(place.admin(), "other")
    stranger = place.person("mallory", "owner", "other")
    part = place.services.catalog if kind is Catalog else place.services.environments
    bound = getattr(part, method)
    for actor in (NOBODY, stranger):
        if (kind, method) == (Catalog, "list"):
            assert bound(actor) == []
            continue
        wanted = [n for n, one in inspect.signature(bound).parameters.items() if one.default is inspect.Parameter.empty]
        given = {"tenant": "acme", "repository": "api", "name": "api" if kind is Catalog else "production"}
        with pytest.raises(NotFound):
            bound(actor, **{name: given[name] for name in wanted if name != "actor"})
