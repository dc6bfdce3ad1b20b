"""Trees: the files of a commit, checked out once per content and read-only from then on.

git itself writes them: it refuses `.git` in all its spellings, `..` and empty names, and converts line ends as
.gitattributes say. A finished tree appears by rename. Nobody waits for the disk: until the tree is synced a marker
beside it says in which boot it was made, so a tree from before a power cut is made again instead of trusted.
"""

import re
import secrets
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

from stepwell.errors import Invalid, NotFound
from stepwell_runners.keyed_locks import KeyedLocks
from stepwell_runners.reduce import remove
from stepwell_runners.workspaces import sync_file_system, sync_folder

_REFERENCE = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]{0,99}):([0-9a-f]{40}|[0-9a-f]{64})")
_GIT_SETTINGS = {
    "core.bare": "false",
    "core.hooksPath": "/dev/null",
    "core.fsmonitor": "false",
    "core.protectNTFS": "true",
    "core.protectHFS": "true",
    "core.symlinks": "true",
    "core.attributesFile": "/dev/null",
    "safe.directory": "*",
    "protocol.allow": "never",
}


def git_environment() -> dict[str, str]:
    """Return the environment of a git process, built from nothing."""
    environment = {
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "HOME": "/nonexistent",
        "LC_ALL": "C.UTF-8",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": "/dev/null",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_NO_LAZY_FETCH": "1",
        "GIT_CONFIG_COUNT": str(len(_GIT_SETTINGS)),
    }
    for number, (name, value) in enumerate(_GIT_SETTINGS.items()):
        environment |= {f"GIT_CONFIG_KEY_{number}": name, f"GIT_CONFIG_VALUE_{number}": value}
    return environment


class GitCheckout:
    """Writes trees out of bare repositories at `<folder>/<repo-id>.git`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def tree_of(self, repo: str, commit: str) -> str:
        """Return the hash of a commit's tree."""
        found = self._git(repo, {}, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{commit}^{{tree}}")
        return found.strip()

    def write(self, repo: str, tree: str, target: Path, index: Path) -> None:
        """Check `tree` out into the empty directory `target`; `index` is a scratch file."""
        self._git(repo, {"GIT_WORK_TREE": str(target), "GIT_INDEX_FILE": str(index)}, "read-tree", "-m", "-u", tree)

    def _git(self, repo: str, extra: dict[str, str], *arguments: str) -> str:
        git_dir = self.folder / f"{repo}.git"
        if not git_dir.is_dir():
            raise NotFound(f"Repository {repo!r} is not there any more, so its files cannot be checked out.")
        done = subprocess.run(
            ["git", f"--git-dir={git_dir}", *arguments],
            env={**git_environment(), **extra},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            umask=0o022,
            check=False,
        )
        if done.returncode != 0:
            reason = done.stderr.decode(errors="replace").strip() or f"git {arguments[0]} failed"
            raise Invalid(f"The files of the commit cannot be checked out: {reason}")
        return done.stdout.decode()


class Trees:
    """Cache of checked-out trees below `<state>/trees/<repo-id>/<tree>`. Any thread may ask; each is made once."""

    def __init__(self, state: Path, checkout: GitCheckout | None = None, sync: Callable[[Path], None] | None = None):
        self.folder = state / "trees"
        self.empty = self.folder / "empty"
        self._checkout = checkout or GitCheckout(state / "repos")
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
        match = _REFERENCE.fullmatch(reference)
        if match is None or ".." in reference:
            raise Invalid(f"Tree reference {reference!r} is not of the form <repository>:<commit>.")
        repo, commit = match.groups()
        tree = self._checkout.tree_of(repo, commit)
        place = self.folder / repo / tree
        with self._locks.of(f"{repo}/{tree}"):
            self._make(repo, tree, place)
        self._known[reference] = place
        return place

    def _make(self, repo: str, tree: str, place: Path) -> None:
        marker = place.with_name(f"{tree}.unsynced")
        if place.exists():
            if not marker.exists() or marker.read_text() == self._boot:
                return
            remove(place)
        place.parent.mkdir(exist_ok=True)
        fresh = place.with_name(f".new-{secrets.token_hex(6)}")
        index = fresh.with_suffix(".index")
        fresh.mkdir()
        try:
            self._checkout.write(repo, tree, fresh, index)
            marker.write_text(self._boot)
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


def _sync_later(marker: Path) -> None:
    threading.Thread(target=settle, args=(marker,), daemon=True, name="tree-sync").start()


def settle(marker: Path) -> None:
    """Bring a new tree to the disk, then take its marker away."""
    sync_file_system(marker.parent)
    marker.unlink(missing_ok=True)
    sync_folder(marker.parent)
