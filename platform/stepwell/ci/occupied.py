"""What the state directory takes on disk, by kind. Blocks for as long as the walk takes."""

import os
import shutil
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from stepwell.store.taken import taken

KINDS = {
    "repos": "repositories", "blobs": "blobs", "logs": "logs", "layers": "layers", "trees": "trees", "caches": "caches",
    "tools": "tools", "work": "work", "forks": "work", "builds": "work", "common": "work",
}  # fmt: skip
"""Directory → kind. What is not named here is of the kind `other`, files of the database are `database`."""


@dataclass(frozen=True)
class Occupied:
    """Bytes by kind, the largest first, and what the file system has free and in all."""

    kinds: tuple[tuple[str, int], ...]
    free: int
    size: int

    @property
    def bytes(self) -> int:
        """All of it."""
        return sum(size for _, size in self.kinds)


def occupied(state: Path, database: str) -> Occupied:
    """Count. `database` is the name of its main file."""
    sums: Counter[str] = Counter({"database": 0})
    folders: list[Path] = []
    with os.scandir(state) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                folders.append(Path(entry.path))
            elif entry.is_file(follow_symlinks=False):
                kind = "database" if entry.name.startswith(database) else "other"
                sums[kind] += entry.stat(follow_symlinks=False).st_size
    for folder, size in zip(folders, taken(folders), strict=True):
        sums[KINDS.get(folder.name, "other")] += size
    disk = shutil.disk_usage(state)
    return Occupied(tuple(sorted(sums.items(), key=lambda one: (-one[1], one[0]))), disk.free, disk.total)
