"""The product's parts put together, without HTTP: what the web and the command line are handed.

In two halves, because the engine must run before anything else: `Foundation` is what the engine's seams need,
`Services` what stands on the running engine.
"""

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

from stepwell.ci.answers import answer_of
from stepwell.ci.approvals import EnvironmentGate
from stepwell.ci.artifacts import Artifacts
from stepwell.ci.beginnings import Beginnings
from stepwell.ci.browsing import Browsing
from stepwell.ci.bulk import BulkRuns
from stepwell.ci.caches import CachePreparer, Caches
from stepwell.ci.catalog import Catalog
from stepwell.ci.changes import GreenChanges
from stepwell.ci.code import RepositoryCode
from stepwell.ci.control import Control
from stepwell.ci.declarations import DeclarationCache
from stepwell.ci.deployments import Deployments
from stepwell.ci.describing import describe
from stepwell.ci.environments import Environments
from stepwell.ci.expected import Expectations
from stepwell.ci.expiring import Expiring, days_of_server, policy_of
from stepwell.ci.history import History
from stepwell.ci.installation import Installation
from stepwell.ci.keeper import Keeper
from stepwell.ci.launch import Launcher
from stepwell.ci.manual import Starter
from stepwell.ci.metering import FilesOfRepositories, Meter
from stepwell.ci.moments import MomentFiles, Moments
from stepwell.ci.newest import Newest
from stepwell.ci.plan_texts import PlanTexts
from stepwell.ci.plans import Plans
from stepwell.ci.promotion import Promotions
from stepwell.ci.pushes import Pushes
from stepwell.ci.removal import Leftovers, Removal, Removed
from stepwell.ci.reports import Reports
from stepwell.ci.results import Results
from stepwell.ci.retention import Aged, Files, Policy, Retention
from stepwell.ci.runners import Host, Runners
from stepwell.ci.runs import Runs
from stepwell.ci.schedules import Schedules
from stepwell.ci.secrets_use import SecretsPreparer
from stepwell.ci.sources import Sources
from stepwell.ci.trends import Trends
from stepwell.ci.upkeep import Upkeep
from stepwell.ci.usage import Usage
from stepwell.ci.views import Problem
from stepwell.dynamic import route
from stepwell.engine.engine import Engine
from stepwell.engine.seams import Code, Gate, Isolates, Loader, Preparer
from stepwell.engine.state import StepState
from stepwell.engine.thread import EngineThread
from stepwell.errors import Conflict
from stepwell.repos.repositories import Repositories
from stepwell.settings import Settings
from stepwell.store.blobs import BlobFiles
from stepwell.store.caches import CacheFiles
from stepwell.store.logs import LogStore
from stepwell.store.removals import removals_held
from stepwell.store.reuses import ReuseFiles
from stepwell.store.store import Store
from stepwell.store.tables import Repository
from stepwell.tenants import Tenants

DAY_SECONDS = 86_400.0


@dataclass(frozen=True)
class Foundation:
    """What is kept, and the engine's seams to it."""

    settings: Settings
    store: Store
    tenants: Tenants
    repositories: Repositories
    logs: LogStore
    blobs: BlobFiles
    environments: Environments
    plan_texts: PlanTexts
    code: RepositoryCode
    loader: Loader
    gate: Gate
    preparer: Preparer
    promotions: Promotions

    @classmethod
    def open(cls, settings: Settings) -> "Foundation":
        """Open the state directory."""
        settings.state.mkdir(parents=True, exist_ok=True)
        store = Store(settings.database)
        tenants = Tenants(store, settings.state / "key")
        repositories = Repositories(settings.state)
        repositories.remove_leftovers()
        environments = Environments(store, tenants)
        plan_texts = PlanTexts(store)
        code = RepositoryCode(repositories, plan_texts.files)
        return cls(
            settings=settings,
            store=store,
            tenants=tenants,
            repositories=repositories,
            logs=LogStore(settings.state / "logs"),
            blobs=BlobFiles(settings.state / "blobs"),
            environments=environments,
            plan_texts=plan_texts,
            code=code,
            loader=route(code.load),
            gate=EnvironmentGate(environments),
            preparer=CachePreparer(SecretsPreparer(tenants.secrets, environments, tenants.registries, store), store),
            promotions=Promotions(store, repositories, tenants, settings.state),
        )

    def close(self) -> None:
        """Write what is left of the logs and release files."""
        self.logs.close()
        self.repositories.close()
        self.store.close()


@dataclass(frozen=True)
class Services:
    """What pages, API, git endpoint and command line use."""

    settings: Settings
    store: Store
    tenants: Tenants
    repositories: Repositories
    logs: LogStore
    engine: Engine
    thread: EngineThread
    environments: Environments
    declarations: DeclarationCache
    schedules: Schedules
    catalog: Catalog
    pushes: Pushes
    runs: Runs
    control: Control
    bulk: BulkRuns
    results: Results
    artifacts: Artifacts
    reports: Reports
    moments: Moments
    keeper: Keeper
    plans: Plans
    sources: Sources
    retention: Retention
    upkeep: Upkeep
    removal: Removal
    host: Host | None
    meter: Meter
    installation: Installation

    @classmethod
    def build(
        cls, base: Foundation, thread: EngineThread, isolates: Isolates, files: MomentFiles | None = None,
        host: Host | None = None,
    ) -> "Services":  # fmt: skip
        """Put the parts together around a running engine."""
        store, repositories = base.store, base.repositories
        outlines = _describing(thread, isolates, outline=True)
        declarations = DeclarationCache(store, repositories, base.code, _describing(thread, isolates))
        history = History(store, repositories)
        beginnings = Beginnings(store)
        launcher = Launcher(thread, beginnings)
        schedules = Schedules(store, repositories, declarations, launcher)
        starter = Starter(base.tenants.scope, repositories, declarations, launcher, history)
        pushes = Pushes(store, repositories, declarations, launcher, base.settings.base_url)
        caches = CacheFiles(base.settings.state / "caches", base.settings.caches_gb << 30)
        meter = Meter(store, base.logs, base.blobs, FilesOfRepositories(repositories, caches), runner=host)
        retention, removal = _removing(base, thread, beginnings, meter, _beside(base, declarations, host))
        upkeep = Upkeep(store, repositories, beginnings, base.settings.git_memory_mb << 20)
        runs = Runs(history, starter, launcher, base.environments, base.logs, store=store, audit=base.tenants.audit)
        services = cls(
            settings=base.settings,
            store=store,
            tenants=base.tenants,
            repositories=repositories,
            logs=base.logs,
            engine=thread.engine,
            thread=thread,
            environments=base.environments,
            declarations=declarations,
            schedules=schedules,
            catalog=_catalog(base, declarations, schedules),
            pushes=pushes,
            runs=runs,
            control=Control(history, launcher, Newest(repositories, declarations), store, base.tenants.audit),
            bulk=BulkRuns(thread, store, base.tenants.audit, beginnings),
            results=Results(runs, base.blobs),
            artifacts=Artifacts(runs, base.blobs),
            reports=Reports(runs, base.blobs),
            moments=Moments(runs, files),
            keeper=_keeper(base, thread, pushes, removal=removal, retention=retention, upkeep=upkeep, meter=meter),
            plans=Plans(base.tenants.scope, repositories, base.plan_texts, launcher, outlines),
            sources=Sources(base.tenants.scope, base.code, base.plan_texts.files),
            retention=retention,
            upkeep=upkeep,
            removal=removal,
            host=host,
            meter=meter,
            installation=Installation(base.settings, thread, store, host, failing=upkeep.failing),
        )
        services._connect(history)
        base.promotions.follow(schedules.sync)
        return services

    @cached_property
    def trends(self) -> Trends:
        """How pipelines fare."""
        return Trends(self.store)

    @cached_property
    def caches(self) -> Caches:
        """What steps have saved for later runs."""
        files = CacheFiles(self.settings.state / "caches", self.settings.caches_gb << 30)
        return Caches(self.tenants.scope, files, self.store, self.tenants.audit)

    @cached_property
    def expectations(self) -> Expectations:
        """What is to come in runs."""
        return Expectations(History(self.store, self.repositories), self.tenants.scope, self.runs)

    @cached_property
    def changes(self) -> GreenChanges:
        """What changed since the last green run."""
        history = History(self.store, self.repositories)
        return GreenChanges(history, self.tenants.scope, self.repositories, self.runs)

    @cached_property
    def browsing(self) -> Browsing:
        """Branches, commits and files of repositories."""
        return Browsing(self.tenants.scope, self.repositories)

    @cached_property
    def runners(self) -> Runners:
        """What goes on where now."""
        return Runners(self.thread, self.runs, self.store, self.host)

    @cached_property
    def usage(self) -> Usage:
        """How many runs were begun lately."""
        return Usage(self.store)

    @cached_property
    def deployments(self) -> Deployments:
        """What is in environments, and what goes out to them."""
        return Deployments(self.tenants.scope, self.repositories, self.runs)

    def _connect(self, history: History) -> None:
        """Have changes of rules looked at by the runs that wait under them, and pushes by the schedules."""

        def recheck(tenant: str, repository: str) -> None:
            for run in history.waiting_under_rules(tenant, repository):
                self.thread.submit(self.engine.recheck(run))

        def sync(repository: Repository, commit: str) -> None:
            self.schedules.sync(repository, commit)

        def more_room() -> None:
            self.thread.submit(self.engine.caps_changed())

        self.environments.changed = recheck
        self.tenants.quotas.changed = more_room
        self.pushes.default_branch_moved = sync
        self.pushes.dealt_with = self.keeper.nudge

    def start(self) -> None:
        """Deal with pushes that a crash cut short, now and every minute; arm the schedules."""
        self.keeper.start()
        self.schedules.start()

    def stop(self) -> None:
        """Start nothing more. The engine is its owner's to stop."""
        self.schedules.stop()
        self.retention.stop()
        self.keeper.stop()
        self.upkeep.stop()
        self.pushes.finish()


def _catalog(base: Foundation, declarations: DeclarationCache, schedules: Schedules) -> Catalog:
    days = days_of_server(base.settings)
    return Catalog(base.store, base.tenants, base.repositories, declarations, schedules, artifacts_days=days)


def _removing(
    base: Foundation, thread: EngineThread, beginnings: Beginnings, meter: Meter, beside: Callable[[Removed], bool]
) -> tuple[Retention, Removal]:
    """Return what removes old runs, and what removes repositories with all their runs and what is kept beside."""
    files_of_runs: list[Files] = [base.logs, base.blobs, ReuseFiles(base.settings.state / "reuse"), meter]

    def remove(runs: Sequence[str]) -> Sequence[str]:
        return answer_of(thread, thread.engine.remove(runs))

    def terminate(run: str) -> None:
        answer_of(thread, thread.engine.terminate(run, "stepwell", "Its repository was deleted."))

    retention = Retention(Aged(base.store, Policy.of(base.settings)), base.tenants.audit, files_of_runs, remove)
    left = Leftovers(files_of_runs, remove, terminate, beside)
    return retention, Removal(base.store, base.tenants, base.repositories, beginnings, left)


def _beside(base: Foundation, declarations: DeclarationCache, host: Host | None) -> Callable[[Removed], bool]:
    """Return who removes what is kept for a repository beside its git directory and its runs."""
    caches = CacheFiles(base.settings.state / "caches", 0)
    reuses = ReuseFiles(base.settings.state / "reuse")

    def forget(repository: Removed) -> bool:
        owner = f"{repository.tenant}/{repository.id}"
        reuses.forget(owner)
        gone = host.forget_repository(repository.scope, repository.id) if host else True
        if not (caches.forget(owner) and gone):
            return False
        declarations.forget(repository.tenant)
        return True

    return forget


def _describing(
    thread: EngineThread, isolates: Isolates, *, outline: bool = False
) -> Callable[[str, Code], dict[str, Any] | Problem]:
    """Have code say in an isolate of its tenant which pipelines it declares; with `outline` also its steps."""

    def ask(tenant: str, code: Code) -> dict[str, Any] | Problem:
        return answer_of(thread, describe(isolates, tenant, code, outline=outline))

    return ask


def _keeper(
    base: Foundation,
    thread: EngineThread,
    pushes: Pushes,
    *,
    removal: Removal,
    retention: Retention,
    upkeep: Upkeep,
    meter: Meter,
) -> Keeper:
    """Make what looks after all this from time to time."""
    expiring = _expiring(base, thread)

    def reconcile(older_than_seconds: float) -> None:
        pushes.reconcile(older_than_seconds)
        removal.clear()

    def retain() -> None:
        upkeep.begin()
        retention.remove_some()
        expiring.remove_some()
        base.plan_texts.sweep()

    def relax() -> None:
        answer_of(thread, thread.engine.relax())
        base.store.relax()
        seconds = base.settings.keep_layers_days * DAY_SECONDS
        with suppress(Conflict), removals_held(base.settings.state):  # not while a backup is being made
            thread.submit(thread.engine.let_go_of_layers(seconds))  # not waited for: these may be many files

    return Keeper(reconcile, pushes.finish, relax=relax, retain=retain, count=meter.count)


def _expiring(base: Foundation, thread: EngineThread) -> Expiring:
    """Return who removes artifacts before their runs, where the operator or a repository wants that."""

    def steps_of(run: str) -> Iterable[StepState]:
        state = answer_of(thread, thread.engine.get(run))
        return state.steps.values() if state else ()

    policy = partial(policy_of, base.settings, base.store)
    return Expiring(base.store, policy, base.tenants.audit, base.blobs, steps_of)
