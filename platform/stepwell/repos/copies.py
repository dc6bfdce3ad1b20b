"""A repository's files for a copy of it, while pushes go on: refs as of one moment, objects whenever.

Refs first, objects later: an object is never removed and is on disk before a ref names it.
"""

from collections.abc import Iterator
from pathlib import Path

MOST_LOOKS = 10


def refs_of(repository: Path) -> dict[str, bytes]:
    """Read everything but objects: HEAD, config, refs. Loose ones first, since git packs before it removes."""
    found: dict[str, bytes] = {}
    for path in sorted(repository.glob("refs/**/*")):
        _read(path, repository, found)
    for name in ("packed-refs", "HEAD", "config", "description", "shallow"):
        _read(repository / name, repository, found)
    return found


def _read(path: Path, repository: Path, found: dict[str, bytes]) -> None:
    if path.name.endswith(".lock"):
        return
    try:
        found[path.relative_to(repository).as_posix()] = path.read_bytes()
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
        return  # packed or deleted meanwhile, or a directory


def objects_of(repository: Path) -> Iterator[Path]:
    """Give the files below `objects`, each once; again from the start as long as some vanish, as when they are packed.

    What a push has not finished is left out. The caller may find a file gone: it is in one that comes later.
    """
    seen: set[Path] = set()
    for _ in range(MOST_LOOKS):
        new = [path for path in sorted((repository / "objects").rglob("*")) if path not in seen and _whole(path)]
        if not new:
            return
        seen.update(new)
        yield from new


def _whole(path: Path) -> bool:
    if path.name.startswith("multi-pack-index"):  # may name packs that are gone when their turn comes
        return False
    unfinished = any(part.startswith(("tmp_", ".tmp-")) or part.endswith(".lock") for part in path.parts)
    return not unfinished and path.is_file()
