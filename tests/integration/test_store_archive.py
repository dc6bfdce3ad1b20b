"""The file that a backup is: comes back as it was, or is refused; and writes nothing beside its target."""

import gzip
import io
import json
import os
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stepwell.errors import Conflict, Invalid, Unavailable
from stepwell.store.archive import END, FORMAT, HEAD, extract, written


def nothing(*_: Any) -> None: ...


def make(path: Path, tree: Path) -> Path:
    with written(path, {"stepwell": "1"}) as archive:
        for one in sorted(tree.rglob("*")):
            archive.add(one.relative_to(tree).as_posix(), one)
    return path


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "tree"
    (root / "logs" / "empty").mkdir(parents=True)
    (root / "logs" / "a.log").write_bytes(os.urandom(300_000))
    (root / "logs" / "tool").write_text("#!/bin/sh\n")
    (root / "logs" / "tool").chmod(0o755)
    (root / "logs" / "link").symlink_to("../nowhere")
    (root / "closed").mkdir()
    (root / "closed" / "file").write_text("x")
    (root / "closed").chmod(0o555)
    (root / os.fsdecode(b"not utf-8 \xff")).write_text("y")
    os.mkfifo(root / "pipe")
    return root


def listing(root: Path) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for path in root.rglob("*"):
        if path.is_symlink():
            found[str(path.relative_to(root))] = str(path.readlink())
        elif path.is_file():
            found[str(path.relative_to(root))] = (path.read_bytes(), path.stat().st_mode)
        elif path.is_dir():
            found[str(path.relative_to(root))] = path.stat().st_mode
    return found


def test_what_was_written_comes_back_with_modes_and_links(tree: Path, tmp_path: Path) -> None:
    archive = make(tmp_path / "b", tree)
    assert archive.stat().st_mode & 0o777 == 0o600, "there are secrets in it"
    target = tmp_path / "target"
    target.mkdir()
    told = extract(archive, target, nothing, nothing)
    assert listing(target) == listing(tree)
    assert (told.head["format"], told.head["stepwell"]) == (FORMAT, "1")


def test_a_torn_or_changed_file_is_refused(tree: Path, tmp_path: Path) -> None:
    whole = make(tmp_path / "b", tree).read_bytes()
    torn = [whole[: len(whole) * part // 20] for part in range(20)] + [whole[:-1], whole[:-9]]
    changed = [whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :] for at in (len(whole) // 2, len(whole) - 6)]
    for number, content in enumerate([*torn, *changed]):
        bad, target = tmp_path / f"bad{number}", tmp_path / f"target{number}"
        bad.write_bytes(content)
        target.mkdir()
        with pytest.raises(Invalid, match="torn"):
            extract(bad, target, nothing, nothing)


def test_a_backup_appears_whole_or_not_at_all(tree: Path, tmp_path: Path) -> None:
    target = tmp_path / "b"
    with pytest.raises(RuntimeError), written(target, {}) as archive:
        archive.add("logs", tree / "logs")
        raise RuntimeError
    assert sorted(path.name for path in tmp_path.iterdir()) == ["tree"]
    make(target, tree)
    with pytest.raises(Conflict, match="already"), written(target, {}):
        pass
    with pytest.raises(Unavailable, match="cannot be written"), written(tmp_path / "none" / "b", {}):
        pass


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info


HOSTILE: list[list[tarfile.TarInfo]] = [
    [member("../outside")],
    [member("/tmp/outside")],
    [member("logs/../../outside")],
    [member("logs", tarfile.SYMTYPE, ".."), member("logs/outside")],
    [member("logs", tarfile.SYMTYPE, "/tmp"), member("logs/deep/outside")],
    [member("device", tarfile.CHRTYPE)],
    [member("pipe", tarfile.FIFOTYPE)],
    [member("hard", tarfile.LNKTYPE, "/etc/passwd")],
]


@pytest.mark.parametrize("members", HOSTILE, ids=lambda members: members[-1].name)
def test_nothing_is_written_outside_of_the_target(members: list[tarfile.TarInfo], tmp_path: Path) -> None:
    archive, target = tmp_path / "b", tmp_path / "in" / "target"
    target.mkdir(parents=True)
    with gzip.open(archive, "wb") as packed, tarfile.open(fileobj=packed, mode="w|") as tar:
        for info, content in (
            (member(HEAD), json.dumps({"format": FORMAT}).encode()),
            *((info, b"") for info in members),
            (member(END), json.dumps({"members": len(members) + 1}).encode()),
        ):
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    with pytest.raises(Invalid, match="has no place in a backup"):
        extract(archive, target, nothing, nothing)
    assert sorted(path.name for path in (tmp_path / "in").iterdir()) == ["target"]


def test_other_files_and_other_formats_are_told_apart(tmp_path: Path) -> None:
    def refused(content: bytes, words: str) -> None:
        path = tmp_path / "x"
        path.write_bytes(content)
        with pytest.raises(Invalid, match=words):
            extract(path, tmp_path, nothing, nothing)

    def tar(name: str, content: bytes) -> bytes:
        out = io.BytesIO()
        with gzip.open(out, "wb") as packed, tarfile.open(fileobj=packed, mode="w|") as one:
            info = member(name)
            info.size = len(content)
            one.addfile(info, io.BytesIO(content))
        return out.getvalue()

    refused(b"SQLite format 3\0", "torn or none at all")
    refused(tar("README.md", b"hello"), "no backup of Stepwell")
    refused(tar(HEAD, b'{"format": 99}'), "format 99, this Stepwell reads 1")
    refused(tar(HEAD, b"{"), "cannot be read")
    with pytest.raises(Invalid, match="There is no file"):
        extract(tmp_path / "none", tmp_path, nothing, nothing)


def test_the_head_may_be_refused_before_anything_is_written(tree: Path, tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.mkdir()

    def check(head: dict[str, Any]) -> None:
        raise Invalid(f"not {head['stepwell']}")

    refusing: Callable[[dict[str, Any]], None] = check
    with pytest.raises(Invalid, match="not 1"):
        extract(make(tmp_path / "b", tree), target, refusing, nothing)
    assert list(target.iterdir()) == []
