"""What the command line calls git for happens where it is meant, also inside a hook of another repository."""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from stepwell.cli.git_client import GitClient
from stepwell.cli.worktree import WorkTree

Snapshot = Callable[[], dict[str, bytes]]


def git(folder: Path, *arguments: str) -> str:
    """Call git as the test's own author, without what a hook would tell it."""
    told = {"PATH": os.environ["PATH"], "HOME": str(folder), "GIT_CONFIG_NOSYSTEM": "1"}
    who = ["-c", "user.name=a", "-c", "user.email=a@example.com"]
    done = subprocess.run(["git", *who, *arguments], cwd=folder, env=told, check=True, capture_output=True, text=True)
    return done.stdout.strip()


@pytest.fixture(params=["hook", "all"])
def bystander(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Snapshot:
    """Stand in a hook of a repository that must stay as it is; what it is, by file."""
    place = tmp_path / "bystander"
    place.mkdir()
    git(place, "init", "-q", "-b", "main")
    (place / "file").write_text("theirs\n")
    git(place, "add", ".")
    git(place, "commit", "-q", "-m", "theirs")
    own = place / ".git"
    told = {"GIT_DIR": own, "GIT_INDEX_FILE": own / "index", "GIT_PREFIX": ""}
    if request.param == "all":
        told |= {"GIT_WORK_TREE": place, "GIT_OBJECT_DIRECTORY": own / "objects"}
    for name, value in told.items():
        monkeypatch.setenv(name, str(value))
    return lambda: {str(path): path.read_bytes() for path in place.rglob("*") if path.is_file()}


def test_commits_of_the_client_stay_out_of_the_repository_of_a_hook(tmp_path: Path, bystander: Snapshot) -> None:
    before, folder = bystander(), tmp_path / "measured"
    folder.mkdir()
    (folder / "file").write_text("ours\n")
    client = GitClient("http://127.0.0.1:1", "sw_x")
    client.run(folder, "init", "--quiet")
    client.run(folder, "add", ".")
    client.run(folder, "commit", "--quiet", "-m", "ours")
    assert bystander() == before
    assert git(folder, "log", "--format=%s") == "ours"


def test_a_working_tree_is_the_one_it_is_opened_for(tmp_path: Path, bystander: Snapshot) -> None:
    before, folder, bare = bystander(), tmp_path / "new", tmp_path / "bare.git"
    git(tmp_path, "init", "-q", "--bare", str(bare))
    folder.mkdir()
    tree = WorkTree.create(folder)
    (folder / "file").write_text("ours\n")
    tree.configure({"stepwell.test": "yes"})
    tree.add_remote("origin", "http://127.0.0.1:1/acme/api.git")
    commit = tree.push_as_it_is(bare, "main")
    assert bystander() == before
    assert git(folder, "config", "stepwell.test") == "yes"
    assert git(bare, "show", f"{commit}:file") == "ours"
    assert tree.dirty and tree.head is None
