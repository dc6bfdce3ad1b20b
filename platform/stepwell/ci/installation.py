"""The installation as who administers it sees it: health, room, queues, disk, tenants, dead runs, settings.

Who that is: the person made at the first start, and whom `admin` says so of; with a token only if it is not narrowed.
For all others there is no such page. Of tenants it tells numbers, and nothing that only their own people may see.
"""

import platform
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import metadata

from stepwell.ci.answers import answer_of
from stepwell.ci.beside import Beside, Failure, Seen
from stepwell.ci.census import Census, Counts
from stepwell.ci.occupied import Occupied, occupied
from stepwell.ci.runners import Ability, Host, Standing
from stepwell.ci.upkeep import Failing
from stepwell.engine.present import Counted, Present
from stepwell.engine.thread import EngineThread
from stepwell.errors import NotFound
from stepwell.settings import Settings
from stepwell.store.backups import BackupNote, last_backup
from stepwell.store.store import Store
from stepwell.tenants.actors import Actor

HEALTH_SECONDS, COUNTS_SECONDS, DISK_SECONDS = 60.0, 10.0, 600.0
"""Ages at which health, tenants and disk are looked at again, when somebody asks."""
PATIENCE_SECONDS = 0.5
MOST_NAMED = 5
_CREDENTIALS = re.compile(r"(?<=//)[^/@\s]+(?=@)")


@dataclass(frozen=True)
class SettingView:
    """A setting in force; `given` when it is not the default. Credentials in addresses are left out."""

    name: str
    value: str
    given: bool
    description: str


@dataclass(frozen=True)
class InstallationView:
    """All of it. `counted` is what goes on and waits for room now, by tenant; None: not seen yet.

    `failures` has the last look of health, tenants or disk if it failed; what was seen before stands beside.
    """

    version: str
    python: str
    host: str
    url: str
    started_at: float
    turns: int
    steps: int
    per_tenant: int
    counted: Mapping[str, Counted]
    standing: Standing
    health: Seen[tuple[Ability, ...]] | None
    tenants: Seen[tuple[Counts, ...]] | None
    disk: Seen[Occupied] | None
    backup: BackupNote | None
    settings: tuple[SettingView, ...]
    failures: Mapping[str, Failure] = field(default_factory=dict)


class Installation:
    """Looks at it. Blocks for a moment; for any thread but the engine's."""

    def __init__(
        self, settings: Settings, thread: EngineThread, store: Store, host: Host | None,
        now: Callable[[], float] = time.time, *, failing: Callable[[], Sequence[Failing]] = tuple,
    ) -> None:  # fmt: skip
        self._settings = settings
        self._thread = thread
        self._host = host
        self._failing = failing
        self._started_at = now()
        self._health = Beside(self._abilities, HEALTH_SECONDS, PATIENCE_SECONDS, now)
        self._counts = Beside(Census(store, now).take, COUNTS_SECONDS, PATIENCE_SECONDS, now)
        self._disk = Beside(
            lambda: occupied(settings.state, settings.database.name), DISK_SECONDS, PATIENCE_SECONDS, now
        )

    def of(self, actor: Actor) -> InstallationView:
        """Return what is known now. Raises NotFound for those who do not administer the server."""
        if not actor.administers:
            raise NotFound("There is no such page, or you may not see it.")
        present, standing = answer_of(self._thread, self._look())
        health, tenants, disk = self._health.seen(), self._counts.seen(), self._disk.seen()
        looks = {"health": self._health.failure, "tenants": self._counts.failure, "disk": self._disk.failure}
        return InstallationView(
            metadata.version("stepwell"), platform.python_version(), self._host.name if self._host else "local",
            self._settings.base_url, self._started_at, present.turns, present.steps, present.per_tenant,
            present.counted, standing, health, tenants, disk,
            last_backup(self._settings.state), in_force(self._settings),
            {name: failure for name, failure in looks.items() if failure},
        )  # fmt: skip

    async def _look(self) -> tuple[Present, Standing]:
        present = await self._thread.engine.present(())
        return present, self._host.standing() if self._host else Standing()

    def _abilities(self) -> tuple[Ability, ...]:
        found: Sequence[Ability] = self._host.abilities() if self._host else ()
        failing = self._failing()
        return (*found, _packing(failing)) if failing else tuple(found)


def _packing(failing: Sequence[Failing]) -> Ability:
    """Tell of repositories by their ids, which are the names of their directories: names are their tenants'."""
    told = [f"{one.repository} ({one.times}×, again in {one.rest_s / 3600:.0f} h)" for one in failing[:MOST_NAMED]]
    more = f" and {len(failing) - MOST_NAMED} more" if len(failing) > MOST_NAMED else ""
    return Ability(
        "packing", False, f"could not pack {', '.join(told)}{more}: clones and pushes there become slow",
        "The server's log has git's words. Where it lacked memory, raise STEPWELL_GIT_MEMORY_MB; what is damaged comes "
        "back from a backup.",
    )  # fmt: skip


def in_force(settings: Settings) -> tuple[SettingView, ...]:
    """List the settings, in their order."""
    return tuple(
        SettingView(
            f"STEPWELL_{name.upper()}", _told(getattr(settings, name)),
            getattr(settings, name) != field.get_default(call_default_factory=True), field.description or "",
        )
        for name, field in Settings.model_fields.items()
    )  # fmt: skip


def _told(value: object) -> str:
    if value is None or value == "":
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return _CREDENTIALS.sub("…", str(value))
