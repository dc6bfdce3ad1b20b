"""The git working tree that a command is called in: its remotes, its branch, and its files as they are now."""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import git

from stepwell.cli.git_client import own_environment
from stepwell.errors import Invalid, NotFound

_AUTHOR = {
    f"GIT_{role}_{part}": value
    for role in ("AUTHOR", "COMMITTER")
    for part, value in (("NAME", "stepwell run"), ("EMAIL", "run@stepwell.invalid"))
}


class WorkTree:
    """An open working tree. Raises NotFound when the directory is in none."""

    def __init__(self, directory: Path) -> None:
        try:
            self._repo = git.Repo(directory, search_parent_directories=True)
        except (git.InvalidGitRepositoryError, git.NoSuchPathError) as error:
            raise NotFound(
                f"{directory} is in no git working tree. Go into one, or make one with `stepwell init`."
            ) from error
        if self._repo.working_tree_dir is None:
            raise Invalid(f"{directory} is a bare repository. Go into a working tree of it.")
        self.root = Path(self._repo.working_tree_dir)
        if own_environment() != dict(os.environ):
            self._repo.git.update_environment(
                GIT_DIR=str(self._repo.git_dir), GIT_COMMON_DIR=str(self._repo.common_dir),
                GIT_WORK_TREE=str(self.root), GIT_INDEX_FILE=str(self._repo.index.path),
            )  # fmt: skip

    @classmethod
    def create(cls, directory: Path) -> "WorkTree":
        """Make a new repository whose branch is main."""
        command = ["git", "init", "--quiet", "--initial-branch=main", str(directory)]
        subprocess.run(command, env=own_environment(), check=True)
        return cls(directory)

    @property
    def branch(self) -> str:
        """Name of the branch, also before its first commit; "main" on a detached head."""
        head = self._repo.head
        return head.reference.name if not head.is_detached else "main"

    @property
    def head(self) -> str | None:
        """The commit that is checked out, None before the first."""
        return self._repo.head.commit.hexsha if self._repo.head.is_valid() else None

    @property
    def dirty(self) -> bool:
        """Say whether the files differ from the commit."""
        return self.head is None or self._repo.is_dirty(untracked_files=True)

    def remotes(self) -> dict[str, str]:
        """Addresses by name, `origin` first."""
        found = {remote.name: remote.url for remote in self._repo.remotes}
        return dict(sorted(found.items(), key=lambda item: item[0] != "origin"))

    def configure(self, settings: dict[str, str | list[str]]) -> None:
        """Write settings of this repository; a list replaces all values of its name."""
        for name, value in settings.items():
            values = [value] if isinstance(value, str) else value
            self._repo.git.config("--local", "--replace-all", name, values[0])
            for more in values[1:]:
                self._repo.git.config("--local", "--add", name, more)

    def setting(self, name: str) -> str | None:
        """Read a setting from all of git's files."""
        try:
            return str(self._repo.git.config("--get", name)) or None
        except git.GitCommandError:
            return None

    def knows_author(self) -> bool:
        """Say whether git would accept a commit without being told who makes it."""
        try:
            self._repo.git.var("GIT_AUTHOR_IDENT")
        except git.GitCommandError:
            return False
        return self.setting("user.email") is not None or "GIT_AUTHOR_EMAIL" in os.environ

    def add_remote(self, name: str, url: str) -> None:
        """Add a remote, or set the address of the one that has this name."""
        if name in self.remotes():
            self._repo.remote(name).set_url(url)
        else:
            self._repo.create_remote(name, url)

    def push_as_it_is(self, bare: Path, branch: str) -> str:
        """Commit the files as they are, ignored ones left out, into a branch of a local bare repository.

        Index, head and objects of this repository stay untouched: git writes into a directory of the moment.
        """
        with tempfile.TemporaryDirectory(prefix="stepwell-snapshot-") as moment:
            index, objects = Path(moment) / "index", Path(moment) / "objects"
            objects.mkdir()
            if Path(self._repo.index.path).exists():
                shutil.copyfile(self._repo.index.path, index)
            environment = {
                "GIT_INDEX_FILE": str(index),
                "GIT_OBJECT_DIRECTORY": str(objects),
                "GIT_ALTERNATE_OBJECT_DIRECTORIES": str(Path(self._repo.common_dir) / "objects"),
                **_AUTHOR,
            }
            with self._repo.git.custom_environment(**environment):
                self._repo.git.add("--all")
                tree = self._repo.git.write_tree()
                parents = ["-p", self.head] if self.head else []
                commit = str(self._repo.git.commit_tree(tree, *parents, "-m", self._subject()))
                self._repo.git.push("--quiet", "--force", "--no-verify", str(bare), f"{commit}:refs/heads/{branch}")
        return commit

    def _subject(self) -> str:
        subject = str(self._repo.head.commit.summary) if self._repo.head.is_valid() else "No commit yet"
        return f"{subject} (working tree)" if self.dirty else subject
