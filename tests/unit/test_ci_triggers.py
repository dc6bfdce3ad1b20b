"""Which events start which pipelines."""

import pytest

from stepwell.ci.triggers import Declared, Moved, crons, described, manual_inputs, matches, started_by


def pipeline(*on: dict[str, object], name: str = "Ship") -> Declared:
    return Declared(name, f"pipeline.py:{name}", on=on)


def push(*branches: str, paths: tuple[str, ...] = ()) -> dict[str, object]:
    return {"kind": "push", "branches": list(branches), "paths": list(paths)}


def starts(trigger: dict[str, object], moved: Moved) -> bool:
    return bool(started_by([pipeline(trigger)], moved))


@pytest.mark.parametrize(
    ("glob", "text", "fits"),
    [
        ("main", "main", True),
        ("main", "main2", False),
        ("release/*", "release/1", True),
        ("release/*", "release/1/x", False),
        ("release/**", "release/1/x", True),
        ("**", "a/b", True),
        ("src/**", "src/a/b.py", True),
        ("src/**", "src", False),
        ("**/*.py", "a.py", True),
        ("v[0-9].*", "v1.2", True),
        ("v?", "v10", False),
    ],
)
def test_globs_stay_inside_a_folder_unless_doubled(glob: str, text: str, fits: bool) -> None:
    assert matches(glob, text) is fits


def test_a_push_without_branches_matches_every_branch_but_no_tag() -> None:
    assert starts(push(), Moved(branch="x"))
    assert not starts(push(), Moved(tag="v1"))


def test_a_push_matches_one_of_its_branches() -> None:
    assert starts(push("main", "release/*"), Moved(branch="release/2"))
    assert not starts(push("main", "release/*"), Moved(branch="feature"))


def test_paths_need_one_changed_path() -> None:
    trigger = push("main", paths=("src/**", "pyproject.toml"))
    assert starts(trigger, Moved(branch="main", changed=["docs/a.md", "src/a.py"]))
    assert not starts(trigger, Moved(branch="main", changed=["docs/a.md"]))
    assert not starts(trigger, Moved(branch="main", changed=[]))


def test_unknown_changes_match_paths() -> None:
    assert starts(push(paths=("src/**",)), Moved(branch="main", changed=None))


def test_tags_match_tags_only() -> None:
    assert starts({"kind": "tag", "patterns": ["v*"]}, Moved(tag="v1"))
    assert starts({"kind": "tag", "patterns": []}, Moved(tag="anything"))
    assert not starts({"kind": "tag", "patterns": ["v*"]}, Moved(tag="x"))
    assert not starts({"kind": "tag", "patterns": []}, Moved(branch="main"))


def test_several_matching_triggers_start_a_pipeline_once() -> None:
    assert len(started_by([pipeline(push(), push("main"))], Moved(branch="main"))) == 1


def test_cron_and_manual_are_not_started_by_a_push() -> None:
    assert not starts({"kind": "cron", "schedule": "0 3 * * *"}, Moved(branch="main"))
    assert not starts({"kind": "manual", "inputs": {}}, Moved(branch="main"))


def test_crons_and_inputs_are_found() -> None:
    both = pipeline({"kind": "cron", "schedule": "0 3 * * *"}, {"kind": "manual", "inputs": {"a": ["x"]}})
    assert [(found.name, schedule, zone) for found, schedule, zone in crons([both])] == [("Ship", "0 3 * * *", "UTC")]
    assert manual_inputs(both) == {"a": ["x"]}
    assert manual_inputs(pipeline(push())) is None


@pytest.mark.parametrize(
    ("trigger", "words"),
    [
        (push("main", "dev"), "push to main, dev"),
        (push(paths=("src/**",)), "push to any branch that changes src/**"),
        ({"kind": "tag", "patterns": ["v*"]}, "tag v*"),
        ({"kind": "cron", "schedule": "0 3 * * *", "tz": "Europe/Berlin"}, "cron 0 3 * * * (Europe/Berlin)"),
        ({"kind": "manual", "inputs": {}}, "by hand"),
    ],
)
def test_triggers_are_put_in_words(trigger: dict[str, object], words: str) -> None:
    assert described(trigger) == words
