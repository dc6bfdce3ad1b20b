"""Which snapshots are kept, what is known of them, and which troubles of a container engine have a name."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from stepwell.errors import Invalid
from stepwell_runners import images, outcomes
from stepwell_runners.container_process import check_space
from stepwell_runners.images import check_architecture
from stepwell_runners.outcomes import EngineFull
from stepwell_runners.snapshot_notes import Keep, Note, SnapshotNotes, superfluous

NOW = 1_000_000.0


def note(key: str, size: int, idle: float) -> Note:
    return Note(key, "acme/api", "make", size, 0.0, NOW - idle)


def test_the_oldest_go_when_there_are_too_many_and_the_unused_in_any_case() -> None:
    notes = [note("a", 40, 10), note("b", 40, 30), note("c", 40, 20), note("d", 1, 5000)]
    assert [one.key for one in superfluous(notes, Keep(100, 1000), NOW)] == ["b", "d"]
    assert superfluous(notes, Keep(1000, 10_000), NOW) == []
    assert [one.key for one in superfluous(notes, Keep(0, 10_000), NOW)] == ["a", "c", "b", "d"]


def test_uses_are_counted(tmp_path: Path) -> None:
    notes = SnapshotNotes(tmp_path)
    notes.made("k1", "acme/api", "make", 10)
    assert notes.used("k1") and notes.used("k1")
    assert not notes.used("k2")
    notes.made("k2", "acme/web", "npm ci", 20)
    assert [(one.key, one.hits, one.size) for one in notes.all()] == [("k2", 0, 20), ("k1", 2, 10)]
    notes.forget("k2")
    (tmp_path / "snapshots" / "cut.json").write_text("{")
    assert [one.key for one in notes.all()] == ["k1"]


def test_those_of_a_deleted_repository_go_next(tmp_path: Path) -> None:
    notes = SnapshotNotes(tmp_path)
    for key, scope in (("k1", "acme/api"), ("k2", "acme/apis"), ("k3", "acme/0123")):
        notes.made(key, scope, "make", 10)
    assert notes.let_go({"acme/api", "acme/0123"}) and not notes.let_go({"acme/other"})
    assert {one.key for one in superfluous(notes.all(), Keep(), time.time())} == {"k1", "k3"}


def test_an_image_for_another_processor_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "_EMULATORS", tmp_path)
    with pytest.raises(Invalid, match=r"'python:3\.13' is made for arm64, and this host is amd64"):
        check_architecture("python:3.13", "arm64", "amd64")
    check_architecture("python:3.13", "amd64", "amd64")
    check_architecture("python:3.13", "", "amd64")
    (tmp_path / "qemu-aarch64").touch()
    check_architecture("python:3.13", "arm64", "amd64")


@dataclass
class Refusal(Exception):
    """An error of the engine."""

    explanation: Any


def test_an_engine_without_space_is_named_and_tried_again() -> None:
    check_space(Refusal("no such image"))
    check_space(Refusal(None))
    with pytest.raises(EngineFull) as caught:
        check_space(Refusal("write /var/lib/docker/x: no space left on device"))
    outcome = outcomes.of_error(caught.value)
    assert not outcome.final and outcome.error is not None
    assert outcome.error["type"] == "EngineFull" and "docker system prune" in outcome.error["message"]
