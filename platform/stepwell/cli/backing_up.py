"""Making a backup while the server works.

For a moment nobody can commit: then the refs of all repositories are read, and the database's snapshot begins. No push
can have moved a ref without its intent being in that snapshot, and no run can be in it whose commit is not. The files
follow at leisure. They only ever grow: layers, logs and objects are on disk before the journal names them, and what is
removed later is held back meanwhile (`removals_held`). What came after the moment is removed by the restored server's
first start, as after a crash.

Left out is what can be made again: checked-out trees, toolchains, forks, snapshots of containers, attempts under way.
"""

import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from stepwell.engine.entries import VERSION
from stepwell.errors import Unavailable
from stepwell.repos.copies import objects_of, refs_of
from stepwell.settings import Settings
from stepwell.store.archive import ArchiveWriter, written
from stepwell.store.journal_file import FORM
from stepwell.store.migrate import recorded_version
from stepwell.store.removals import removals_held
from stepwell.store.snapshot import at_one_moment

TREES = ("blobs", "logs", "pins")
"""Directories that are taken as they are, where there is one."""
PATIENCE_SECONDS = 30.0
"""For whoever is removing something just now."""
Tell = Callable[[str, int], None]


def back_up(settings: Settings, target: Path, *, with_key: bool, tell: Tell) -> dict[str, Any]:
    """Write the backup; say what is in it. Raises Unavailable, Conflict."""
    if not settings.database.exists():
        raise Unavailable(f"There is no database {settings.database}. Set STEPWELL_STATE to the server's directory.")
    state, key = settings.state, settings.state / "key"
    refs: dict[str, dict[str, bytes]] = {}

    def read_refs() -> None:
        refs.update({path.name: refs_of(path) for path in sorted((state / "repos").glob("*.git"))})

    copy = target.with_name(f"{target.name}.part.db")
    with removals_held(state, PATIENCE_SECONDS):
        try:
            with at_one_moment(settings.database, read_refs) as snapshot:
                moment = datetime.now(UTC).isoformat(timespec="seconds")
                _private(copy)
                snapshot.copy_to(copy, lambda _done, _all: tell("database", 0))
            head = {
                "stepwell": metadata.version("stepwell"), "created_at": moment, "key": with_key,
                "revision": recorded_version(copy), "form": FORM, "entries": VERSION,
            }  # fmt: skip
            with written(target, head, tell) as archive:
                archive.add(settings.database.name, copy)
                if with_key:
                    archive.add("key", key)
                _add_layers(archive, state)
                for name in TREES:
                    _add_tree(archive, state, name)
                _add_repositories(archive, state, refs)
            runs = _count_runs(copy)
        finally:
            copy.unlink(missing_ok=True)
    size = target.stat().st_size
    return {
        "file": str(target), "bytes": size, "runs": runs, "repositories": len(refs), "key": str(key),
        "with_key": with_key, "created_at": moment, "members": archive.members,
    }  # fmt: skip


def _private(path: Path) -> None:
    """Make an empty file that only its owner can read."""
    try:
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600))
    except OSError as error:
        raise Unavailable(
            f"Backup {path.parent} cannot be written to: {error.strerror}. Choose another place."
        ) from error


def _count_runs(database: Path) -> int:
    with closing(sqlite3.connect(database)) as db:
        return int(db.execute("SELECT count(*) FROM runs").fetchone()[0])


def _add_repositories(archive: ArchiveWriter, state: Path, refs: dict[str, dict[str, bytes]]) -> None:
    for name, files in refs.items():
        for path, content in sorted(files.items()):
            archive.add_bytes(f"repos/{name}/{path}", content, 0o644)
        root = state / "repos" / name
        for folder in ("objects", "objects/info", "objects/pack", "refs", "refs/heads", "refs/tags"):
            with suppress(FileNotFoundError):
                archive.add(f"repos/{name}/{folder}", root / folder)
        for file in objects_of(root):
            with suppress(FileNotFoundError):  # packed meanwhile: the pack comes later
                archive.add(f"repos/{name}/{file.relative_to(root).as_posix()}", file)


def _add_layers(archive: ArchiveWriter, state: Path) -> None:
    from stepwell_runners.layer_copies import layer_files

    for name, content in layer_files(state / "layers"):
        if isinstance(content, bytes):
            archive.add_bytes(f"layers/{name}", content)
        else:
            with suppress(FileNotFoundError):  # of an attempt that was lost meanwhile
                archive.add(f"layers/{name}", content)


def _add_tree(archive: ArchiveWriter, state: Path, name: str) -> None:
    for path in _sorted_tree(state / name):
        with suppress(FileNotFoundError):
            archive.add(path.relative_to(state).as_posix(), path)


def _sorted_tree(root: Path) -> Iterator[Path]:
    """Everything below, by name: a log's index comes before the log, which only grows."""
    if root.is_dir():
        yield root
        yield from sorted(root.rglob("*"))
