"""From a push to runs, with real git, SQLite and isolates; the hooks are called as the git endpoint calls them."""

import asyncio
from collections.abc import Sequence

import pytest
from places import SHIP, Clone

from stepwell.ci.pushes import MOST_REFS, Pushes
from stepwell.errors import Invalid
from stepwell.repos.push import NO_COMMIT, RefUpdate


def test_a_push_starts_the_pipelines_that_declare_it_and_says_where(clone: Clone) -> None:
    clone.pipeline()
    assert clone.push() == ["stepwell: run #1 Ship → http://ci.test/acme/api/runs/1"]
    view = clone.place.services.runs.by_number(clone.place.admin(), "acme", "api", 1)
    summary = view.summary
    assert (summary.branch, summary.kind, summary.actor, summary.title) == ("main", "push", "admin", "Add a pipeline")
    assert view.event["changed"] == [".stepwell/pipeline.py"]


def test_a_push_that_no_pipeline_declares_starts_nothing_and_says_so(clone: Clone) -> None:
    clone.pipeline()
    assert clone.push("refs/heads/feature") == ["stepwell: nothing in Ship starts on this push to feature"]
    assert clone.runs() == []


def test_a_commit_without_stepwell_says_so(clone: Clone) -> None:
    sha = clone.commit_files({"README": "hello"})
    (line,) = clone.push()
    assert line == f"stepwell: There is no .stepwell/ at {sha[:7]}, so nothing runs. Add one: stepwell init"
    assert clone.runs() == []


@pytest.mark.parametrize(
    ("source", "kind", "said"),
    [
        ("from stepwell import *\nclass Ship(Pipeline:\n", "syntax-error", ".stepwell/pipeline.py:2"),
        ("import no_such_module\n", "import-error", "no_such_module"),
        ("from stepwell import *\n", "error", "no pipeline"),
        ("1 / 0\n", "error", "ZeroDivisionError"),
    ],
)
def test_a_broken_pipeline_is_told_at_the_push_and_leaves_a_failed_run(
    clone: Clone, source: str, kind: str, said: str
) -> None:
    clone.pipeline(source)
    lines = clone.push()
    assert said in lines[0]
    assert lines[-1] == "stepwell: run #1 failed → http://ci.test/acme/api/runs/1"
    view = clone.place.finished(clone.runs()[0].id)
    assert view.summary.state == "failed"
    assert view.error is not None
    assert view.error["type"] == kind
    assert said in view.error["message"]


def test_a_pipeline_that_hangs_while_imported_is_not_waited_for(clone: Clone) -> None:
    clone.pipeline("while True: pass\n")
    lines = clone.push()
    assert "longer than 2 s" in lines[0]
    assert clone.place.finished(clone.runs()[0].id).summary.state == "failed"


def test_a_crash_between_the_hooks_loses_no_run_and_doubles_none(clone: Clone) -> None:
    clone.pipeline()
    context, update = clone.context(), clone.update()
    assert clone.permit(context, [update]) is None
    clone.move(update)
    place = clone.place
    place.stop()
    place.start()
    place.services.pushes.reconcile(0)
    place.services.pushes.reconcile(0)
    (run,) = clone.runs()
    assert (run.sha, run.pipeline) == (update.new, "Ship")
    assert asyncio.run(place.services.pushes.post_receive(context, [update])) == []
    assert len(clone.runs()) == 1


def test_a_crash_after_the_run_was_made_but_before_the_intent_was_closed_doubles_none(
    clone: Clone, monkeypatch: pytest.MonkeyPatch
) -> None:
    clone.pipeline()
    with monkeypatch.context() as crash:
        crash.setattr(Pushes, "finish", lambda _: None)
        clone.push()
    clone.place.services.pushes.reconcile(0)
    assert [run.number for run in clone.runs()] == [1]


def test_an_intent_whose_ref_never_moved_is_dropped(clone: Clone) -> None:
    clone.pipeline()
    assert clone.permit(clone.context(), [clone.update()]) is None
    clone.place.services.pushes.reconcile(0)
    assert clone.runs() == []
    clone.move(clone.update())
    clone.place.services.pushes.reconcile(0)
    assert clone.runs() == []


def test_an_intent_whose_ref_has_moved_on_still_becomes_a_run(clone: Clone) -> None:
    first = clone.pipeline()
    update = clone.update()
    clone.permit(clone.context(), [update])
    clone.move(update)
    clone.commit_files({"a": "1"})
    clone.push()
    clone.place.services.pushes.reconcile(0)
    assert {run.sha for run in clone.runs()} == {first, clone.git("rev-parse", "HEAD")}


def test_a_fresh_intent_is_left_to_its_own_push(clone: Clone) -> None:
    clone.pipeline()
    update = clone.update()
    clone.permit(clone.context(), [update])
    clone.move(update)
    clone.place.services.pushes.reconcile(30)
    assert clone.runs() == []


def test_a_push_whose_refs_move_late_still_starts_its_runs(clone: Clone) -> None:
    clone.pipeline()
    context, update = clone.context(), clone.update()
    clone.permit(context, [update])
    clone.place.services.pushes.reconcile(0)
    clone.move(update)
    assert "run #1" in asyncio.run(clone.place.services.pushes.post_receive(context, [update]))[0]


def test_a_developer_may_not_rewrite_or_delete_a_protected_branch(clone: Clone) -> None:
    ann = clone.place.person("ann", "developer")
    clone.pipeline()
    clone.push()
    clone.commit_files({"a": "1"})
    clone.push(actor=ann)
    clone.git("reset", "-q", "--hard", "HEAD~1")
    clone.commit_files({"a": "2"})
    (line,) = clone.push(actor=ann)
    assert line == "Branch 'main' is protected: only maintainers may rewrite its history."
    deletion = RefUpdate(clone.update().old, NO_COMMIT, "refs/heads/main")
    assert clone.refusal(deletion, ann) == "Branch 'main' is protected: only maintainers may delete it."
    assert "run #" in clone.push()[0]


def test_refs_outside_branches_and_tags_are_refused(clone: Clone) -> None:
    clone.pipeline()
    (line,) = clone.push("refs/runs/1")
    assert "not a branch, a tag or a note" in line


def test_a_tag_starts_what_declares_tags(clone: Clone) -> None:
    clone.pipeline(SHIP.replace('push("main", "release/*")', 'tag("v*")'))
    clone.push()
    clone.git("tag", "-a", "v1", "-m", "one")
    assert clone.push("refs/tags/v1", commit="v1") == ["stepwell: run #1 Ship → http://ci.test/acme/api/runs/1"]
    (run,) = clone.runs()
    assert (run.tag, run.kind, run.sha) == ("v1", "tag", clone.git("rev-parse", "HEAD"))


def many(clone: Clone, branches: Sequence[str], tags: Sequence[str]) -> list[str]:
    """Push many branches and tags at once, in the order that git sends them in."""
    names = [*(f"refs/heads/{name}" for name in sorted(branches)), *(f"refs/tags/{name}" for name in sorted(tags))]
    context, updates = clone.context(), [clone.update(name) for name in names]
    assert clone.permit(context, updates[:1]) is None  # its objects are there
    context = clone.context()
    assert asyncio.run(clone.place.services.pushes.pre_receive(context, updates)) is None
    clone.git("push", "-q", str(clone.place.services.repositories.path(clone.id)), *(f"HEAD:{name}" for name in names))
    lines = asyncio.run(clone.place.services.pushes.post_receive(context, updates))
    clone.place.services.pushes.finish()
    return lines


def test_of_a_mirrored_repository_the_default_branch_comes_first_and_no_tag_starts_anything(clone: Clone) -> None:
    clone.pipeline(SHIP.replace('push("main", "release/*")', "push(), tag()"))
    lines = many(clone, ["main", *(f"b{n}" for n in range(MOST_REFS))], ["v1", "v2"])
    runs = clone.runs()
    assert runs[-1].branch == "main"
    assert len(runs) == MOST_REFS
    assert not [run for run in runs if run.tag]
    assert lines[-1].startswith("stepwell: of a push of more than 50 branches and tags, 50 branches start runs")


def test_of_a_mirrored_repository_of_many_tags_each_branch_starts_its_runs(clone: Clone) -> None:
    clone.pipeline(SHIP.replace('push("main", "release/*")', "push(), tag()"))
    many(clone, ["main", "next"], [f"v{n}" for n in range(MOST_REFS)])
    assert [run.branch for run in clone.runs()] == ["next", "main"]


def test_each_of_a_few_tags_starts_its_run(clone: Clone) -> None:
    clone.pipeline(SHIP.replace('push("main", "release/*")', "push(), tag()"))
    many(clone, ["main"], [f"v{n}" for n in range(5)])
    assert [run.tag for run in clone.runs()] == ["v4", "v3", "v2", "v1", "v0", ""]


def test_the_same_files_are_described_once(clone: Clone, monkeypatch: pytest.MonkeyPatch) -> None:
    clone.pipeline()
    clone.push()
    declarations = clone.place.services.declarations
    monkeypatch.setattr(declarations, "_describe", lambda *_: pytest.fail("described again"))
    clone.commit_files({"a": "1"})
    assert "run #2" in clone.push()[0]
    declarations._known.clear()
    clone.commit_files({"a": "2"})
    assert "run #3" in clone.push()[0]


def test_a_huge_message_and_more_paths_than_can_be_listed_start_a_run_all_the_same(clone: Clone) -> None:
    clone.pipeline(SHIP.replace('"release/*")', 'paths=["no/such/**"])'))
    clone.commit_files({f"{'d' * 200}/{n}": "" for n in range(2100)}, "subject\n\n" + "x" * 100_000)
    assert "run #1" in clone.push()[0]
    view = clone.place.services.runs.by_number(clone.place.admin(), "acme", "api", 1)
    assert view.event["changed"] is None
    assert len(view.event["message"]) == 10_000


def test_a_push_that_cannot_start_its_run_says_why_and_is_not_tried_for_ever(
    clone: Clone, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise Invalid("params and metadata is 2000000 bytes of JSON.")

    clone.pipeline()
    monkeypatch.setattr(clone.place.services.pushes._launcher, "start", refuse)
    assert clone.push() == ["stepwell: params and metadata is 2000000 bytes of JSON."]
    monkeypatch.undo()
    clone.place.services.pushes.reconcile(0)
    assert clone.runs() == []


def test_a_ref_that_is_not_utf8_is_refused(clone: Clone) -> None:
    clone.pipeline()
    clone.push()
    update = RefUpdate(NO_COMMIT, clone.git("rev-parse", "HEAD"), "refs/heads/\udcff")
    assert "not UTF-8" in str(clone.refusal(update, clone.place.admin()))
