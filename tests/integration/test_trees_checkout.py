"""Trees checked out of real repositories, friendly and hostile."""

import contextlib
import os
import subprocess
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest

from stepwell.errors import Invalid, NotFound
from stepwell.repos.process import environment
from stepwell_runners.trees import Trees
from stepwell_runners.whole_trees import settle

WHO = {f"GIT_{role}_{what}": "t@example.org" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}


def git(path: Path, *arguments: str | Path, text: bytes = b"") -> str:
    env = {**environment(), **WHO, "GIT_CONFIG_COUNT": "0"}
    done = subprocess.run(["git", "--git-dir", path, *arguments], env=env, input=text, capture_output=True, check=True)
    return done.stdout.decode().strip()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    path = tmp_path / "repos" / "r1.git"
    subprocess.run(["git", "init", "-q", "--bare", path], check=True)
    return path


@pytest.fixture
def trees(tmp_path: Path) -> Trees:
    return Trees(tmp_path, sync=settle)


def commit(path: Path, entries: Sequence[tuple[str, str, bytes]]) -> str:
    """Write a commit with one flat tree, without git's own checks of names; its hash."""
    raw = b""
    for mode, name, content in entries:
        kind = "tree" if mode == "40000" else "blob"
        id_ = git(path, "hash-object", "-w", "--literally", "-t", kind, "--stdin", text=content)
        raw += f"{mode} {name}".encode() + b"\0" + bytes.fromhex(id_)
    tree = git(path, "hash-object", "-w", "--literally", "-t", "tree", "--stdin", text=raw)
    return git(path, "commit-tree", tree, "-m", "c")


def test_a_tree_is_made_once_and_shared_by_commits(repository: Path, trees: Trees) -> None:
    entries = [("100644", "a", b"text\n"), ("100755", "run", b"#!/bin/sh\n"), ("120000", "to", b"/etc/passwd")]
    first = commit(repository, entries)
    place = trees.resolve(f"r1:{first}")
    assert (place / "a").read_text() == "text\n" and os.access(place / "run", os.X_OK)
    assert str((place / "to").readlink()) == "/etc/passwd"
    made = place.stat().st_ctime_ns
    second = git(repository, "commit-tree", f"{first}^{{tree}}", "-m", "again")
    assert trees.resolve(f"r1:{second}") == place and place.stat().st_ctime_ns == made
    assert sorted(path.name for path in place.parent.iterdir()) == [
        place.name,
        f"{place.name}.index",
        f"{place.name}.used",
    ]


def test_threads_that_ask_together_get_one_tree(repository: Path, trees: Trees) -> None:
    reference = f"r1:{commit(repository, [('100644', f'f{number}', b'x') for number in range(50)])}"
    found: list[Path] = []
    threads = [threading.Thread(target=lambda: found.append(trees.resolve(reference))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4 and len(set(found)) == 1 and len(list(found[0].iterdir())) == 50


def test_line_ends_are_converted_as_the_repository_says(repository: Path, trees: Trees) -> None:
    made = commit(repository, [("100644", ".gitattributes", b"*.bat eol=crlf\n"), ("100644", "a.bat", b"x\n")])
    assert (trees.resolve(f"r1:{made}") / "a.bat").read_bytes() == b"x\r\n"


@pytest.mark.parametrize("name", [".git", ".GIT", "git~1", ".git ", "..", ".", ".g\u200cit", ".git::$INDEX_ALLOCATION"])
def test_hostile_names_are_refused_and_leave_nothing(repository: Path, trees: Trees, name: str) -> None:
    made = commit(repository, [("100644", name, b"x")])
    with pytest.raises(Invalid, match="cannot be checked out"):
        trees.resolve(f"r1:{made}")
    assert list((trees.folder / "r1").iterdir()) == []


def test_a_link_in_place_of_a_directory_leads_nowhere(repository: Path, trees: Trees, tmp_path: Path) -> None:
    """Two entries of one name, a link out and a directory with a file: git must not write through the link."""
    blob = git(repository, "hash-object", "-w", "--stdin", text=b"x")
    inner = b"100644 f\0" + bytes.fromhex(blob)
    outside = tmp_path / "outside"
    outside.mkdir()
    made = commit(repository, [("120000", "d", str(outside).encode()), ("40000", "d", inner)])
    with contextlib.suppress(Invalid):
        trees.resolve(f"r1:{made}")
    assert list(outside.iterdir()) == []


@pytest.mark.parametrize("reference", ["r1", "r1:HEAD", "../r1:" + "0" * 40, "r1:" + "0" * 39, "a/b:" + "0" * 40])
def test_references_that_name_no_commit_are_refused(trees: Trees, reference: str) -> None:
    with pytest.raises(Invalid):
        trees.resolve(reference)


def test_a_missing_repository_or_commit_is_said(repository: Path, trees: Trees) -> None:
    with pytest.raises(NotFound):
        trees.resolve("r2:" + "0" * 40)
    with pytest.raises(NotFound):
        trees.resolve("r1:" + "0" * 40)


def test_a_tree_from_before_a_power_cut_is_made_again(repository: Path, tmp_path: Path) -> None:
    reference = f"r1:{commit(repository, [('100644', 'a', b'text')])}"
    place = Trees(tmp_path, sync=lambda marker: None).resolve(reference)
    (place / "a").write_bytes(b"\0\0\0\0")  # what unsynced data looks like afterwards
    marker = place.with_name(f"{place.name}.unsynced")
    assert (Trees(tmp_path, sync=settle).resolve(reference) / "a").read_bytes() == b"\0\0\0\0"  # same boot: trusted
    marker.write_text("another boot")
    assert (Trees(tmp_path, sync=settle).resolve(reference) / "a").read_bytes() == b"text"
    assert not marker.exists()


def test_a_tree_that_reaches_the_disk_while_it_is_looked_at_is_whole(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reference = f"r1:{commit(repository, [('100644', 'a', b'text')])}"
    trees = Trees(tmp_path, sync=lambda marker: None)
    place = trees.resolve(reference)
    read = Path.read_text

    def settled_meanwhile(path: Path, *args: str) -> str:
        if path.name.endswith(".unsynced"):
            settle(path)
        return read(path, *args)

    monkeypatch.setattr(Path, "read_text", settled_meanwhile)
    assert trees.index_made(place) == place.with_name(f"{place.name}.index")


def test_recover_removes_checkouts_cut_short(trees: Trees) -> None:
    (trees.folder / "r1" / ".new-1").mkdir(parents=True)
    trees.recover()
    assert list((trees.folder / "r1").iterdir()) == []


def test_trees_beyond_the_limit_go_the_longest_unused_first(repository: Path, tmp_path: Path) -> None:
    references = [
        f"r1:{commit(repository, [('100644', 'a', bytes(1 << 20) + name)])}" for name in (b"1", b"2", b"3", b"4")
    ]
    first = Trees(tmp_path, sync=settle)
    places = [first.resolve(reference) for reference in references]
    for age, place in enumerate(places):
        os.utime(place.with_name(f"{place.name}.used"), (1_700_000_000 - age,) * 2)  # the later, the longer unused
    room = Trees(tmp_path, sync=settle, limit=5 << 19)
    room.resolve(references[2])  # used again
    room.recover(kept=[places[3]])
    assert [place.exists() for place in places] == [False, False, True, True]
    assert len(list((room.folder / "r1").iterdir())) == 6
    again = Trees(tmp_path, sync=settle).resolve(references[0])
    assert again == places[0] and (again / "a").stat().st_size == (1 << 20) + 1


def test_a_tree_without_end_is_refused_before_the_disk_is_full(repository: Path, trees: Trees) -> None:
    tree = git(repository, "mktree", text=b"")
    for _ in range(10):
        text = "".join(f"040000 tree {tree}\t{name}\n" for name in "abcdefghij")
        tree = git(repository, "mktree", text=text.encode())
    bomb = git(repository, "commit-tree", tree, "-m", "bomb")
    with pytest.raises(Invalid, match="more than 1,000,000"):
        trees.resolve(f"r1:{bomb}")
    assert not [path for path in (trees.folder / "r1").iterdir() if not path.name.startswith(".")]


def test_the_trees_of_a_deleted_repository_go_when_nobody_holds_them(repository: Path, trees: Trees) -> None:
    first, second = (commit(repository, [("100644", name, b"text\n"), ("100644", "same", b"")]) for name in "ab")
    assert trees.forget("r1")  # none was asked for
    with trees.held(f"r1:{first}") as place, trees.held(f"r1:{second}") as other:
        assert not trees.forget("r1")
        assert (place / "a").exists() and other.parent == place.parent
    trees.settled()
    assert trees.forget("r1")
    assert not place.parent.exists() and trees.empty.exists()
    with trees.held(f"r1:{first}") as place:  # made again if it is asked for
        assert (place / "a").exists()
