"""Survivors: containers that outlive a killed server, and what the next one must know to follow them to their end.

Before its command begins, an attempt's container is written down beside its workspace. At the next start those that
began are kept, with their workspace; the engine's own log has every line that they printed. The next attempt of the
step takes its survivor over instead of starting another one: its command has been started once.

Not kept are attempts with services or caches, those of another boot of the host (their processes are gone), and those
of runs that have ended.
"""

import contextlib
import hashlib
import json
import logging
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from stepwell.engine.seams import Attempt
from stepwell_runners.run_forks import GitView
from stepwell_runners.spec import Directory, Mount, Overlay
from stepwell_runners.workspaces import Workspace

log = logging.getLogger(__name__)

RECORD = "container.json"
_BOOT = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True)
class Record:
    """What is written down. `slot` is the name of the place in a container that had waited, "" of any other."""

    run: str
    key: str
    tenant: str
    number: int
    asked: str  # digest of the step's options
    container: str
    waited: bool
    slot: str
    began: float  # wall time
    boot: str
    workspace: Mapping[str, Any]

    @classmethod
    def of(cls, attempt: Attempt, workspace: Workspace, container: str, *, waited: bool, slot: str) -> "Record":
        """Return the record of an attempt whose command is about to begin."""
        return cls(
            attempt.run, attempt.key, attempt.tenant, attempt.number, digest_of(attempt), container, waited, slot,
            time.time(), _boot(), _as_json(workspace),
        )  # fmt: skip

    @property
    def seconds(self) -> float:
        """How long ago the command began."""
        return max(0.0, time.time() - self.began)

    def is_of(self, attempt: Attempt) -> bool:
        """Whether an attempt is the next one of the step that this was of."""
        mine = (self.run, self.key, self.tenant, self.asked)
        asks = (attempt.run, attempt.key, attempt.tenant, digest_of(attempt))
        return mine == asks and self.number < attempt.number

    def opened(self) -> Workspace:
        """Return its workspace."""
        return _from_json(self.workspace)

    def write(self, place: Path) -> None:
        """Put it beside the workspace. It need not reach the disk: when the host goes, so does the container."""
        (place / RECORD).write_text(json.dumps(asdict(self)))


def recorded(work: Path) -> list[Record]:
    """Return what was written down below work/ since this host was booted."""
    found = []
    for path in work.glob(f"*/{RECORD}"):
        try:
            record = Record(**json.loads(path.read_text()))
            if record.boot == _boot() and record.opened().place == path.parent:
                found.append(record)
        except (OSError, ValueError, TypeError, KeyError) as error:
            log.warning("%s cannot be read: its attempt is made again (%s)", path, error)
    return found


def digest_of(attempt: Attempt) -> str:
    """Return a digest of what a step asks for."""
    return hashlib.sha256(json.dumps(attempt.options, sort_keys=True).encode()).hexdigest()


def _boot() -> str:
    with contextlib.suppress(OSError):
        return _BOOT.read_text().strip()
    return ""


def _as_json(workspace: Workspace) -> dict[str, Any]:
    mount, git = workspace.mount, workspace.git
    return {
        "id": workspace.id, "run": workspace.run, "key": workspace.key, "tree": workspace.tree,
        "base": list(workspace.base), "lowers": list(map(str, workspace.lowers)), "place": str(workspace.place),
        "mount": [str(mount.path)] if isinstance(mount, Directory) else
        [str(mount.upper), str(mount.work), *map(str, mount.lowers)],
        "git": [str(git.lower), str(git.objects), git.at] if git else None, "beside": list(workspace.beside),
    }  # fmt: skip


def _from_json(told: Mapping[str, Any]) -> Workspace:
    paths = [Path(path) for path in told["mount"]]
    mount: Mount = Directory(paths[0]) if len(paths) == 1 else Overlay(tuple(paths[2:]), paths[0], paths[1])
    git = GitView(Path(told["git"][0]), Path(told["git"][1]), told["git"][2]) if told["git"] else None
    return Workspace(
        told["id"], told["run"], told["key"], told["tree"], tuple(told["base"]), tuple(map(Path, told["lowers"])),
        Path(told["place"]), mount, git, tuple(told["beside"]),
    )  # fmt: skip
