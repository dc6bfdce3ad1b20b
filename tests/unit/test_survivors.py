"""What is written down of containers for the next server, and how their output is followed on."""

import dataclasses
from collections import Counter
from pathlib import Path

import logged
import pytest

from stepwell_runners import survivors
from stepwell_runners.container_process import without
from stepwell_runners.run_forks import GitView
from stepwell_runners.spec import Directory, Mount, Overlay
from stepwell_runners.survivors import RECORD, Record, recorded
from stepwell_runners.workspaces import Workspace


def workspace(place: Path, mount: Mount, git: GitView | None = None) -> Workspace:
    return Workspace("w", "run-1", "step#1", "/tree", ("l1",), (Path("/l1"), Path("/tree")), place, mount, git, ("l2",))


@pytest.mark.parametrize("git", [None, GitView(Path("/fork"), Path("/objects"), "/tools/git-objects")])
@pytest.mark.parametrize("form", ["overlay", "copy"])
def test_a_workspace_is_found_again_as_it_was(tmp_path: Path, form: str, git: GitView | None) -> None:
    place = tmp_path / "w"
    place.mkdir()
    overlay = Overlay((Path("/l1"), Path("/tree")), place / "upper", place / "work")
    opened = workspace(place, overlay if form == "overlay" else Directory(place / "upper"), git)
    Record.of(logged.attempt("true"), opened, "c0ffee", waited=True, slot="s").write(place)
    (found,) = recorded(tmp_path)
    assert found.opened() == opened
    assert (found.container, found.waited, found.slot, found.number) == ("c0ffee", True, "s", 1)
    assert 0 <= found.seconds < 60


def test_a_record_that_is_cut_short_or_of_another_boot_or_place_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("cut", "odd", "moved"):
        (tmp_path / name).mkdir()
    (tmp_path / "cut" / RECORD).write_text('{"run": "run-1", "key')
    (tmp_path / "odd" / RECORD).write_text('["run-1"]')
    there = workspace(tmp_path / "elsewhere", Directory(tmp_path))
    Record.of(logged.attempt("true"), there, "c", waited=False, slot="").write(tmp_path / "moved")
    assert recorded(tmp_path) == []
    here = workspace(tmp_path / "moved", Directory(tmp_path))
    Record.of(logged.attempt("true"), here, "c", waited=False, slot="").write(tmp_path / "moved")
    assert len(recorded(tmp_path)) == 1
    monkeypatch.setattr(survivors, "_boot", lambda: "another")
    assert recorded(tmp_path) == []


def test_only_the_next_attempt_of_the_same_step_takes_it_over(tmp_path: Path) -> None:
    first = logged.attempt("true", image="a")
    record = Record.of(first, workspace(tmp_path, Directory(tmp_path)), "c", waited=False, slot="")
    following = dataclasses.replace(first, number=2)
    assert record.is_of(following) and record.is_of(dataclasses.replace(first, number=3))
    assert not record.is_of(first)
    for changed in ({"tenant": "other"}, {"key": "step#2"}, {"run": "run-2"}, {"options": {"command": "false"}}):
        assert not record.is_of(dataclasses.replace(following, **changed))


def test_what_was_seen_of_each_stream_is_left_out() -> None:
    lines = [(1, b"one\n"), (2, b"err\n"), (1, b"two\n"), (2, b"more\n")]
    assert list(without(lines, Counter({1: 6, 2: 0}))) == [(2, b"err\n"), (1, b"o\n"), (2, b"more\n")]
    assert list(without(lines, Counter())) == lines
    assert list(without(lines, Counter({1: 8, 2: 9}))) == []
