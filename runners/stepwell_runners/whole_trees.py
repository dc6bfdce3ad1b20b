"""Whole trees: the files of a commit as git wrote them, and beside them the index that git in a workspace starts with.

A finished tree appears by rename. Nobody waits for the disk: until the tree is synced a marker beside it says in which
boot it was made, so a tree from before a power cut is made again instead of trusted. For
the index see git_index.
"""

import contextlib
import os
import secrets
import threading
from collections.abc import Callable
from pathlib import Path

from stepwell.store.durable import sync_file_system, sync_folder
from stepwell.store.small_files import read
from stepwell_runners import tree_room
from stepwell_runners.checkouts import GitCheckout
from stepwell_runners.reduce import remove


class WholeTrees:
    """Makes trees in their places. One thread at a time for each place."""

    def __init__(self, checkout: GitCheckout, sync: Callable[[Path], None] | None = None) -> None:
        self._checkout = checkout
        self._sync = sync or _sync_later
        self._boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()

    def has(self, place: Path) -> bool:
        """Whether a tree is there that can be trusted."""
        if not all(map(os.path.exists, (f"{place}", f"{place}.index"))):
            return False
        try:
            return read(f"{_marker(place)}") == self._boot.encode()
        except FileNotFoundError:  # it is on the disk, maybe since just now
            return True

    def make(self, place: Path, times: int | Path | None) -> None:
        """Check a tree out in its place; `times` as GitCheckout.write knows them. Blocks."""
        repo, tree, marker = place.parent.name, place.name, _marker(place)
        remove(place)
        place.parent.mkdir(exist_ok=True)
        fresh = place.with_name(f".new-{secrets.token_hex(6)}")
        index = fresh.with_suffix(".index")
        fresh.mkdir()
        try:
            tree_room.note_size(place, self._checkout.write(repo, tree, fresh, index, times))
            marker.write_text(self._boot)
            index.rename(index_of(place))
            fresh.rename(place)
        finally:
            for scrap in (fresh, index, index.with_suffix(".index.lock")):
                remove(scrap)
        self._sync(marker)


def index_of(tree: Path) -> Path:
    """Return where the index of a whole tree is."""
    return tree.with_name(f"{tree.name}.index")


def _marker(place: Path) -> Path:
    return place.with_name(f"{place.name}.unsynced")


def _sync_later(marker: Path) -> None:
    threading.Thread(target=settle, args=(marker,), daemon=True, name="tree-sync").start()


def settle(marker: Path) -> None:
    """Bring a new tree to the disk, then take its marker away."""
    with contextlib.suppress(FileNotFoundError):  # the repository has been deleted meanwhile
        sync_file_system(marker.parent)
        marker.unlink(missing_ok=True)
        sync_folder(marker.parent)
