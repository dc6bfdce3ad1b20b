"""The last commit of each entry of a folder, in real histories."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from stepwell.repos import latest
from stepwell.repos.latest import Latest, walk


class History:
    """A repository that grows commit by commit, a minute apart."""

    def __init__(self, path: Path) -> None:
        self.path, self._minutes = path, 0
        path.mkdir()
        self.git("init", "-q", "-b", "main")

    def git(self, *arguments: str) -> str:
        at = f"{1_700_000_000 + 60 * self._minutes} +0000"
        person = {f"GIT_{who}_{what}": "x" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
        env = {**os.environ, **person, "GIT_AUTHOR_DATE": at, "GIT_COMMITTER_DATE": at}
        told = subprocess.run(["git", *arguments], cwd=self.path, env=env, check=True, capture_output=True)
        return told.stdout.decode().strip()

    def commit(self, message: str, *paths: str) -> str:
        self._minutes += 1
        for path in paths:
            (self.path / path).parent.mkdir(parents=True, exist_ok=True)
            (self.path / path).write_text(message)
        self.git("add", "-A")
        self.git("commit", "-q", "--allow-empty", "-m", message)
        return self.git("rev-parse", "HEAD")

    def of(self, folder: str = "", commit: str = "") -> dict[str, str]:
        found = walk(self.path / ".git", commit or self.git("rev-parse", "HEAD"), folder)
        assert found.known
        return {name: one.subject for name, one in found.of.items()}


@pytest.fixture
def history(tmp_path: Path) -> History:
    return History(tmp_path / "repo")


@pytest.fixture
def known() -> Iterator[Latest]:
    known = Latest()
    yield known
    known.close()


def test_each_entry_has_the_commit_that_changed_it_or_something_below_it_last(history: History) -> None:
    first = history.commit("one", "src/a/deep.py", "src/b.py", "read me", "na\u00efve")
    history.commit("two", "src/a/deep.py")
    history.commit("three", "[x]/y", "src/c.py")
    assert history.of() == {"src": "three", "[x]": "three", "read me": "one", "na\u00efve": "one"}
    assert history.of("src") == {"a": "two", "b.py": "one", "c.py": "three"}
    assert history.of("src/a") == {"deep.py": "two"} and history.of("[x]") == {"y": "three"}
    assert history.of("src", first) == {"a": "one", "b.py": "one"}


def test_what_a_merge_brings_came_from_the_commits_that_it_merges(history: History) -> None:
    history.commit("one", "a", "b")
    history.git("checkout", "-q", "-b", "side")
    history.commit("side", "b")
    history.git("checkout", "-q", "main")
    history.commit("two", "a")
    history.git("merge", "-q", "--no-ff", "-m", "Merge", "side")
    assert history.of() == {"a": "two", "b": "side"}


def test_names_and_messages_of_others_confuse_nothing(history: History) -> None:
    history.commit("\x01 \x01 \x01 x" + "y" * 5000, "\n", "\x01a", "-- b")
    found = history.of()
    assert set(found) == {"\n", "\x01a", "-- b"}
    assert len(found["-- b"]) <= 200


def test_a_walk_ends_at_its_bound_and_says_so(history: History, monkeypatch: pytest.MonkeyPatch) -> None:
    history.commit("one", "old")
    commit = [history.commit(f"{n}", "new") for n in range(4)][-1]
    assert walk(history.path / ".git", commit, "").whole
    monkeypatch.setattr(latest, "COMMITS", 2)
    found = walk(history.path / ".git", commit, "")
    assert list(found.of) == ["new"] and found.known and not found.whole
    monkeypatch.setattr(latest, "BYTES", 70)
    cut = walk(history.path / ".git", commit, "")
    assert cut.known and not cut.whole


def test_a_page_does_not_wait_and_the_answer_is_kept(history: History, known: Latest) -> None:
    commit = history.commit("one", "a")
    repository = history.path / ".git"
    assert not known.of(repository, commit, "", wait_s=0).known
    found = known.of(repository, commit, "", wait_s=60)
    assert found.of["a"].subject == "one" and found.of["a"].at == 1_700_000_060
    (repository / "HEAD").unlink()  # git would find nothing any more
    assert known.of(repository, commit, "/", wait_s=0) is found


def test_a_walk_that_came_to_nothing_is_tried_again(history: History, known: Latest) -> None:
    commit = history.commit("one", "a")
    (history.path / ".git").rename(history.path / "away")
    assert not known.of(history.path / ".git", commit, "", wait_s=60).of
    (history.path / "away").rename(history.path / ".git")
    assert known.of(history.path / ".git", commit, "", wait_s=60).of


def test_only_so_many_entries_are_kept(history: History, known: Latest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(latest, "ENTRIES", 4)
    commits = [history.commit(f"{n}", f"{n}") for n in range(3)]
    for commit in commits:
        assert known.of(history.path / ".git", commit, "", wait_s=60).known
    assert not known.of(history.path / ".git", commits[0], "", wait_s=0).known
