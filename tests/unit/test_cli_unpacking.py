"""Unpacking what a server sends: nothing of it reaches outside the copy."""

import io
import tarfile
from pathlib import Path

import pytest

from stepwell.cli.unpacking import unpack
from stepwell.errors import Conflict


def packed(*members: tuple[str, str | None]) -> list[bytes]:
    """A tar file of links (name, target) and files (name, None), in pieces."""
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w") as archive:
        for name, target in members:
            about = tarfile.TarInfo(name)
            if target is not None:
                about.type, about.linkname = tarfile.SYMTYPE, target
            archive.addfile(about)
    data = sink.getvalue()
    return [data[start : start + 700] for start in range(0, len(data), 700)]


def test_a_link_to_a_program_is_made_last_and_nothing_through_it(tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    pieces = packed(("tool", "/bin/sh"), ("tool/planted", None), ("late", "/bin/sh"), ("late", None))
    assert unpack(iter(pieces), copy) == ["tool", "late"]
    assert (copy / "tool" / "planted").is_file() and (copy / "late").is_file() and not (copy / "late").is_symlink()


@pytest.mark.parametrize("target", ["/etc/passwd", "/usr", "/usr/bin/../../etc/passwd", "/bin/none", "/", "../x"])
def test_links_that_lead_elsewhere_are_left_out(tmp_path: Path, target: str) -> None:
    assert unpack(iter(packed(("link", target), ("file", None))), tmp_path / "copy") == ["link"]
    assert [path.name for path in (tmp_path / "copy").iterdir()] == ["file"]


@pytest.mark.parametrize("name", ["../out", "a/../../out"])
def test_links_outside_the_copy_are_not_made(tmp_path: Path, name: str) -> None:
    assert unpack(iter(packed((name, "/bin/sh"), (name, None))), tmp_path / "copy") == [name, name]
    assert [path.name for path in tmp_path.iterdir()] == ["copy"]


@pytest.mark.parametrize(("name", "made"), [("link", "a/b"), ("a/link", "b"), ("c/d/link", "../../a/b")])
def test_links_into_the_workspace_lead_into_the_copy(tmp_path: Path, name: str, made: str) -> None:
    assert unpack(iter(packed((name, "/workspace/a/b"))), tmp_path / "copy") == []
    assert (tmp_path / "copy" / name).readlink() == Path(made)


def test_a_directory_that_exists_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Conflict, match="exists already"):
        unpack(iter(packed()), tmp_path)
