"""Services that answer from memory: pages of every state without an engine, a runner or a database.

For tests of what the web makes of the services' answers. That the answers themselves are right is tested with the real
services in tests/integration/test_web_*.py.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from fixture_control import FixtureBulk, FixtureControl, FixturePlans, FixtureRuns
from fixture_figures import (
    FixtureChanges,
    FixtureDeployments,
    FixtureExpectations,
    FixtureRunners,
    FixtureTrends,
    FixtureUsage,
)
from fixture_files import collect
from fixture_installation import FixtureInstallation
from fixture_logs import GROUPED, LOG, FixtureLog, huge_log
from fixture_people import FixtureTenants
from fixture_repositories import (
    FixtureBrowsing,
    FixtureCaches,
    FixtureCatalog,
    FixtureEnvironments,
    FixtureMoments,
    FixtureRemoval,
    FixtureSources,
)
from fixture_runs import (
    NASTY,
    NOW,
    asking_run,
    broken_run,
    busy_run,
    diverged_run,
    failed_run,
    passed_run,
    waited_run,
    wide_run,
)

from stepwell.ci.artifacts import Artifacts
from stepwell.ci.reports import Reports
from stepwell.ci.results import Results
from stepwell.engine.entries import Entry
from stepwell.engine.specs import Note
from stepwell.settings import Settings
from stepwell.store.blobs import BlobFiles


@dataclass
class FixtureServices:
    """Stands where `stepwell.ci.services.Services` stands."""

    settings: Settings
    empty: bool = False
    stopped: list[str] = field(default_factory=list)
    logged: dict[tuple[str, str, int], FixtureLog] = field(default_factory=dict)

    def __post_init__(self) -> None:
        shown = (
            busy_run(), failed_run(), passed_run(), waited_run(), diverged_run(), broken_run(), wide_run(),
            asking_run(1830), asking_run(1831), asking_run(1832, environment="", fields={}),
        )  # fmt: skip
        self.views = {v.summary.id: v for v in shown}
        self.decided: list[tuple[str, str, bool, str, Any]] = []
        self.entry_callbacks: list[Callable[[Entry | Note, Any], None]] = []
        self.log_callbacks: list[Callable[[Any], None]] = []
        self.tenants = FixtureTenants(self)
        self.runs = FixtureRuns(self)
        self.control = FixtureControl(self)
        self.bulk = FixtureBulk(self)
        self.plans = FixturePlans()
        blobs = BlobFiles(self.settings.state / "blobs")
        self.results = Results(self.runs, blobs)  # type: ignore[arg-type]
        self.artifacts = Artifacts(self.runs, blobs)  # type: ignore[arg-type]
        self.reports = Reports(self.runs, blobs)  # type: ignore[arg-type]
        self.catalog = FixtureCatalog(self)
        self.environments = FixtureEnvironments()
        self.caches = FixtureCaches(self)
        self.moments = FixtureMoments()
        self.trends = FixtureTrends(self)
        self.sources = FixtureSources()
        self.changes = FixtureChanges()
        self.expectations = FixtureExpectations()
        self.deployments = FixtureDeployments(self.changes)
        self.browsing = FixtureBrowsing(self)
        self.removal = FixtureRemoval(self)
        self.usage = FixtureUsage(self)
        self.runners = FixtureRunners(self)
        self.installation = FixtureInstallation(self.settings, NOW, self.empty)
        self.engine = _Feed(self.entry_callbacks, "subscribe")
        self.logs = _Feed(self.log_callbacks, "follow")
        self.repositories = self.pushes = None
        busy = self.views["run1842"]
        if not self.empty:
            kept = collect(blobs, "run1842", NASTY)
            steps = (replace(one, collected=kept) if one.name == "unit 3.13" else one for one in busy.steps)
            busy = self.views["run1842"] = replace(busy, steps=tuple(steps))
        for one in busy.steps:
            data = LOG if one.name == "unit 3.13" else f"\x1b[32m$\x1b[0m make {one.name}\n{NASTY}\n".encode()
            self.logged["run1842", one.key, 1] = FixtureLog(data, one.state != "running")
        self.logged["run1842", "install#1", 1] = FixtureLog(GROUPED)
        self.logged["run1840", "hello#1", 1] = FixtureLog(huge_log())


class _Feed:
    """Takes callbacks as the engine and the log store do."""

    def __init__(self, callbacks: list[Any], name: str) -> None:
        self._callbacks = callbacks
        setattr(self, name, self._add)

    def _add(self, callback: Any) -> Callable[[], None]:
        self._callbacks.append(callback)
        return lambda: self._callbacks.remove(callback)


def services(state: Path, empty: bool = False, base: str = "http://testserver") -> FixtureServices:
    """Make services over a state directory; `empty`: of somebody who has just signed in for the first time."""
    return FixtureServices(Settings(state=state, url=base), empty)
