"""`step.promote` on real repositories: what a run may move, what it may not, and that nothing starts itself."""

import asyncio
import base64
import os
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any, cast

import pytest
from places import Clone, Place

from stepwell.ci.promotion import Promotions, ref_of
from stepwell.engine.seams import BindingCall
from stepwell.errors import Conflict, Denied, Invalid, NotFound, Unavailable
from stepwell.repos.captured import Captured, RefChange
from stepwell.repos.intake import Wanted, take_in
from stepwell.repos.process import run_git
from stepwell.store.tables import Repository

PIPELINE = """
from stepwell import *

class Ship(Pipeline):
    on = [push(), tag()]
    async def run(self, event, step):
        await step.run("test", "true")
        made = await step.promote("release", "refs/tags/v1.0")
        return [made, await step.promote("to stable", "refs/heads/stable")]
"""


def at(clone: Clone, ref: str) -> str | None:
    return clone.place.services.repositories.reader(clone.id).resolve(ref)


def promote(
    place: Place,
    ref: Any,
    metadata: Mapping[str, Any],
    promotions: Promotions | None = None,
    base: tuple[str, ...] = (),
    made_by: Any = (),
) -> Any:
    """Make the call as the engine does."""
    run = cast(Any, SimpleNamespace(metadata=metadata, number=7, steps={"bump#1": SimpleNamespace(name="bump")}))
    named = {"made_by": made_by} if made_by else {}
    call = BindingCall(run, "promote#1", 0.0, "promote", (ref,), named, base)
    return asyncio.run((promotions or place.base.promotions).call(call))


def test_a_run_promotes_its_commit_and_starts_no_other(place: Place) -> None:
    clone = place.repository()
    commit = clone.pipeline(PIPELINE)
    clone.push()
    view = place.finished(clone.runs()[0].id)
    assert view.summary.state == "passed", view
    assert at(clone, "refs/tags/v1.0") == at(clone, "refs/heads/stable") == commit
    place.services.pushes.reconcile(0)
    assert len(clone.runs()) == 1, "a promotion started a run"
    steps = {step.name: step.kind for step in view.steps}
    assert steps["to stable"] == "binding"


def test_a_run_that_may_not_promote_fails_and_says_why(place: Place) -> None:
    clone = place.repository()
    clone.pipeline(PIPELINE)
    clone.push()
    place.finished(clone.runs()[0].id)
    clone.commit_files({"more": "1"})
    clone.push()
    failed = place.finished(clone.runs()[0].id)
    assert failed.summary.state == "failed"
    assert failed.error is not None and "Tag 'v1.0' is at" in failed.error["message"]


def test_branches_only_go_forward_and_tags_stay(place: Place) -> None:
    clone = place.repository()
    first = clone.commit_files({"a": "1"})
    second = clone.commit_files({"a": "2"})
    clone.push()
    clone.git("checkout", "-q", "-b", "aside", first)
    aside = clone.commit_files({"b": "1"})
    clone.push("refs/heads/aside")
    own = {"repository": clone.id}
    for before in ("", first):  # again, as after a crash
        assert promote(place, "refs/heads/stable", {**own, "commit": first}) == {
            "ref": "refs/heads/stable", "sha": first, "before": before, "made_by": [],
        }  # fmt: skip
    assert promote(place, "refs/heads/stable", {**own, "commit": second})["before"] == first
    assert at(clone, "refs/heads/stable") == second
    for older in (first, aside):
        with pytest.raises(Conflict, match="only goes forward"):
            promote(place, "refs/heads/stable", {**own, "commit": older})
    promote(place, "refs/tags/v1", {**own, "commit": first})
    with pytest.raises(Conflict, match="Tag 'v1' is at"):
        promote(place, "refs/tags/v1", {**own, "commit": second})
    with pytest.raises(Conflict, match="could not be moved"):
        promote(place, "refs/heads/stable/below", {**own, "commit": second})
    assert (at(clone, "refs/heads/stable"), at(clone, "refs/tags/v1")) == (second, first)


def test_a_ref_that_is_called_like_another_is_not_taken_for_it(place: Place) -> None:
    clone = place.repository()
    commit = clone.pipeline(PIPELINE)
    clone.push("refs/heads/refs/heads/stable")
    clone.push("refs/tags/refs/tags/v1.0")
    clone.push("refs/heads/main")
    view = place.finished(clone.runs()[0].id)
    assert view.summary.state == "passed", view
    assert at(clone, "refs/tags/v1.0") == at(clone, "refs/heads/stable") == commit


def test_plans_and_runs_of_removed_repositories_promote_nothing(place: Place) -> None:
    clone = place.repository()
    commit = clone.commit_files({"a": "1"})
    clone.push()
    for metadata in ({"plan": "p", "repository": clone.id, "commit": commit}, {}, {"repository": "", "commit": ""}):
        with pytest.raises(Denied, match="A plan has no repository"):
            promote(place, "refs/heads/stable", metadata)
    with pytest.raises(NotFound):
        promote(place, "refs/heads/stable", {"repository": "gone", "commit": commit})
    assert at(clone, "refs/heads/stable") is None


def test_schedules_follow_a_promoted_default_branch_also_while_the_server_starts(place: Place) -> None:
    clone = place.repository()
    commit = clone.commit_files({"a": "1"})
    clone.push("refs/heads/next")
    promotions = Promotions(place.base.store, place.base.repositories, place.base.tenants, place.settings.state)
    promote(place, "refs/heads/main", {"repository": clone.id, "commit": commit}, promotions)
    told: list[tuple[str, str]] = []

    def note(repository: Repository, sha: str) -> None:
        told.append((repository.id, sha))

    promotions.follow(note)
    promote(place, "refs/heads/main", {"repository": clone.id, "commit": commit}, promotions)
    promote(place, "refs/heads/other", {"repository": clone.id, "commit": commit}, promotions)
    assert told == [(clone.id, commit)] * 2 and at(clone, "refs/heads/main") == commit


@pytest.mark.parametrize(
    "ref",
    [
        "main", "HEAD", "refs/runs/x", "refs/notes/x", "refs/heads/", "refs/heads/../x", "refs/heads/-x",
        "refs/heads/a b", "refs/heads/x.lock", "refs/heads/a\nb", "refs/heads/@{1}", "refs/heads/a//b",
        "refs/tags/" + "x" * 300, "refs/heads/a\udcff", None, ["refs/heads/x"],
    ],
)  # fmt: skip
def test_only_branches_and_tags_are_named(ref: Any) -> None:
    with pytest.raises(Invalid, match=r"Write a branch or a tag in full"):
        ref_of(ref)


def test_code_cannot_name_a_repository_or_a_commit(place: Place) -> None:
    run = cast(Any, SimpleNamespace(metadata={}))
    for args, kwargs in ((("refs/heads/x", "another"), {}), (("refs/heads/x",), {"repository": "another"})):
        with pytest.raises(Invalid, match="no such call"):
            asyncio.run(place.base.promotions.call(BindingCall(run, "k", 0.0, "promote", args, kwargs)))


def committed(
    clone: Clone, commit: str, refs: Mapping[str, str | None], layer: str = "a-1", step: str = "bump"
) -> tuple[str, ...]:
    """Keep refs of a working copy as those of a step of a run of `commit`; its layer."""
    part, repository = clone.place.settings.state / "layers" / layer.replace("-", "/") / "git", clone.id
    part.mkdir(parents=True)
    origin = clone.place.base.repositories.path(repository)
    set_ = [(ref, id_) for ref, id_ in refs.items() if id_]
    loose = [os.open(path, os.O_RDONLY) for path in sorted((clone.path / ".git/objects").glob("??/*"))]
    take_in(
        loose,
        [],
        Wanted(set_, [commit], origin, [origin / "objects"]),
        clone.path / f"scratch-{layer}",
        part / "objects",
    )
    Captured(commit, {ref: RefChange(None, id_) for ref, id_ in refs.items()}, step=step).write(part)
    return (layer,)


def test_what_steps_have_made_is_promoted_with_its_objects_and_stands_in_the_audit_log(place: Place) -> None:
    clone = place.repository()
    commit = clone.commit_files({"a": "1"})
    clone.push()
    made = clone.commit_files({"version": "2"})
    clone.git("tag", "-a", "-m", "words", "v2")
    tag = clone.git("rev-parse", "v2")
    clone.git("checkout", "-q", "-b", "other")
    other = clone.commit_files({"other": "1"})
    base = committed(clone, commit, {"refs/heads/main": made, "refs/tags/v2": tag, "refs/heads/other": other})
    own = {"repository": clone.id, "commit": commit, "actor": "ada"}
    for before in (commit, made):  # again, as after a crash
        assert promote(place, "refs/heads/main", own, base=base, made_by=["bump"]) == {
            "ref": "refs/heads/main", "sha": made, "before": before, "made_by": ["bump"],
        }  # fmt: skip
        assert promote(place, "refs/tags/v2", own, base=base, made_by=["bump"])["sha"] == tag
    assert promote(place, "refs/heads/stable", own, base=base)["sha"] == commit, "no step has made that branch"
    assert (at(clone, "refs/heads/main"), at(clone, "refs/tags/v2"), at(clone, "refs/heads/stable")) == (
        made,
        made,
        commit,
    )
    origin = place.base.repositories.path(clone.id)
    assert run_git(origin, ["fsck", "--strict", "--full"]).returncode == 0
    assert run_git(origin, ["cat-file", "-e", other], accept=(1, 128)), "what was not promoted came along"
    told = [entry for entry in place.services.tenants.audit.list(place.admin(), "acme") if "promote" in entry.action]
    assert [(entry.actor, entry.subject, entry.detail["ref"], entry.detail["run"]) for entry in told] == [
        ("ada", "api", "refs/heads/stable", 7), ("ada", "api", "refs/tags/v2", 7), ("ada", "api", "refs/heads/main", 7),
    ]  # fmt: skip


def test_what_steps_have_made_goes_no_further_than_a_promotion_may(place: Place) -> None:
    clone = place.repository()
    first = clone.commit_files({"a": "1"})
    commit = clone.commit_files({"a": "2"})
    clone.git("tag", "v1", first)
    clone.push()
    clone.push("refs/tags/v1", commit=first)
    clone.git("checkout", "-q", "-b", "aside", first)
    aside = clone.commit_files({"b": "1"})
    refs = {"refs/heads/main": aside, "refs/tags/v1": aside, "refs/heads/gone": None}
    base = committed(clone, commit, refs)
    own = {"repository": clone.id, "commit": commit}
    for ref, words in (
        ("heads/main", "only goes forward"),
        ("tags/v1", "Tag 'v1' is at"),
        ("heads/gone", "has removed"),
    ):
        with pytest.raises(Conflict, match=words):
            promote(place, f"refs/{ref}", own, base=base, made_by=["bump"])
    with pytest.raises(Denied, match="A plan"):
        promote(place, "refs/heads/x", {**own, "plan": "p"}, base=base)
    with pytest.raises(Unavailable, match="not kept any more"):
        promote(place, "refs/heads/x", own, base=(*base, "gone-1"))
    assert promote(place, "refs/heads/new", {**own, "commit": first}, base=base)["sha"] == first, (
        "made on another commit"
    )
    assert (at(clone, "refs/heads/main"), at(clone, "refs/tags/v1"), at(clone, "refs/heads/gone")) == (
        commit,
        first,
        None,
    )


@pytest.mark.parametrize("written", ["key = {}\n", "x{}x", "base64"])
def test_a_commit_with_a_secret_in_it_is_refused(place: Place, written: str) -> None:
    clone = place.repository()
    commit = clone.commit_files({"a": "1"})
    clone.push()
    value = "-----BEGIN KEY-----\nq83xTz0aPLmR7wKe\n-----END-----\n"
    place.services.tenants.secrets.put(place.admin(), "acme", "DEPLOY_KEY", value)
    place.services.tenants.secrets.put(place.admin(), "acme", "SHORT", "main")
    text = (
        base64.b64encode(b"user:q83xTz0aPLmR7wKe:").decode()
        if written == "base64"
        else written.format("q83xTz0aPLmR7wKe")
    )
    made = clone.commit_files({"settings": "x" * 70_000 + text})
    clean = clone.git("commit-tree", "-p", commit, "-m", "-----BEGIN KEY----- on main", f"{commit}^{{tree}}")
    base = committed(clone, commit, {"refs/heads/main": made, "refs/heads/clean": clean})
    own = {"repository": clone.id, "commit": commit}
    with pytest.raises(Denied, match="contains the value of a secret, in 'settings' of commit ") as refused:
        promote(place, "refs/heads/main", own, base=base, made_by=["bump"])
    assert made[:10] in str(refused.value) and "DEPLOY_KEY" not in str(refused.value)
    (told,) = [one for one in place.services.tenants.audit.list(place.admin(), "acme") if "refused" in one.action]
    assert (told.detail["secret"], told.detail["ref"]) == ("DEPLOY_KEY", "refs/heads/main")
    assert at(clone, "refs/heads/main") == commit
    assert run_git(place.base.repositories.path(clone.id), ["cat-file", "-e", made], accept=(1, 128)).returncode
    assert promote(place, "refs/heads/clean", own, base=base, made_by=["bump"])["sha"] == clean


def test_where_a_secret_stands_is_said_without_the_secret(place: Place) -> None:
    clone = place.repository()
    commit = clone.commit_files({"a": "1"})
    clone.push()
    value = "q83xTz0aPLmR7wKe"
    place.services.tenants.secrets.put(place.admin(), "acme", "DEPLOY_KEY", value)
    named = clone.commit_files({f"sub/{value}": value})
    worded = clone.git("commit-tree", "-p", commit, "-m", f"key {value}", f"{commit}^{{tree}}")
    base = committed(clone, commit, {"refs/heads/named": named, "refs/heads/worded": worded})
    for ref, id_ in (("named", named), ("worded", worded)):
        with pytest.raises(Denied, match=id_[:10]) as refused:
            promote(place, f"refs/heads/{ref}", {"repository": clone.id, "commit": commit}, base=base, made_by=["bump"])
        assert value not in str(refused.value)


def test_what_no_named_step_has_made_is_not_published(place: Place) -> None:
    """A dependency of the tests moves branches in the workspace's git; the promotion does not follow it."""
    clone = place.repository()
    commit = clone.commit_files({"a": "1"})
    clone.push()
    own = {"repository": clone.id, "commit": commit}
    hostile = clone.commit_files({"a": "hostile"})
    moved = committed(clone, commit, {"refs/heads/stable": hostile, "refs/heads/main": hostile}, step="test")
    made = clone.commit_files({"version": "2"})
    bumped = committed(clone, commit, {"refs/heads/main": made, "refs/tags/v2": made}, "a-2", "bump")
    with pytest.raises(Conflict, match=r"moved by the step 'test', .* names no step.* write made_by='test'"):
        promote(place, "refs/heads/stable", own, base=moved)
    for base in ((*moved, *bumped), (*bumped, *moved)):
        with pytest.raises(
            Conflict, match=r"moved by the step 'test', .* what 'test' made.*made_by=\['bump', 'test'\]"
        ):
            promote(place, "refs/heads/main", own, base=base, made_by=["bump"])
    with pytest.raises(Conflict, match="No step 'bump' of this run has moved branch next"):
        promote(place, "refs/heads/next", own, base=bumped, made_by=["bump"])
    with pytest.raises(Conflict, match="has asked for no step 'nosuch', which made_by= names"):
        promote(place, "refs/heads/next", own, base=bumped, made_by=["bump", "nosuch"])
    assert (at(clone, "refs/heads/main"), at(clone, "refs/heads/stable")) == (commit, None)
    both = promote(place, "refs/heads/main", own, base=(*moved, *bumped), made_by=["bump", "test"])
    assert (both["sha"], both["made_by"]) == (made, ["test", "bump"])


@pytest.mark.parametrize("made_by", ["bump", [""], [1], {"a": 1}])
def test_steps_are_named_by_their_names(place: Place, made_by: Any) -> None:
    with pytest.raises(Invalid, match="Write the name of a step, or a list of names"):
        promote(place, "refs/heads/x", {}, made_by=made_by)
