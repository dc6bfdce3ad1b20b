"""The installation in words and drawings: what needs somebody first, then what goes on, then what is used."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from stepwell.ci.census import Counts
from stepwell.ci.installation import InstallationView, SettingView
from stepwell.ci.occupied import Occupied
from stepwell.ci.runners import Ability, Standing
from stepwell.engine.present import Counted
from stepwell_web.runnersview import Gauge, gauges_of
from stepwell_web.usageview import KindRow, minutes

KINDS = {
    "repositories": "Repositories", "blobs": "Artifacts and results", "logs": "Logs", "layers": "Layers of workspaces",
    "trees": "Trees of commits", "caches": "Caches of steps", "tools": "Tools and setups", "work": "Work under way",
    "database": "Database", "other": "Other",
}  # fmt: skip
DEATHS = {
    "stands": "whose code, or an isolate for it, is not to be had", "load": "whose code could not be loaded",
    "diverged": "whose code asks otherwise than its journal says", "turns": "whose code was ended again and again",
    "unreadable": "whose journal is damaged",
}  # fmt: skip


@dataclass(frozen=True)
class _Whole:
    """The whole server's room, for its gauges."""

    used: Counted
    standing: Standing
    turns: int
    steps: int
    per_tenant: int
    others: Counted | None = field(default_factory=Counted)


@dataclass(frozen=True)
class TenantRow:
    """A tenant: numbers, and whether the visitor may go there."""

    name: str
    title: str
    open: bool
    today: int
    busy: int  # steps and code now
    queue: int  # waits for room
    waiting: int
    dead: str
    minutes: str
    bytes: int


@dataclass(frozen=True)
class DeadRow:
    """Runs of a tenant that died of the same."""

    tenant: str
    open: bool
    number: str
    words: str


@dataclass(frozen=True)
class Shown:
    """The page's content."""

    lacking: tuple[Ability, ...]
    well: tuple[Ability, ...]
    gauges: tuple[Gauge, ...]
    tenants: tuple[TenantRow, ...]
    dead: tuple[DeadRow, ...]
    kinds: tuple[KindRow, ...]
    given: tuple[SettingView, ...]
    defaults: tuple[SettingView, ...]


def shown(view: InstallationView, mine: Iterable[str]) -> Shown:
    """Tell it to somebody whose tenants are `mine`."""
    health = view.health.value if view.health else ()
    tenants, known = view.tenants.value if view.tenants else (), frozenset(mine)
    used = _sum(view.counted)
    return Shown(
        tuple(one for one in health if not one.ok), tuple(one for one in health if one.ok),
        gauges_of(_Whole(used, view.standing, view.turns, view.steps, view.per_tenant)),
        tuple(_tenant(one, view.counted.get(one.name, Counted()), known) for one in tenants),
        tuple(row for one in tenants for row in _dead(one, known)), kinds(view.disk.value if view.disk else None),
        tuple(one for one in view.settings if one.given), tuple(one for one in view.settings if not one.given),
    )  # fmt: skip


def kinds(disk: Occupied | None) -> tuple[KindRow, ...]:
    """Tell what is on disk; `percent` is the share of the largest."""
    if disk is None:
        return ()
    largest = max((size for _, size in disk.kinds), default=0) or 1
    return tuple(KindRow(KINDS[kind], size, 100 * size / largest) for kind, size in disk.kinds if size)


def _tenant(counts: Counts, now: Counted, mine: frozenset[str]) -> TenantRow:
    dead = sum(counts.dead.values())
    return TenantRow(
        counts.name, counts.title if counts.title != counts.name else "", counts.name in mine, counts.today,
        now.code + now.isolates + now.containers, max(now.waits, counts.states.get("queued", 0)),
        counts.states.get("waiting", 0) + counts.states.get("paused", 0), f"{dead:,}{'+' if counts.more else ''}",
        minutes(counts.seconds), counts.bytes,
    )  # fmt: skip


def _dead(counts: Counts, mine: frozenset[str]) -> Iterable[DeadRow]:
    more = "+" if counts.more else ""
    for death, number in sorted(counts.dead.items(), key=lambda one: (-one[1], one[0])):
        yield DeadRow(counts.name, counts.name in mine, f"{number:,}{more}", DEATHS[death])


def _sum(counted: Mapping[str, Counted]) -> Counted:
    found = list(counted.values())
    return Counted(
        sum(one.code for one in found), sum(one.isolates for one in found), sum(one.containers for one in found),
        sum(one.waits for one in found),
    )  # fmt: skip
