"""Maintenance of repositories: which need it, what it leaves, and who works beside it."""

import os
import shutil
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from stepwell.errors import Invalid
from stepwell.repos import Repositories, sizes
from stepwell.repos.copies import objects_of
from stepwell.repos.forks import create_common, create_fork
from stepwell.repos.maintenance import LOOSE_REFS, Left, maintain, needs_maintenance


def git(repository: Path, *arguments: str) -> str:
    done = subprocess.run(["git", "-C", repository, *arguments], capture_output=True, check=True)
    return done.stdout.decode().strip()


def packs(origin: Path) -> list[Path]:
    return sorted((origin / "objects/pack").glob("*.pack"))


def loose(origin: Path) -> int:
    return int(git(origin, "count-objects").split()[0])


def push_many(work: Any, origin: Path, times: int) -> list[str]:
    """Push so often, each push kept as a pack."""
    git(origin, "config", "receive.unpackLimit", "1")
    commits = []
    for number in range(times):
        commits.append(work.commit(files={"text": f"{number}\n" * 50, f"in/{number}": f"{number}"}))
        work.run("push", "-q", "origin", "main")
    return commits


def test_many_loose_objects_need_it_and_few_do_not(repositories: Repositories) -> None:
    origin = repositories.path("repo1")
    assert not needs_maintenance(origin)
    folder = origin / "objects/17"
    folder.mkdir()
    (folder / "tmp_obj_half").touch()
    for number in range(8):
        (folder / f"{number:038x}").touch()
    assert not needs_maintenance(origin)
    (folder / f"{8:038x}").touch()
    assert needs_maintenance(origin)


def test_many_packs_need_it_but_those_that_are_kept_do_not_count(repositories: Repositories) -> None:
    origin = repositories.path("repo1")
    for number in range(21):
        (origin / f"objects/pack/pack-{number}.pack").touch()
    (origin / "objects/pack/pack-0.keep").touch()
    assert not needs_maintenance(origin)
    (origin / "objects/pack/pack-0.keep").unlink()
    assert needs_maintenance(origin)


def test_many_refs_in_files_of_their_own_need_it_and_are_packed(repositories: Repositories, work: Any) -> None:
    origin, commit = repositories.path("repo1"), work.commit("one")
    work.run("push", "-q", "origin", "main")
    folder = origin / "refs/tags/many"
    folder.mkdir()
    for number in range(LOOSE_REFS - 1):  # main is one more
        (folder / f"v{number}").write_text(f"{commit}\n")
    assert not needs_maintenance(origin)
    (folder / "last").write_text(f"{commit}\n")
    assert needs_maintenance(origin)
    maintain(origin)
    assert not needs_maintenance(origin) and not (folder / "last").exists()
    assert len(repositories.reader("repo1").tags()) == LOOSE_REFS


def test_many_pushes_end_in_one_pack_and_a_clone_has_all(
    repositories: Repositories, work: Any, make_client: Any
) -> None:
    origin = repositories.path("repo1")
    commits = push_many(work, origin, 21)
    git(origin, "config", "receive.unpackLimit", "100")
    commits.append(work.commit("loose"))
    work.run("push", "-q", "origin", "main", "main:refs/heads/deep/er")
    reader = repositories.reader("repo1")
    assert [reader.blob(commit, "text") for commit in commits[:2]] == [b"0\n" * 50, b"1\n" * 50]
    assert len(packs(origin)) == 21 and loose(origin) and needs_maintenance(origin)
    maintain(origin)
    assert len(packs(origin)) == 1 and not loose(origin) and not needs_maintenance(origin)
    clone = make_client("clone")
    clone.run("clone", "-q", str(origin), ".")
    assert clone.run("rev-list", "--all").split() == work.run("rev-list", "--all").split() == commits[::-1]
    clone.run("fsck", "--strict")
    assert [reader.blob(commit, "text") for commit in commits[2:21]] == [b"%d\n" % n * 50 for n in range(2, 21)]
    assert reader.branches() == {"deep/er": commits[-1], "main": commits[-1]}


def test_what_is_large_is_not_written_again_for_what_is_small(
    repositories: Repositories, work: Any, make_client: Any
) -> None:
    origin = repositories.path("repo1")
    large = work.commit(files={f"many/{number}": f"{number}" for number in range(600)})
    work.run("push", "-q", "origin", "main")
    maintain(origin)
    (pack,) = packs(origin)
    before = pack.stat()
    for _ in range(2):
        push_many(work, origin, 21)
        assert needs_maintenance(origin)
        maintain(origin)
        assert not needs_maintenance(origin) and len(packs(origin)) < 4
    assert (pack.stat().st_ino, pack.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    clone = make_client("clone")
    clone.run("clone", "-q", str(origin), ".")
    assert clone.run("rev-list", "--all").split() == work.run("rev-list", "--all").split()
    git(origin, "rev-list", "--test-bitmap", "main")
    assert repositories.reader("repo1").blob(large, "many/7") == b"7"


@pytest.mark.parametrize("before", ["nothing", "cruft"])
def test_what_no_ref_leads_to_stays_and_may_come_back(repositories: Repositories, work: Any, before: str) -> None:
    """`cruft`: maintenance as it was before, which has packed such objects apart."""
    origin = repositories.path("repo1")
    gone = push_many(work, origin, 3)[-1]
    work.run("reset", "-q", "--hard", "HEAD~2")
    work.commit("instead")
    work.run("push", "-q", "--force", "origin", "main")
    if before == "cruft":
        git(origin, "repack", "-q", "-d", "--write-bitmap-index", "--cruft")
    maintain(origin)
    assert git(origin, "cat-file", "-t", gone) == "commit"
    work.run("push", "-q", "origin", f"{gone}:refs/heads/again")
    push_many(work, origin, 3)
    maintain(origin)
    git(origin, "fsck", "--strict", "--connectivity-only")
    git(origin, "rev-list", "--test-bitmap", "again")


def test_a_copy_that_was_made_beside_it_is_whole(repositories: Repositories, work: Any, tmp_path: Path) -> None:
    """The index over all packs would name packs that went while the copy was made."""
    origin = repositories.path("repo1")
    commits, copy = push_many(work, origin, 3), tmp_path / "copy.git"
    maintain(origin)
    files = objects_of(origin)
    copied = [next(files)]
    commits += push_many(work, origin, 3)
    maintain(origin)
    git(tmp_path, "init", "-q", "--bare", str(copy))
    for file in (*copied, *files):
        if file.exists():
            place = copy / file.relative_to(origin)
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, place)
    git(copy, "update-ref", "refs/heads/main", commits[-1])
    git(copy, "fsck", "--strict")
    assert git(copy, "rev-list", "main").split() == commits[::-1]


def test_a_fork_pushes_and_a_reader_reads_beside_it(repositories: Repositories, work: Any, tmp_path: Path) -> None:
    """Each round of maintenance takes away the packs and files that both have just used."""
    origin = repositories.path("repo1")
    commits = push_many(work, origin, 5)
    create_fork(origin, tmp_path / "fork.git", commits[-1], "main")
    fork = tmp_path / "whole.git"
    create_common(fork, "[core]\n\trepositoryformatversion = 0\n\tbare = true\n", f"{origin}/objects")
    shutil.copytree(tmp_path / "fork.git", fork, dirs_exist_ok=True)
    reader, failed, over = repositories.reader("repo1"), [], threading.Event()

    def read() -> None:
        try:
            while not over.is_set():
                for number, commit in enumerate(commits):
                    assert reader.blob(commit, f"in/{number}") == b"%d" % number
                    assert reader.resolve("main")
        except BaseException as error:
            failed.append(error)

    reading = threading.Thread(target=read)
    reading.start()
    try:
        for number in range(4):
            maintaining = threading.Thread(target=maintain, args=[origin])
            work.commit(f"to both {number}")
            work.run("push", "-q", "origin", "main")
            maintaining.start()
            last = work.commit(f"to the fork {number}")
            work.run("push", "-q", str(fork), "main")
            work.run("push", "-q", "origin", "main:beside")
            maintaining.join(60)
            assert git(origin, "rev-parse", "beside") == git(fork, "rev-parse", "main") == last
    finally:
        over.set()
        reading.join(60)
    assert not failed
    git(fork, "fsck", "--strict")
    git(origin, "fsck", "--strict")


def test_an_object_that_is_packed_between_two_looks_is_found(
    repositories: Repositories, work: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    origin, reader = repositories.path("repo1"), repositories.reader("repo1")
    packed: list[bytes] = []
    commit = work.commit("only change")
    work.run("push", "-q", "origin", "main")
    assert loose(origin)
    real = sizes._loose_size

    def late(folder: Path, sha: bytes) -> int | None:
        if not packed:
            packed.append(sha)
            maintain(origin)
        return real(folder, sha)

    monkeypatch.setattr(sizes, "_loose_size", late)
    assert reader.commit(commit).subject == "only change" and packed == [commit.encode()]


def test_a_lock_that_a_crash_left_does_not_keep_it_from_packing(repositories: Repositories, work: Any) -> None:
    origin = repositories.path("repo1")
    push_many(work, origin, 3)
    lock = origin / "objects/pack/multi-pack-index.lock"
    lock.touch()
    with pytest.raises(Invalid, match=r"multi-pack-index\.lock"):
        maintain(origin)
    long_ago = time.time() - 2 * 86_400
    os.utime(lock, (long_ago, long_ago))
    maintain(origin)
    assert not lock.exists() and len(packs(origin)) == 1


def test_it_ends_when_it_is_not_wanted_and_leaves_no_lock(repositories: Repositories, work: Any) -> None:
    origin = repositories.path("repo1")
    push_many(work, origin, 3)
    asked: list[bool] = []

    def is_wanted() -> bool:
        asked.append(True)
        return len(asked) < 2

    with pytest.raises(Left):
        maintain(origin, is_wanted=is_wanted)
    assert len(packs(origin)) == 3 and not list(origin.rglob("*.lock"))
    work.commit("after")
    work.run("push", "-q", "origin", "main")
    maintain(origin)
    assert len(packs(origin)) == 1
