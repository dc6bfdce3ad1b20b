"""Reading repositories that real git wrote."""

import hashlib
import os
import struct
import subprocess
import threading
import zlib
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped,unused-ignore]
import pytest
from dulwich.repo import Repo

from stepwell.errors import Conflict, Invalid, NotFound
from stepwell.repos import Bounds, Repositories, sizes
from stepwell.repos.sizes import object_size


def test_created_repository_is_one_for_git(repositories: Repositories, work: Any) -> None:
    path = repositories.path("repo1")
    assert "HEAD points to an unborn branch (main)" in work.run("--git-dir", str(path), "fsck", "--strict")
    assert repositories.reader("repo1").head() == "main"
    with pytest.raises(Conflict):
        repositories.create("repo1")
    assert not list(repositories.root.glob(".*"))


def test_deleted_repository_is_gone_at_once(repositories: Repositories) -> None:
    repositories.reader("repo1").branches()
    repositories.delete("repo1")
    repositories.delete("repo1")
    with pytest.raises(NotFound):
        repositories.reader("repo1")
    assert list(repositories.root.iterdir()) == []


def test_halves_left_by_a_crash_are_removed(repositories: Repositories) -> None:
    (repositories.root / ".new-1" / "refs").mkdir(parents=True)
    (repositories.root / ".gone-2").mkdir()
    repositories.remove_leftovers()
    assert [path.name for path in repositories.root.iterdir()] == ["repo1.git"]


def test_names_resolve_to_commits(repositories: Repositories, work: Any) -> None:
    first = work.commit("first")
    work.run("tag", "light")
    work.run("tag", "-a", "-m", "words", "heavy")
    work.run("push", "-q", "origin", "main", "main:refs/heads/feature/x", "--tags")
    reader = repositories.reader("repo1")
    for name in ("main", "refs/heads/main", "HEAD", "feature/x", "light", "heavy", "refs/tags/heavy", first):
        assert reader.resolve(name) == first
    for name in (
        "none",
        "feature",
        "../../config",
        "refs/heads/..",
        "",
        "f" * 40,
        work.run("rev-parse", "HEAD:file.txt"),
    ):
        assert reader.resolve(name) is None
    heavy = work.run("rev-parse", "heavy")
    for _ in ("in files of their own", "packed"):
        assert list(reader.branches().items()) == [("feature/x", first), ("main", first)]
        assert list(reader.tags().items()) == [("heavy", heavy), ("light", first)]
        work.run("--git-dir", str(reader.path), "pack-refs", "--all")
    assert heavy != first


def test_refs_are_seen_after_another_process_moves_or_packs_them(repositories: Repositories, work: Any) -> None:
    work.commit("first")
    work.run("push", "-q", "origin", "main")
    reader = repositories.reader("repo1")
    reader.branches()
    work.run("--git-dir", str(reader.path), "pack-refs", "--all")
    second = work.commit("second")
    work.run("push", "-q", "origin", "main", "main:other")
    work.run("--git-dir", str(reader.path), "pack-refs", "--all")
    work.run("--git-dir", str(reader.path), "repack", "-q", "-a", "-d")
    assert reader.branches() == {"main": second, "other": second}
    assert reader.commit(second).subject == "second"


def test_commit_tells_author_message_and_time(repositories: Repositories, work: Any) -> None:
    sha = work.commit("Grüße\n\nbody")
    env = {"GIT_AUTHOR_DATE": "1700000000 +0130", "GIT_AUTHOR_NAME": "Ann <B> C"}
    second = work.run("commit", "-q", "--allow-empty", "-m", "dated", env=env) or work.run("rev-parse", "HEAD")
    work.run("push", "-q", "origin", "main")
    reader = repositories.reader("repo1")
    assert reader.commit(sha).subject == "Grüße"
    dated = reader.commit(second)
    assert (dated.author.at, dated.author.email) == (1_700_000_000, "author@example.com")
    assert dated.parents == (sha,)
    assert [info.sha for info in reader.log(second)] == [second, sha]
    assert [info.sha for info in reader.log(second, skip=1, limit=1)] == [sha]
    assert reader.count(second) == 2


def test_pipeline_files_are_read_and_links_left_out(repositories: Repositories, work: Any) -> None:
    folder = work.folder / ".stepwell"
    (folder / "lib").mkdir(parents=True)
    (folder / "link.py").symlink_to("/etc/passwd")
    sha = work.commit(files={".stepwell/pipeline.py": "a = 'ä'", ".stepwell/lib/b.py": "", "other.py": ""})
    work.run("push", "-q", "origin", "main")
    reader = repositories.reader("repo1")
    assert reader.read_files(sha) == {"pipeline.py": "a = 'ä'", "lib/b.py": ""}
    assert reader.read_files(sha, "missing") == {}
    assert reader.tree_of(sha, ".stepwell") == work.run("rev-parse", "HEAD:.stepwell")
    assert reader.tree_of(sha) == work.run("rev-parse", "HEAD^{tree}")
    assert reader.tree_of(sha, "other.py") is None
    assert reader.blob(sha, ".stepwell/pipeline.py") == "a = 'ä'".encode()
    for path in ("missing", ".stepwell", ".stepwell/link.py", "other.py/x", "../x"):
        with pytest.raises(NotFound):
            reader.blob(sha, path)


def test_folder_that_is_a_link_counts_as_missing(repositories: Repositories, work: Any) -> None:
    (work.folder / ".stepwell").symlink_to("real")
    sha = work.commit(files={"real/pipeline.py": "x"})
    work.run("push", "-q", "origin", "main")
    assert repositories.reader("repo1").read_files(sha) == {}


def test_binary_and_oversized_files_are_named(repositories: Repositories, work: Any) -> None:
    (work.folder / ".stepwell").mkdir()
    (work.folder / ".stepwell" / "logo.png").write_bytes(b"\x89PNG")
    first = work.commit()
    (work.folder / ".stepwell" / "logo.png").write_bytes(b"x" * 1000)
    second = work.commit()
    work.run("push", "-q", "origin", "main")
    reader = repositories.reader("repo1")
    with pytest.raises(Invalid, match=r"'\.stepwell/logo\.png' is not UTF-8"):
        reader.read_files(first)
    with pytest.raises(Invalid, match=r"'\.stepwell/logo\.png' is too large"):
        reader.read_files(second, bounds=Bounds(file_bytes=999))
    with pytest.raises(Invalid, match="more than 0 files"):
        reader.read_files(second, bounds=Bounds(files=0))


def test_folder_lists_kinds_and_sizes(repositories: Repositories, work: Any) -> None:
    (work.folder / "run.sh").write_text("#!/bin/sh\n")
    (work.folder / "run.sh").chmod(0o755)
    (work.folder / "link").symlink_to("run.sh")
    sha = work.commit(files={"src/a.py": "12345"})
    work.run("update-index", "--add", "--cacheinfo", f"160000,{sha},module")
    work.run("commit", "-q", "-m", "module")
    sha = work.run("rev-parse", "HEAD")
    work.run("push", "-q", "origin", "main")
    reader = repositories.reader("repo1")
    listed = [(entry.path, entry.kind, entry.size) for entry in reader.list_folder(sha)]
    assert listed == [
        ("src", "folder", None),
        ("link", "link", 6),
        ("module", "submodule", None),
        ("run.sh", "executable", 10),
    ]
    assert [entry.path for entry in reader.list_folder(sha, "src")] == ["src/a.py"]


def test_name_that_is_no_utf8_can_be_shown_and_read(repositories: Repositories, work: Any) -> None:
    work.folder.mkdir(exist_ok=True)
    (work.folder / os.fsdecode(b"caf\xe9.txt")).write_text("latin")
    sha = work.commit()
    work.run("push", "-q", "origin", "main")
    reader = repositories.reader("repo1")
    assert [entry.name for entry in reader.list_folder(sha)] == ["caf\\xe9.txt", "file.txt"]
    assert reader.blob(sha, "caf\\xe9.txt") == b"latin"


def test_folder_that_was_read_is_read_again_within_its_bound(repositories: Repositories, work: Any) -> None:
    commit = work.commit("one", {"a": "x"})
    work.run("push", "-q", str(repositories.path("repo1")), "main")
    reader = repositories.reader("repo1")
    tree = reader.tree_of(commit)
    assert tree is not None
    raw = reader.raw_tree(tree, limit=1000)
    assert raw.startswith(b"100644 a\0") and reader.raw_tree(tree, limit=len(raw)) == raw
    with pytest.raises(Invalid):
        reader.raw_tree(tree, limit=len(raw) - 1)


def test_changed_paths_say_what_git_says(repositories: Repositories, work: Any) -> None:
    first = work.commit(files={"a": "1", "b/c": "1", "b/d/e": "1", "f": "1", "kept/x": "1"})
    (work.folder / "f").unlink()
    (work.folder / "b" / "c").unlink()
    second = work.commit(files={"a": "2", "f/now/a/folder": "1", "new": "1"})
    work.run("push", "-q", "origin", "main")
    reader = repositories.reader("repo1")
    expected = work.run("diff-tree", "-r", "--no-renames", "--name-only", first, second).split()
    assert reader.changed_paths(first, second).paths == tuple(sorted(expected))
    assert reader.changed_paths(None, first).paths == ("a", "b/c", "b/d/e", "f", "kept/x")
    bounded = reader.changed_paths(first, second, limit=2)
    assert (len(bounded.paths), bounded.complete) == (2, False)


def test_new_branch_starts_where_it_left_the_default_branch(repositories: Repositories, work: Any) -> None:
    base = work.commit("base")
    work.run("checkout", "-q", "-b", "topic")
    topic = work.commit("topic")
    work.run("checkout", "-q", "main")
    main = work.commit("main goes on")
    work.run("checkout", "-q", "--orphan", "alone")
    alone = work.commit("alone")
    reader = repositories.reader("repo1")
    work.run("push", "-q", "origin", "alone")
    assert reader.branch_start(alone) is None
    work.run("push", "-q", "origin", "main", "topic")
    assert reader.branch_start(topic) == base
    assert reader.branch_start(alone) is None
    assert reader.is_ancestor(base, topic)
    assert not reader.is_ancestor(main, topic)
    with pytest.raises(NotFound):
        reader.is_ancestor("f" * 40, topic)
    with pytest.raises(NotFound):
        reader.commit("HEAD")


@pytest.mark.parametrize("packed", [False, True])
def test_object_that_inflates_is_not_read(repositories: Repositories, work: Any, packed: bool) -> None:
    import tracemalloc

    sha = work.commit(files={"bomb": "\0" * 50_000_000})
    sha2 = work.commit(files={"bomb": "\0" * 50_000_001})
    work.run("push", "-q", "origin", "main")
    reader = repositories.reader("repo1")
    if packed:
        work.run("--git-dir", str(reader.path), "repack", "-q", "-a", "-d", "-f")
    reader.commit(sha)
    tracemalloc.start()
    for commit, size in ((sha, 50_000_000), (sha2, 50_000_001)):
        with pytest.raises(Invalid, match="too large"):
            reader.blob(commit, "bomb")
        assert [entry.size for entry in reader.list_folder(commit)] == [size]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 5_000_000


def test_sizes_of_deltas_are_those_git_tells(repositories: Repositories, work: Any) -> None:
    lines = [f"line {number} {zlib.crc32(str(number).encode())}\n" for number in range(3000)]
    shas = [work.commit(files={"text": "".join(lines[:end])}) for end in range(100, 3001, 100)]
    work.run("push", "-q", "origin", "main")
    reader = repositories.reader("repo1")
    work.run("--git-dir", str(reader.path), "repack", "-q", "-a", "-d", "-f", "--depth=50")
    for sha in shas:
        expected = int(work.run("cat-file", "-s", f"{sha}:text"))
        assert [entry.size for entry in reader.list_folder(sha)] == [expected]
        assert len(reader.blob(sha, "text")) == expected


def test_an_object_whose_base_inflates_is_not_read(
    repositories: Repositories, work: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A blob of 16 bytes, made of one of 64 MB, which a delta of a few bytes makes of one of 1 MB."""
    reader = repositories.reader("repo1")
    whole = _entry(3, b"\0" * (1 << 20))
    large = _entry(6, _sized(1 << 20) + _sized(64 << 20) + b"\xc0\x10" * 64, len(whole))
    small = _entry(6, _sized(64 << 20) + _sized(16) + b"\x90\x10", len(large))
    pack = struct.pack(">4sII", b"PACK", 2, 3) + whole + large + small
    pack += hashlib.sha1(pack, usedforsecurity=False).digest()
    subprocess.run(["git", "--git-dir", reader.path, "index-pack", "--stdin"], input=pack, check=True)
    store = Repo(str(reader.path), bare=True).object_store
    id_ = hashlib.sha1(b"blob 16\0" + bytes(16), usedforsecurity=False).hexdigest().encode()
    assert object_size(store, id_) == 16
    monkeypatch.setattr(sizes, "LARGEST_BASE", 32 << 20)
    with pytest.raises(Invalid, match="67,108,864 bytes is too large"):
        object_size(store, id_)
    monkeypatch.setattr(sizes, "LARGEST_BASE", 128 << 20)
    monkeypatch.setattr(sizes, "MOST_BASES", 64 << 20)
    with pytest.raises(Invalid, match="too large"):
        object_size(store, id_)


def _entry(kind: int, content: bytes, back: int | None = None) -> bytes:
    """An object of a pack, or a delta on the one that many bytes before it."""
    size, head = len(content), bytearray()
    byte, size = (kind << 4) | (size & 15), size >> 4
    while size:
        head.append(byte | 0x80)
        byte, size = size & 0x7F, size >> 7
    head.append(byte)
    if back is not None:
        distance = [back & 0x7F]
        while back := back >> 7:
            back -= 1
            distance.insert(0, 0x80 | (back & 0x7F))
        head += bytes(distance)
    return bytes(head) + zlib.compress(content)


def _sized(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append((number & 0x7F) | 0x80)
        number >>= 7
    return bytes([*out, number])


def test_threads_share_a_reader_while_git_repacks(repositories: Repositories, work: Any) -> None:
    shas = [work.commit(f"{number}", {"file": str(number)}) for number in range(10)]
    work.run("push", "-q", "origin", "main")
    errors: list[BaseException] = []
    done = threading.Event()

    def read() -> None:
        try:
            while not done.is_set():
                for number, sha in enumerate(shas):
                    assert repositories.reader("repo1").blob(sha, "file") == str(number).encode()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    for _ in range(5):
        work.run("--git-dir", str(repositories.path("repo1")), "repack", "-q", "-a", "-d", "-f")
    done.set()
    for thread in threads:
        thread.join()
    assert errors == []


def test_readers_beyond_the_bound_release_their_files(tmp_path: Path, client: Any) -> None:
    repositories = Repositories(tmp_path / "few", keep_open=2)
    sha = client.commit()
    for number in range(5):
        path = repositories.create(f"r{number}")
        client.run("push", "-q", str(path), "main")
        subprocess.run(["git", "-C", path, "repack", "-q", "-a", "-d"], check=True)
        repositories.reader(f"r{number}").commit(sha)
    open_files = [file.path for file in psutil.Process().open_files()]
    assert len({name.split("/objects/")[0] for name in open_files if str(repositories.root) in name}) <= 2
    assert repositories.reader("r0").commit(sha).sha == sha
    repositories.close()


def test_folders_without_end_are_given_up(repositories: Repositories, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten trees of ten each: ten thousand million folders in a push of a few hundred bytes."""
    monkeypatch.setattr("stepwell.repos.trees.MOST_FOLDERS", 1000)
    path = repositories.path("repo1")

    def git(*arguments: str, text: str = "") -> str:
        who = {f"GIT_{role}_{what}": "x@y" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
        command = ["git", "--git-dir", str(path), *arguments]
        done = subprocess.run(command, input=text, capture_output=True, text=True, check=True, env=os.environ | who)
        return done.stdout.strip()

    tree = git("mktree")
    for _ in range(10):
        tree = git("mktree", text="".join(f"040000 tree {tree}\t{name}\n" for name in "abcdefghij"))
    root = git("mktree", text=f"040000 tree {tree}\t.stepwell\n")
    commit = git("commit-tree", root, "-m", "bomb")
    reader = repositories.reader("repo1")
    assert reader.changed_paths(None, commit).complete is False
    with pytest.raises(Invalid, match="folders"):
        reader.read_files(commit)
