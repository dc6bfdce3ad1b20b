"""Trees: the files of a commit, checked out once per content and read-only from then on.

git itself writes them: it refuses `.git` in all its spellings, `..` and empty names, and converts line ends as
.gitattributes say. A finished tree appears by rename. Nobody waits for the disk: until the tree is synced a marker
beside it says in which boot it was made, so a tree from before a power cut is made again instead of trusted.
Beside each tree lies the index that git in a workspace starts with: see git_index.
"""

import re
import secrets
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path

from stepwell.errors import Invalid
from stepwell.repos.process import environment
from stepwell.repos.repositories import Repositories
from stepwell.store.durable import sync_file_system, sync_folder
from stepwell_runners.git_index import settle_times
from stepwell_runners.keyed_locks import KeyedLocks
from stepwell_runners.reduce import remove

_REFERENCE = re.compile(r"([^:/]{1,100}):([0-9a-f]{40}|[0-9a-f]{64})")
MOST_ENTRIES = 1_000_000
MOST_BYTES = 20 << 30
_MOST_KNOWN = 10_000  # references looked up without asking git
_EDITS = 2  # seconds between the time given to all files and the first moment a step can write
_SETTINGS = {"core.bare": "false", "core.symlinks": "true", "core.attributesFile": "/dev/null"}


class GitCheckout:
    """Writes trees out of the repositories of a state directory."""

    def __init__(self, state: Path) -> None:
        self._repositories = Repositories(state)

    def tree_of(self, repo: str, commit: str) -> str:
        """Return the hash of a commit's tree. Raises NotFound."""
        tree = self._repositories.reader(repo).tree_of(commit)
        assert tree is not None  # every commit has one
        return tree

    def write(self, repo: str, tree: str, target: Path, index: Path) -> None:
        """Check `tree` out into the empty directory `target`, and write its `index`."""
        self._check_size(repo, tree)
        started = int(time.time())
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
        settle_times(index, target, started - _EDITS, "sha1" if len(tree) == 40 else "sha256")

    def _check_size(self, repo: str, tree: str) -> None:
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


class Trees:
    """Cache of checked-out trees below `<state>/trees/<repo-id>/<tree>`. Any thread may ask; each is made once."""

    def __init__(self, state: Path, checkout: GitCheckout | None = None, sync: Callable[[Path], None] | None = None):
        self.folder = state / "trees"
        self.empty = self.folder / "empty"
        self._checkout = checkout or GitCheckout(state)
        self._sync = sync or _sync_later
        self._known: dict[str, Path] = {}
        self._locks = KeyedLocks()
        self._boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        self.empty.mkdir(parents=True, exist_ok=True)

    def resolve(self, reference: str | None) -> Path:
        """Return the read-only directory of "<repo-id>:<commit>"; an empty one for None. Blocks while it is made."""
        if reference is None:
            return self.empty
        if found := self._known.get(reference):
            return found
        repo, commit = parse_reference(reference)
        tree = self._checkout.tree_of(repo, commit)
        place = self.folder / repo / tree
        with self._locks.of(f"{repo}/{tree}"):
            self._make(repo, tree, place)
        if len(self._known) >= _MOST_KNOWN:
            self._known.clear()
        self._known[reference] = place
        return place

    def _make(self, repo: str, tree: str, place: Path) -> None:
        marker = place.with_name(f"{tree}.unsynced")
        is_whole = place.exists() and index_of(place).exists()
        if is_whole and (not marker.exists() or marker.read_text() == self._boot):
            return
        remove(place)
        place.parent.mkdir(exist_ok=True)
        fresh = place.with_name(f".new-{secrets.token_hex(6)}")
        index = fresh.with_suffix(".index")
        fresh.mkdir()
        try:
            self._checkout.write(repo, tree, fresh, index)
            marker.write_text(self._boot)
            index.rename(index_of(place))
            fresh.rename(place)
        finally:
            for scrap in (fresh, index, index.with_suffix(".index.lock")):
                remove(scrap)
        self._sync(marker)

    def recover(self) -> None:
        """Remove checkouts that a crash cut short."""
        for repository in self.folder.iterdir():
            for scrap in repository.glob(".new-*"):
                remove(scrap)


def parse_reference(reference: str) -> tuple[str, str]:
    """Return repository and commit of "<repo-id>:<commit>"."""
    match = _REFERENCE.fullmatch(reference)
    if match is None:
        raise Invalid(f"Tree reference {reference!r} is not of the form <repository>:<commit>.")
    repo, commit = match.groups()
    return repo, commit


def index_of(tree: Path) -> Path:
    """Return where the index of a cached tree is."""
    return tree.with_name(f"{tree.name}.index")


def _sync_later(marker: Path) -> None:
    threading.Thread(target=settle, args=(marker,), daemon=True, name="tree-sync").start()


def settle(marker: Path) -> None:
    """Bring a new tree to the disk, then take its marker away."""
    sync_file_system(marker.parent)
    marker.unlink(missing_ok=True)
    sync_folder(marker.parent)
