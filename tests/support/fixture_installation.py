"""An installation in memory, for the page of its admins: one check that failed, tenants of all sorts."""

from typing import Any

from stepwell.ci.beside import Seen
from stepwell.ci.census import Counts
from stepwell.ci.installation import InstallationView, in_force
from stepwell.ci.occupied import Occupied
from stepwell.ci.runners import Ability, FirstOutputs, Standing
from stepwell.engine.present import Counted
from stepwell.errors import NotFound
from stepwell.settings import Settings
from stepwell.store.backups import BackupNote
from stepwell.tenants import Actor

NASTY = "<script>alert(1)</script>"


class FixtureInstallation:
    """Stands where Installation stands; whoever has a tenant administers it."""

    def __init__(self, settings: Settings, now: float, empty: bool) -> None:
        self._settings, self._now, self._empty = settings, now, empty

    def of(self, actor: Actor) -> InstallationView:
        if not actor.tenants:
            raise NotFound("There is no such page, or you may not see it.")
        seen: dict[str, Any] = {"health": None, "tenants": None, "disk": None, "backup": None}
        counted: dict[str, Counted] = {}
        if not self._empty:
            counted = {"acme": Counted(2, 1, 2, 9), "umbrella": Counted(3, 2)}
            seen = {
                "health": Seen(_health(), self._now - 14.0), "tenants": Seen(_tenants(), self._now - 3.0, True),
                "disk": Seen(_disk(), self._now - 260.0), "backup": BackupNote(
                    self._now - 93_000.0, "/srv/backups/2026-11-29.stepwell", 7_340_000_000, True
                ),
            }  # fmt: skip
        given = self._settings.model_copy(update={"docker_host": "tcp://robot:s3cret@builder.example:2376"})
        return InstallationView(
            "0.1.0", "3.13.2", "runner-07", "https://ci.example.org", self._now - 400_000.0, 50, 8, 6, counted,
            Standing(3, 4, {"acme": 1, "umbrella": 1}, 4, FirstOutputs(38, 0.0142, 1.93)), settings=in_force(given),
            **seen,
        )  # fmt: skip


def _health() -> tuple[Ability, ...]:
    return (
        Ability("python", True, "3.13.2"), Ability("git", True, "2.47.3"),
        Ability("state", True, "/var/lib/stepwell, 412.0 GiB free, on ext4"),
        Ability("wall", True, "full, as root, in a user namespace of its own"), Ability("Landlock", True, "version 7"),
        Ability("trees", False, "steps wait for the checkout of large ones: /dev/fuse cannot be opened",
                "To be read before, they take root outside of a container, /dev/fuse, Linux 6.12 and git 2.36."),
        Ability("docker", True, f"engine 28.0.1, builds images with BuildKit {NASTY}"),
    )  # fmt: skip


def _tenants() -> tuple[Counts, ...]:
    return (
        Counts("acme", "Acme", 12, 31, 214, {"running": 3, "queued": 9, "waiting": 41}, {"diverged": 2, "load": 1},
               False, 71_300.0, 61 << 30),
        Counts("umbrella", "umbrella", 4, 6, 38, {"running": 2, "waiting": 1_204_511}, {"turns": 870}, True,
               4_140.0, 9 << 30),
        Counts("home", "home", 1, 0, 0, {}, {}, False, 0.0, 0),
    )  # fmt: skip


def _disk() -> Occupied:
    kinds = {
        "trees": 38 << 30, "layers": 29 << 30, "blobs": 17 << 30, "tools": 11 << 30, "repositories": 6 << 30,
        "caches": 5 << 30, "logs": 2 << 30, "database": 730 << 20, "work": 44 << 20, "other": 9 << 20,
    }  # fmt: skip
    return Occupied(tuple(kinds.items()), 412 << 30, 937 << 30)
