"""Artifacts go before their run does, where the operator or the repository's settings say so: the list of them stays,
and says when they went.

Kept whatever their age, as their runs are: those of a repository's newest run, and of the last run of each pipeline
that passed on the default branch. What else a run has as blobs (results, reports and what was read of them) stays.

Runs stay, so a look at all of them begins anew only once an hour, by the settings of then. Of a run that a crash left
half done, the rest goes at the next look.
"""

import json
import math
import time
from collections.abc import Callable, Iterable, Sequence
from itertools import groupby

from stepwell.ci.retention import LOOKED_AT, Aged, Over, Policy
from stepwell.engine.state import StepState
from stepwell.errors import Conflict, Unavailable
from stepwell.settings import Settings
from stepwell.store.blobs import BlobFiles
from stepwell.store.removals import removals_held
from stepwell.store.store import Store
from stepwell.tenants.actors import Actor
from stepwell.tenants.audit import Audit

PAUSE_SECONDS = 3600.0
_SELF = Actor(name="stepwell")

StepsOf = Callable[[str], Iterable[StepState]]
"""The steps of a run, as its journal says."""


def days_of_server(settings: Settings) -> float:
    """Return for how many days the server keeps artifacts, by themselves or with their run: a repository's bound."""
    return min(settings.keep_runs_days, settings.keep_artifacts_days or math.inf)


def policy_of(settings: Settings, store: Store) -> Policy | None:
    """Return which artifacts go before their run; None when none do."""
    kept = store.rows(
        "SELECT tenant || '/' || name, keep_artifacts_days FROM repositories WHERE keep_artifacts_days IS NOT NULL"
    )
    if settings.keep_artifacts_days is None and not kept:
        return None
    return Policy(math.inf if settings.keep_artifacts_days is None else settings.keep_artifacts_days, 1, dict(kept))


def may_expire(blobs: BlobFiles, run: Over) -> bool:
    """Say whether a run has files, and its artifacts have not been removed yet."""
    return blobs.any_of(run.id) and (blobs.expired_at(run.id, whole=True) or 0) < run.ended_at


class Expiring:
    """Removes artifacts of runs that a policy lets go of, some at each call. The policy is asked for at each."""

    def __init__(
        self, store: Store, policy: Callable[[], Policy | None], audit: Audit, blobs: BlobFiles, steps_of: StepsOf,
        *, now: Callable[[], float] = time.time,
    ) -> None:  # fmt: skip
        self._store = store
        self._policy = policy
        self._audit = audit
        self._blobs = blobs
        self._steps_of = steps_of
        self._now = now
        self._after: Over | None = None
        self._not_before = 0.0

    def remove_some(self) -> int:
        """Look at the next runs that ended long ago; how many files are gone."""
        if self._now() < self._not_before:
            return 0
        policy = self._policy()
        if policy is None:
            return 0
        try:
            with removals_held(self._store.database.parent):
                return self._look(policy)
        except Conflict:  # a backup is being made; the next minute will do
            return 0

    def _look(self, policy: Policy) -> int:
        runs, after = Aged(self._store, policy).page(self._now(), self._after, LOOKED_AT)
        gone = 0
        done: list[Over] = []
        for run in runs:
            if may_expire(self._blobs, run):
                count = self._expire(run)
                gone += count
                done += [run] if count else []
        self._write_down(policy, done)
        self._after = after
        if after is None:
            self._not_before = self._now() + PAUSE_SECONDS
        return gone

    def _expire(self, run: Over) -> int:
        kept: set[str] = set()
        doomed: set[str] = set()
        for step in self._steps_of(run.id):
            kept |= {str(step.blob["id"])} if step.blob else set()
            if step.collected:
                artifacts, others = self._named(run.id, str(step.collected["id"]))
                doomed |= artifacts
                kept |= others | {str((step.collected.get("tests") or {}).get("id"))}
        return self._blobs.expire(run.id, sorted(doomed - kept), self._now())

    def _named(self, run: str, id: str) -> tuple[set[str], set[str]]:
        """Return the artifacts that a list names, and what else is there of it."""
        try:
            listed = json.loads(self._blobs.path(run, id).read_bytes())
        except (OSError, Unavailable):  # gone already: then nothing says what it named
            return set(), {id}
        blobs: Sequence[str] = listed["blobs"]
        named = {kind: {blobs[number] for *_, number in listed.get(kind) or ()} for kind in ("artifacts", "reports")}
        return named["artifacts"], named["reports"] | {id}

    def _write_down(self, policy: Policy, done: Sequence[Over]) -> None:
        if not done:
            return
        of_scope = sorted(done, key=lambda run: (run.tenant, run.scope, run.number))
        with self._store.write() as session:
            for (tenant, scope), runs in groupby(of_scope, key=lambda run: (run.tenant, run.scope)):
                numbers = [run.number for run in runs]
                days = policy.days_of(scope)
                self._audit.add(session, _SELF, tenant, "artifacts.remove", scope, numbers=numbers, after_days=days)
