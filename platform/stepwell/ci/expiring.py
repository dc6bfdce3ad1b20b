"""Artifacts go before their run does, where the operator says so: the list of them stays, and says when they went.

Kept whatever their age, as their runs are: those of a repository's newest run, and of the last run of each pipeline
that passed on the default branch. What else a run has as blobs (results, reports and what was read of them) stays.

Runs stay, so a look at all of them begins anew only once an hour. Of a run that a crash left half done, the rest goes
at the next look.
"""

import json
import time
from collections.abc import Callable, Iterable, Sequence
from itertools import groupby

from stepwell.ci.retention import LOOKED_AT, Aged, Over
from stepwell.engine.state import StepState
from stepwell.errors import Conflict, Unavailable
from stepwell.store.blobs import BlobFiles
from stepwell.store.removals import removals_held
from stepwell.tenants.actors import Actor
from stepwell.tenants.audit import Audit

PAUSE_SECONDS = 3600.0
_SELF = Actor(name="stepwell")

StepsOf = Callable[[str], Iterable[StepState]]
"""The steps of a run, as its journal says."""


class Expiring:
    """Removes artifacts of runs that a policy lets go of, some at each call."""

    def __init__(
        self, aged: Aged, audit: Audit, blobs: BlobFiles, steps_of: StepsOf, now: Callable[[], float] = time.time
    ) -> None:
        self._aged = aged
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
        try:
            with removals_held(self._aged.store.database.parent):
                return self._look()
        except Conflict:  # a backup is being made; the next minute will do
            return 0

    def _look(self) -> int:
        runs, after = self._aged.page(self._now(), self._after, LOOKED_AT)
        gone = 0
        done: list[Over] = []
        for run in runs:
            if self._blobs.any_of(run.id) and (self._blobs.expired_at(run.id, whole=True) or 0) < run.ended_at:
                count = self._expire(run)
                gone += count
                done += [run] if count else []
        self._write_down(done)
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

    def _write_down(self, done: Sequence[Over]) -> None:
        if not done:
            return
        of_scope = sorted(done, key=lambda run: (run.tenant, run.scope, run.number))
        with self._aged.store.write() as session:
            for (tenant, scope), runs in groupby(of_scope, key=lambda run: (run.tenant, run.scope)):
                numbers = [run.number for run in runs]
                days = self._aged.policy.days
                self._audit.add(session, _SELF, tenant, "artifacts.remove", scope, numbers=numbers, after_days=days)
