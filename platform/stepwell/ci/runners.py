"""The runner: what goes on where at this moment, what waits for room and why, and what the host can do.

A tenant is told of its own runs one by one. How busy the host is with those of others, and what exactly its operator
could change, is for people who may create tenants (`admin`) only.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from sqlalchemy import select

from stepwell.ci.answers import answer_of
from stepwell.ci.history import RUNS, summary_of
from stepwell.ci.metering import DiskOfRunner
from stepwell.ci.runs import Runs
from stepwell.ci.views import RunSummary
from stepwell.engine.present import MOST_TOLD, Counted, Present
from stepwell.engine.thread import EngineThread
from stepwell.store.store import Store
from stepwell.tenants.actors import Actor
from stepwell.tenants.scope import visible

QUEUED = 50
"""Runs that have not begun, of which the newest are told."""


@dataclass(frozen=True)
class Ability:
    """Something that the host can do or not, as `stepwell doctor` says it; `remedy` is what its operator can change."""

    name: str
    ok: bool
    detail: str = ""
    remedy: str = ""


@dataclass(frozen=True)
class FirstOutputs:
    """How long the last `steps` container steps took to their first output, in seconds; pulls and setups count."""

    steps: int
    median: float
    p95: float


@dataclass(frozen=True)
class Standing:
    """What stands ready: blank isolates of `wanted_blanks`, and warm containers by tenant, of `most_warm` in all."""

    blanks: int = 0
    wanted_blanks: int = 0
    warm: Mapping[str, int] = field(default_factory=dict)
    most_warm: int = 0
    first_outputs: FirstOutputs | None = None


class Host(DiskOfRunner, Protocol):
    """The host of a runner. `abilities` blocks, for seconds when nobody has asked lately; any thread may call it.

    `standing` is called on the engine's loop and must not block.
    """

    @property
    def name(self) -> str: ...

    def abilities(self) -> Sequence[Ability]: ...

    def standing(self) -> Standing: ...

    def forget_repository(self, scope: str, repository: str) -> bool:
        """Remove what the host keeps for a repository whose runs are gone; False when some has to be asked for again.

        Blocks; `scope` is its full name, `repository` its id.
        """
        ...


@dataclass(frozen=True)
class Work:
    """A step, or a run's own code (`key` ""), that is executed now; see stepwell.engine.present.Doing."""

    run: RunSummary
    key: str
    name: str
    kind: str
    image: str
    attempt: int
    since: float | None


@dataclass(frozen=True)
class Waiter:
    """A run, or a step of it, that would go on if it could, and what it waits for."""

    run: RunSummary
    key: str
    name: str
    reason: str


@dataclass(frozen=True)
class RunnerView:
    """A runner as people of one tenant see it. `used` is the tenant's, `others` is None for those it is not for."""

    name: str
    turns: int
    steps: int
    per_tenant: int
    used: Counted
    others: Counted | None
    work: tuple[Work, ...]
    waiters: tuple[Waiter, ...]
    standing: Standing
    abilities: tuple[Ability, ...]


class Runners:
    """Looks at the one runner of this server. Blocks; for any thread but the engine's."""

    def __init__(self, thread: EngineThread, runs: Runs, store: Store, host: Host | None) -> None:
        self._thread = thread
        self._runs = runs
        self._store = store
        self._host = host

    def of(self, actor: Actor, tenant: str) -> list[RunnerView]:
        """Return the runners that execute a tenant's runs. Raises NotFound."""
        actor.require("read", tenant)
        present, standing = answer_of(self._thread, self._look(tenant))
        runs = self._named(actor, {one.run for one in present.doing} | {one.run for one in present.waits})
        work = tuple(
            Work(runs[one.run], one.key, one.name, one.kind, one.image, one.attempt, one.since)
            for one in present.doing
            if one.run in runs
        )
        waiters = tuple(
            Waiter(runs[one.run], one.key, one.name, one.reason) for one in present.waits if one.run in runs
        )
        known = {one.run.id for one in waiters}
        queued = self._runs.list(actor, tenant=tenant, state="queued", limit=QUEUED).items
        waiters += tuple(Waiter(run, "", "", run.reason) for run in queued if run.id not in known)
        others = _sum(count for name, count in present.counted.items() if name != tenant) if actor.admin else None
        if not actor.admin:
            standing = replace(standing, blanks=0, warm={tenant: standing.warm.get(tenant, 0)}, first_outputs=None)
        used = present.counted.get(tenant, Counted())
        return [
            RunnerView(
                self._host.name if self._host else "local", present.turns, present.steps, present.per_tenant,
                replace(used, waits=max(used.waits, len(waiters))), others, work, waiters, standing,
                self._abilities(actor),
            )
        ]  # fmt: skip

    async def _look(self, tenant: str) -> tuple[Present, Standing]:
        present = await self._thread.engine.present({tenant})
        return present, self._host.standing() if self._host else Standing()

    def _named(self, actor: Actor, runs: set[str]) -> dict[str, RunSummary]:
        """Return those of these runs that the actor may see, by id."""
        wanted = sorted(runs)[: 2 * MOST_TOLD]
        query = select(RUNS).where(RUNS.c.id.in_(wanted), visible(actor, RUNS.c.tenant, RUNS.c.scope))
        return {run.id: run for run in map(summary_of, self._store.select(query))}

    def _abilities(self, actor: Actor) -> tuple[Ability, ...]:
        found = tuple(self._host.abilities()) if self._host else ()
        return found if actor.admin else tuple(Ability(one.name, one.ok) for one in found)


def _sum(counts: Iterable[Counted]) -> Counted:
    found = list(counts)
    return Counted(
        sum(one.code for one in found), sum(one.isolates for one in found), sum(one.containers for one in found),
        sum(one.waits for one in found),
    )  # fmt: skip
