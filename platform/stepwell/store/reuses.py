"""Which step of which run may be reused: one small file for each key of a branch, in a directory of the repository.

A file is a hint, never the truth: whoever follows it finds layer, log and files there, or does the work anew. So what a
crash leaves behind does no harm, and the oldest hints go when there are many. `runs/` has a mark for each run whose
files are still there; it goes with them.
"""

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

from stepwell.store.small_files import name_of

MOST = 10_000
"""Of one repository; beyond it a tenth goes, those that were used least recently."""


@dataclass(frozen=True)
class Reusable:
    """What a passed step left. `run`, `step` and `attempt` lead to its files.

    `origin` and `number` are of the run that did the work. `touched` is a hash of what stood where its layer wrote or
    deleted.
    """

    run: str
    step: str
    attempt: int
    origin: str
    number: int
    value: Any
    exit_code: int | None
    layer: str | None
    touched: str
    collected: Mapping[str, Any] | None


class ReuseFiles:
    """The hints of all repositories. Safe to use from any thread."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def find(self, repository: str, branches: Sequence[str], key: str) -> Reusable | None:
        """Return what the first of the branches has for a key."""
        for branch in branches:
            path = self._path(repository, branch, key)
            with suppress(OSError, ValueError, TypeError):
                found = Reusable(**json.loads(path.read_text()))
                os.utime(path)
                if self._mark(found.run).exists():
                    return found
        return None

    def keep(self, repository: str, branch: str, key: str, made: Reusable) -> None:
        """Have the key of a branch lead to a step. Raises OSError."""
        path = self._path(repository, branch, key)
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = path.with_suffix(f".{uuid4().hex}")
        fresh.write_text(json.dumps(asdict(made)))
        fresh.replace(path)
        mark = self._mark(made.run)
        mark.parent.mkdir(exist_ok=True)
        mark.touch()
        self._bound(path.parent)

    def remove(self, run: str) -> None:
        """Let nobody have what a run left any more: its files go."""
        self._mark(run).unlink(missing_ok=True)

    def forget(self, repository: str) -> None:
        """Remove the hints of a repository that is gone."""
        with suppress(FileNotFoundError):
            shutil.rmtree(self._root / name_of(repository))

    def _mark(self, run: str) -> Path:
        return self._root / "runs" / name_of(run)

    def _bound(self, folder: Path) -> None:
        with os.scandir(folder) as entries:
            names = [entry.path for entry in entries]
        if len(names) <= MOST:
            return
        with suppress(OSError):  # removed by another thread
            names.sort(key=lambda name: Path(name).stat().st_mtime)
        for name in names[: MOST // 10]:
            Path(name).unlink(missing_ok=True)

    def _path(self, repository: str, branch: str, key: str) -> Path:
        return self._root / name_of(repository) / f"{name_of(branch, key)}.json"
