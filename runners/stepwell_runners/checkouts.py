"""Writes trees out of repositories, by git itself.

It refuses `.git` in all its spellings, `..` and empty names, and converts line ends as .gitattributes say.
"""

import subprocess
import time
from pathlib import Path

from stepwell.errors import Invalid
from stepwell.repos.process import environment
from stepwell.repos.reader import Reader
from stepwell.repos.repositories import Repositories
from stepwell_runners.git_index import settle_times
from stepwell_runners.lazy_tree import MOST_ATTRIBUTES, converts

MOST_ENTRIES = 1_000_000
MOST_BYTES = 20 << 30
BLOCK = 4096  # bytes that a file takes beside its content, at most
LEAST_LAZY = 500  # files: a smaller tree is checked out in less time than it takes to think about it
EDITS = 2  # seconds between the time given to all files and the first moment a step can write
_SETTINGS = {"core.bare": "false", "core.symlinks": "true", "core.attributesFile": "/dev/null"}


class GitCheckout:
    """Writes trees out of the repositories of a state directory."""

    def __init__(self, state: Path) -> None:
        self._repositories = Repositories(state)
        self._large: set[str] = set()  # repositories that had a large tree: the next ones are not counted again

    def tree_of(self, repo: str, commit: str) -> str:
        """Return the hash of a commit's tree. Raises NotFound."""
        tree = self._repositories.reader(repo).tree_of(commit)
        assert tree is not None  # every commit has one
        return tree

    def reader(self, repo: str) -> Reader:
        """Return what reads the repository. Raises NotFound."""
        return self._repositories.reader(repo)

    def path(self, repo: str) -> Path:
        """Return the repository's directory."""
        return self._repositories.path(repo)

    def let_go(self, repo: str) -> None:
        """Release the files of a repository that is gone."""
        self._repositories.let_go(repo)
        self._large.discard(repo)

    def is_worth_serving(self, repo: str, tree: str) -> bool:
        """Say whether a tree is large, and git would write the files of its top as they are stored."""
        reader = self._repositories.reader(repo)
        try:
            attributes = reader.file_of_tree(tree, ".gitattributes", limit=MOST_ATTRIBUTES)
            if converts(attributes or b""):
                return False
            if repo not in self._large and reader.has_files(tree, LEAST_LAZY):
                self._large.add(repo)
        except Invalid:
            return False
        return repo in self._large

    def write(self, repo: str, tree: str, target: Path, index: Path, times: int | Path | None = None) -> int:
        """Check `tree` out into the empty directory `target`, and write its `index`; all files get one time.

        Or the `times` in another index of this tree. Returns about how many bytes it takes.
        """
        size = self._check_size(repo, tree)
        times = int(time.time()) - EDITS if times is None else times
        done = subprocess.run(
            ["git", "--git-dir", self._repositories.path(repo), "read-tree", "-m", "-u", tree],
            env=environment(_SETTINGS, extra={"GIT_WORK_TREE": str(target), "GIT_INDEX_FILE": str(index)}),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            umask=0o022,
            check=False,
        )
        if done.returncode != 0:
            reason = done.stderr.decode(errors="replace").strip()[:2000] or f"exit code {done.returncode}"
            raise Invalid(f"The files of the commit cannot be checked out: {reason}")
        settle_times(index, target, times, "sha1" if len(tree) == 40 else "sha256")
        return size

    def _check_size(self, repo: str, tree: str) -> int:
        """Refuse a tree without end: ten small trees, each ten times in the next, are ten thousand million files."""
        command = ["git", "--git-dir", str(self._repositories.path(repo)), "ls-tree", "-r", "-t", "-l", "-z", tree]
        entries = size = 0
        rest = b""
        with subprocess.Popen(command, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as listing:
            assert listing.stdout is not None
            while block := listing.stdout.read(1 << 16):
                *found, rest = (rest + block).split(b"\0")
                entries += len(found)
                sizes = (entry.partition(b"\t")[0].split()[-1] for entry in found)
                size += sum(int(number) for number in sizes if number.isdigit())
                if entries > MOST_ENTRIES or size > MOST_BYTES:
                    listing.kill()
                    raise Invalid(
                        "The files of the commit cannot be checked out: there are more than "
                        f"{MOST_ENTRIES:,} files and folders, or {MOST_BYTES >> 30} GiB."
                    )
        return size + entries * BLOCK
