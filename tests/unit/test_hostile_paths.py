"""Names, links and modes that a stranger chose, where the host reads files for them."""

import os
from pathlib import Path

import pytest

from stepwell.engine.seams import Attempt, Code, Prepared
from stepwell.errors import Invalid
from stepwell_runners import images, setup_inputs, snapshots
from stepwell_runners.collected import View, find
from stepwell_runners.command_plan import plan
from stepwell_runners.layers import Layer
from stepwell_runners.reduce import Stack, copy_file


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A tree of a repository, with a secret of the host two directories above it."""
    (tmp_path / "key").write_text("the server's key")
    folder = tmp_path / "trees" / "t"
    folder.mkdir(parents=True)
    (folder / "real").write_text("r")
    return folder


@pytest.mark.parametrize("path", ["../../key", "./../../key", "real/../../../key", "..", "../.."])
def test_no_path_leads_out_of_a_stack(tree: Path, path: str) -> None:
    stack = Stack([tree])
    assert stack.node(path) is None and stack.place(path) is None and stack.names(path) == []


@pytest.mark.parametrize("pattern", ["../../key", "../../*", "../**"])
def test_no_pattern_collects_files_of_the_host(tree: Path, pattern: str) -> None:
    assert find([pattern], View(Layer(), tree, Stack([tree]))).files == ()


def test_inputs_of_a_setup_never_follow_a_link_to_a_file_of_the_host(tree: Path) -> None:
    (tree / "requirements.txt").symlink_to(tree.parent.parent / "key")
    with pytest.raises(Invalid, match="not a regular file"):
        snapshots._inputs(("requirements.txt",), Stack([tree]))
    found = snapshots._inputs(("real", "."), Stack([tree]))
    assert [entry.content for entry in found.values() if entry.content] == [b"r"]


def test_inputs_of_a_setup_are_bounded(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(setup_inputs, "MOST_BYTES", 10)
    (tree / "big").write_bytes(b"x" * 11)
    with pytest.raises(Invalid, match="setup_inputs"):
        snapshots._inputs(("big",), Stack([tree]))


@pytest.mark.parametrize("name", ["../../../etc/cron.d/x", "a/b", "..", "", "a\0b", "A=B"])
def test_a_secret_file_has_the_name_of_a_variable(name: str) -> None:
    code = Code("d", {}, "pipeline.py:Ship")
    options = {"command": "x", "image": "i"}
    attempt = Attempt("r-1", "acme", "acme/api", {}, code, "s#1", "s", "run", 1, options, ())
    with pytest.raises(Invalid, match="variable"):
        plan(attempt, Prepared(files={name: "text"}))


def test_a_copied_file_gives_nobody_rights_of_the_server(tree: Path, tmp_path: Path) -> None:
    (tree / "tool").write_text("#!/bin/sh\n")
    (tree / "tool").chmod(0o6755)
    os.setxattr(tree / "tool", "user.note", b"x")
    copy_file(tree / "tool", tmp_path / "copy")
    assert (tmp_path / "copy").stat().st_mode & 0o7777 == 0o755
    assert os.listxattr(tmp_path / "copy") == []


@pytest.mark.parametrize(
    "image",
    [
        "sha256:0a1b",
        "stepwell-snapshot:0a1b2c",
        "docker.io/library/stepwell-snapshot:0a",
        "docker.io/stepwell-snapshot",
    ],
)
def test_no_step_names_an_image_that_was_set_up_for_another(image: str) -> None:
    with pytest.raises(Invalid, match="image"):
        images.reference_of(image)


@pytest.mark.parametrize(
    ("image", "reference"),
    [
        ("cafe", "cafe:latest"),  # alone it would also be the beginning of an id
        ("python:3.12-slim", "python:3.12-slim"),
        ("host:5000/a/b", "host:5000/a/b:latest"),
        ("busybox@sha256:0a1b", "busybox@sha256:0a1b"),
    ],
)
def test_an_image_is_looked_up_by_name_and_never_by_id(image: str, reference: str) -> None:
    assert images.reference_of(image) == reference


class Container:
    """Remembers whether it was made a snapshot of."""

    def __init__(self, code: int) -> None:
        self.attrs = {"State": {"ExitCode": code}}
        self.tags: list[str] = []

    def commit(self, repository: str, tag: str) -> None:
        self.tags.append(tag)


def test_a_setup_that_failed_leaves_no_snapshot() -> None:
    failed, passed = Container(1), Container(0)
    for container in (failed, passed):
        snapshots._commit(container, "key")
    assert (failed.tags, passed.tags) == ([], ["key"])
