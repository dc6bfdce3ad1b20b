"""Forks and pins against what people and maintenance do to the origin."""

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from stepwell.errors import TryLater
from stepwell.repos import Repositories
from stepwell.repos import refs as refs_module
from stepwell.repos.forks import create_common, create_fork, remove_fork
from stepwell.repos.maintenance import maintain
from stepwell.repos.pins import pin, pinned, unpin


@pytest.fixture
def origin(tmp_path: Path) -> Path:
    return Repositories(tmp_path / "state").create("repo1")


def repository_of(fork: Path, origin: Path) -> Path:
    """A fork over what all have alike, as in a workspace."""
    place = fork.with_name(f"{fork.name}.whole")
    create_common(place, "[core]\n\trepositoryformatversion = 0\n\tbare = true\n", f"{origin}/objects")
    shutil.copytree(fork, place, dirs_exist_ok=True)
    return place


def git(repository: Path, *arguments: str) -> str:
    done = subprocess.run(["git", "-C", repository, *arguments], capture_output=True, check=True)
    return done.stdout.decode().strip()


def test_fork_has_all_refs_and_is_whole(origin: Path, client: Any, tmp_path: Path) -> None:
    first = client.commit("first")
    client.run("push", "-q", str(origin), "main", "main:feature/x")
    git(origin, "pack-refs", "--all")
    client.run("tag", "-a", "-m", "words", "v1")
    second = client.commit("second")
    client.run("push", "-q", str(origin), "main:later", "v1")
    create_fork(origin, tmp_path / "fork.git", first, "main")
    fork = repository_of(tmp_path / "fork.git", origin)
    listed = git(fork, "for-each-ref", "--format=%(refname:short) %(*objectname)%(objectname)").split("\n")
    assert [line.split()[0] for line in listed] == ["feature/x", "later", "main", "v1"]
    assert git(fork, "rev-parse", "v1^{commit}", "feature/x") == f"{first}\n{first}"
    assert git(fork, "rev-parse", "HEAD", "later") == f"{first}\n{second}"
    git(fork, "fsck", "--strict")


def test_fork_stands_at_its_commit_even_if_the_branch_moved_on(origin: Path, client: Any, tmp_path: Path) -> None:
    first = client.commit("first")
    client.commit("second")
    client.run("push", "-q", str(origin), "main")
    for packed, branch in enumerate(("main", "main/deeper", None) * 2):
        if packed == 3:
            git(origin, "pack-refs", "--all")
        create_fork(origin, tmp_path / f"{packed}.git", first, branch)
        fork = repository_of(tmp_path / f"{packed}.git", origin)
        assert git(fork, "rev-parse", "HEAD", branch or "HEAD") == f"{first}\n{first}"
        assert git(fork, "for-each-ref", "--format=%(refname:short)") == (branch or "main")


def test_what_a_fork_does_never_reaches_the_origin(origin: Path, client: Any, tmp_path: Path) -> None:
    first = client.commit("first")
    client.run("push", "-q", str(origin), "main")
    git(origin, "pack-refs", "--all")
    before = sorted((path, path.stat().st_mtime_ns) for path in origin.rglob("*"))
    create_fork(origin, tmp_path / "fork.git", first, "main")
    fork = repository_of(tmp_path / "fork.git", origin)
    client.commit("second")
    client.run("push", "-q", str(fork), "main", "main:other")
    git(fork, "pack-refs", "--all")
    git(fork, "update-ref", "-d", "refs/heads/other")
    assert git(origin, "rev-parse", "main") == first
    assert sorted((path, path.stat().st_mtime_ns) for path in origin.rglob("*")) == before
    with pytest.raises(FileExistsError):
        create_fork(origin, fork, first)
    remove_fork(fork)
    remove_fork(fork)
    assert not fork.exists()


@pytest.mark.parametrize("collect", ["gc", "maintain"])
def test_pinned_fork_survives_a_force_push_and_collection(
    origin: Path, client: Any, tmp_path: Path, collect: str
) -> None:
    client.commit("first")
    lost = client.commit("second", {"file": "only here"})
    client.run("push", "-q", str(origin), "main")
    pin(origin, lost)
    create_fork(origin, tmp_path / "fork.git", lost, "main")
    fork = repository_of(tmp_path / "fork.git", origin)
    client.run("reset", "-q", "--hard", "HEAD~1")
    client.run("push", "-qf", str(origin), "main")
    if collect == "gc":
        git(origin, "-c", "gc.reflogExpire=now", "gc", "-q", "--prune=now")
    else:
        maintain(origin)
    git(fork, "fsck", "--strict")
    assert git(fork, "show", "main:file") == "only here"
    unpin(origin, [lost])
    assert pinned(origin) == set()


def test_maintenance_never_drops_what_is_unreachable(origin: Path, client: Any) -> None:
    client.commit("first")
    lost = client.commit("second")
    client.run("push", "-q", str(origin), "main")
    client.run("push", "-qf", str(origin), "main~1:main")
    maintain(origin)
    maintain(origin)
    assert git(origin, "cat-file", "-t", lost) == "commit"
    assert not list((origin / "refs").rglob("main"))


def test_pins_are_packed_once_and_leave_other_refs_alone(origin: Path, client: Any) -> None:
    first = client.commit("first")
    client.run("tag", "-a", "-m", "words", "v1")
    second = client.commit("second")
    client.run("push", "-q", str(origin), "main", "v1")
    git(origin, "pack-refs", "--all")
    before = git(origin, "show-ref", "-d")
    for commit in (first, second, first):
        pin(origin, commit)
    assert pinned(origin) == {first, second}
    assert not (origin / "refs" / "runs").exists()
    assert git(origin, "rev-parse", f"refs/runs/{first}") == first
    unpin(origin, [first, second, "f" * 40])
    assert git(origin, "show-ref", "-d") == before


def test_pin_waits_for_gits_lock(origin: Path, client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    commit = client.commit()
    client.run("push", "-q", str(origin), "main")
    (origin / "packed-refs.lock").touch()
    monkeypatch.setattr(refs_module, "_WAIT_S", 0.0)
    with pytest.raises(TryLater):
        pin(origin, commit)
    (origin / "packed-refs.lock").unlink()
    pin(origin, commit)
    assert pinned(origin) == {commit}
