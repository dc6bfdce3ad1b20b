"""Cron triggers: which moments start which runs.

The schedules of each repository's default branch are rows, replaced at each push to it; APScheduler keeps one job per
row, for the row's next moment, in memory only. A moment that passes while the server is down is caught up once if it is
not older than GRACE_SECONDS. The run's id follows from schedule and moment: a moment starts one run, whatever happens.
"""

import logging
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from sqlmodel import Session, select
from sqlmodel.sql.expression import SelectOfScalar

from stepwell.ci import triggers
from stepwell.ci.crontab import next_after
from stepwell.ci.declarations import DeclarationCache
from stepwell.ci.events import message_of
from stepwell.ci.history import History
from stepwell.ci.launch import Cause, Launcher, Place, id_of
from stepwell.ci.views import ScheduleView
from stepwell.errors import StepwellError
from stepwell.repos.repositories import Repositories
from stepwell.store.store import Store
from stepwell.store.tables import Repository, Schedule

GRACE_SECONDS = 3600.0
_LOGGER = logging.getLogger(__name__)
Key = tuple[str, str, str, str]
"""Repository, pipeline, schedule, time zone."""


class Schedules:
    """Keeps schedules and fires them, on threads of its own."""

    def __init__(
        self,
        store: Store,
        repositories: Repositories,
        declarations: DeclarationCache,
        launcher: Launcher,
        *,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._repositories = repositories
        self._declarations = declarations
        self._launcher = launcher
        self._history = History(store, repositories)
        self._now = now
        self._scheduler: Any = None  # APScheduler is imported when schedules start: not before the engine

    def start(self) -> None:
        """Arm every schedule; moments missed a short while ago fire now."""
        from apscheduler.schedulers.background import BackgroundScheduler  # type: ignore[import-untyped]

        self._scheduler = BackgroundScheduler(timezone=UTC, job_defaults={"misfire_grace_time": None})
        self._scheduler.start()
        with self._store.read() as session:
            rows = session.exec(select(Schedule)).all()
        for row in rows:
            self._arm(row)

    def stop(self) -> None:
        """Fire no more."""
        if self._scheduler is not None:
            # Not waiting for what fires right now: APScheduler would wait with the lock that its re-arming needs.
            self._scheduler.shutdown(wait=False)
            self._scheduler = None

    def sync(self, repository: Repository, commit: str) -> None:
        """Replace a repository's schedules by those of this commit of its default branch."""
        declared = self._declarations.read(repository.tenant, repository.id, commit)
        wanted = {
            (repository.id, pipeline.name, schedule, zone)
            for pipeline, schedule, zone in triggers.crons(declared.pipelines)
        }
        with self._store.read() as session:
            if {_key(row) for row in session.exec(_rows(repository.id))} == wanted:
                return  # as nearly always
        with self._store.write() as session:
            if session.get(Repository, repository.id) is None:
                return  # deleted since it was pushed to
            known = {_key(row): row for row in session.exec(_rows(repository.id))}
            for key in set(known) - wanted:
                session.delete(known[key])
            rows = [self._put(session, known.get(key), key, commit) for key in sorted(wanted)]
        for key in set(known) - wanted:
            self._disarm(key)
        for row in rows:
            self._arm(row)

    def of(self, repository: Repository) -> list[ScheduleView]:
        """Return the schedules of a repository that the caller may see, the next one first."""
        with self._store.read() as session:
            rows = session.exec(_rows(repository.id)).all()
        views = [ScheduleView(row.pipeline, row.cron, row.timezone, self._due(row), row.fired_at) for row in rows]
        return sorted(views, key=lambda one: (one.due is None, one.due or 0.0, one.pipeline, one.cron))

    def _due(self, row: Schedule) -> float | None:
        try:
            return self.next_moment(row)
        except (ValueError, KeyError, OverflowError):  # as when arming: it cannot be read, so it will not fire
            return None

    def fire(self, key: Key, moment: float) -> None:
        """Start the run of a moment and arm the next one."""
        with self._store.read() as session:
            row = session.get(Schedule, key)
            repository = session.get(Repository, key[0])
        if row is None or repository is None:
            return
        try:
            self._launch(repository, key, moment)
        except StepwellError:
            _LOGGER.exception("The schedule %s of %s could not start its run.", key[2], repository.full_name)
        with self._store.write() as session:
            row = session.get(Schedule, key)
            if row is not None:
                row.fired_at = moment
        if row is not None:
            self._arm(row)

    def _put(self, session: Session, row: Schedule | None, key: Key, commit: str) -> Schedule:
        if row is None:
            repository, pipeline, schedule, zone = key
            row = Schedule(
                repository=repository,
                pipeline=pipeline,
                cron=schedule,
                timezone=zone,
                sha=commit,
                created_at=self._now(),
            )
        row.sha = commit
        session.add(row)
        return row

    def next_moment(self, row: Schedule) -> float | None:
        """Return when the schedule is due: after the last time it fired, but not further back than the grace."""
        since = max(row.fired_at or row.created_at, self._now() - GRACE_SECONDS)
        moment = next_after(row.cron, row.timezone, since)
        while moment is not None and moment <= self._now():
            following = next_after(row.cron, row.timezone, moment)
            if following is None or following > self._now():
                break
            moment = following  # of several missed moments the last one fires
        return moment

    def _arm(self, row: Schedule) -> None:
        from apscheduler.triggers.date import DateTrigger  # type: ignore[import-untyped]

        try:
            moment = self.next_moment(row)
        except (ValueError, KeyError, OverflowError):  # one row that cannot be read must not keep the server down
            _LOGGER.exception("The schedule %r of repository %s cannot be read.", row.cron, row.repository)
            return
        if self._scheduler is None or moment is None:
            return
        when = DateTrigger(datetime.fromtimestamp(moment, UTC))
        job = "\0".join(_key(row))
        self._scheduler.add_job(self.fire, when, args=[_key(row), moment], id=job, replace_existing=True)

    def _disarm(self, key: Key) -> None:
        if self._scheduler is not None and self._scheduler.get_job("\0".join(key)) is not None:
            self._scheduler.remove_job("\0".join(key))

    def _launch(self, repository: Repository, key: Key, moment: float) -> None:
        reader = self._repositories.reader(repository.id)
        sha = reader.resolve(f"refs/heads/{repository.default_branch}")
        if sha is None:
            return
        declared = self._declarations.read(repository.tenant, repository.id, sha)
        name, schedule, zone = key[1:]
        for pipeline, known, where in triggers.crons(declared.pipelines):
            if (pipeline.name, known, where) == (name, schedule, zone):
                place = Place(repository, reader.commit(sha), declared.tree)
                self._launcher.start(place, pipeline, self._cause(place, key, moment))
                return

    def _cause(self, place: Place, key: Key, moment: float) -> Cause:
        branch = place.repository.default_branch
        event = {
            "kind": "cron",
            "sha": place.commit.sha,
            "before": None,
            "branch": branch,
            "message": message_of(place.commit),
            **self._history.changed_since_passed(place.repository, key[1], branch, place.commit.sha),
        }
        more = {"schedule": key[2], "timezone": key[3], "due": moment}
        return Cause(id_of("cron", *key, int(moment)), "cron", "", event, branch, more=more)


def _rows(repository: str) -> SelectOfScalar[Schedule]:
    return select(Schedule).where(Schedule.repository == repository)


def _key(row: Schedule) -> Key:
    return (row.repository, row.pipeline, row.cron, row.timezone)
