"""The runs of the journal, read by SQL: lists, single rows, entries. Reads only, each narrowed by who asks.

`runs` and `journal` belong to the engine's journal and are described here, not made.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from sqlalchemy import Column, Float, Integer, MetaData, String, Table, and_, func, literal_column, or_, select
from sqlalchemy.sql import Select

from stepwell.ci.events import paths_of
from stepwell.ci.views import RunLink, RunSummary, WaitingView
from stepwell.engine.entries import Entry
from stepwell.engine.versions import read
from stepwell.errors import Invalid, NotFound
from stepwell.repos.repositories import Repositories
from stepwell.store.asked import asked_of
from stepwell.store.packed import unpack
from stepwell.store.store import Store
from stepwell.store.tables import Repository
from stepwell.store.told import COMMIT_CHARACTERS, commit_told, told
from stepwell.tenants.actors import Actor
from stepwell.tenants.scope import visible, visible_sql

_METADATA = MetaData()
RUNS = Table(
    "runs",
    _METADATA,
    Column("id", String, primary_key=True),
    *(Column(name, String) for name in ("tenant", "scope", "title", "state", "reason", "metadata", "summary")),
    *(Column(name, Integer) for name in ("number", "seq", "approvals", "awake")),
    *(Column(name, Float) for name in ("created_at", "started_at", "ended_at", "updated_at")),
)
_TENANT_READ = literal_column("+runs.tenant", String)
"""The tenant as it stands in a row, not in an index."""
_NUMBERS = Table("numbers", _METADATA, Column("scope", String, primary_key=True))
JOURNAL = Table(
    "journal",
    _METADATA,
    Column("run", String, primary_key=True),
    Column("seq", Integer, primary_key=True),
    *(Column(name, String) for name in ("type", "key", "data")),
    *(Column(name, Integer) for name in ("version", "attempt", "turn")),
    Column("at", Float),
)
KINDS = ("push", "tag", "cron", "manual", "plan")
LOOKED_AT = 1000
"""Newest runs that choices are read from."""
LONGEST_TEXT = 200
LARGEST = 2**63
"""Numbers from here on are in no table."""
STATES = frozenset({"queued", "running", "waiting", "paused", "passed", "failed", "cancelled", "diverged"})
MOST_ROWS = 200


_UNDER_RULES = (
    "SELECT id FROM runs WHERE approvals > 0 AND scope IN (?, ?) UNION "
    "SELECT id FROM runs WHERE state = 'waiting' AND scope IN (?, ?) "
    "AND EXISTS (SELECT 1 FROM timers WHERE run = runs.serial AND key NOT LIKE '~%')"
)
_RUNS = f"SELECT {', '.join(column.name for column in RUNS.columns)} FROM runs WHERE"  # noqa: S608 - our own names
_NEWEST = "SELECT id FROM runs WHERE scope = value ORDER BY number DESC LIMIT 1"
_LATEST = f"{_RUNS} id IN (SELECT ({_NEWEST}) FROM json_each(?))"  # noqa: S608 - our own names
"""Each from an index: grouped by scope, SQLite reads every run."""
_ENTRIES = (
    "SELECT run, seq, at, type, key, attempt, turn, data, version FROM journal WHERE run = ? AND seq > ? "
    "ORDER BY seq LIMIT ?"
)
_ASKING = (
    "SELECT id, scope, seq, awake, created_at FROM runs "
    "WHERE tenant = ? AND approvals > 0 AND (? IS NULL OR scope = ?) ORDER BY created_at LIMIT ?"
)


@dataclass(frozen=True)
class Filter:
    """Which runs to list; empty fields do not narrow."""

    tenant: str = ""
    repository: str = ""
    state: str = ""
    pipeline: str = ""
    branch: str = ""
    sha: str = ""
    by: str = ""  # who started it
    kind: str = ""
    text: str = ""  # in the title, at the beginning of the commit's id, or the number


@dataclass(frozen=True)
class Choices:
    """What the newest runs offer to filter by, each sorted."""

    pipelines: tuple[str, ...] = ()
    branches: tuple[str, ...] = ()
    people: tuple[str, ...] = ()


class Asking(NamedTuple):
    """A run that waits for people, as short as can be: every page looks at all of them."""

    id: str
    scope: str
    seq: int
    awake: int
    created_at: float


class History:
    """Finds runs."""

    def __init__(self, store: Store, repositories: Repositories) -> None:
        self._store = store
        self._repositories = repositories

    def find(self, actor: Actor, run: str) -> RunSummary:
        """Return a run; NotFound when there is none for this actor."""
        return self._one(actor, "id = ?", (run,), f"There is no run {run!r}, or you may not see it.")

    def numbered(self, actor: Actor, tenant: str, repository: str, number: int) -> RunSummary:
        """Return a repository's run by its number."""
        missing = f"There is no run #{number} of '{tenant}/{repository}', or you may not see it."
        if not 0 < number < LARGEST:
            raise NotFound(missing)
        return self._one(actor, "scope = ? AND number = ?", (f"{tenant}/{repository}", number), missing)

    def links(self, beside: RunSummary, runs: Sequence[str]) -> list[RunLink]:
        """Return those of these runs that are of the same repository as one that the caller has checked."""
        query = select(RUNS.c.id, RUNS.c.number).where(RUNS.c.id.in_(runs), RUNS.c.scope == beside.scope)
        with self._store.read() as session:
            return [RunLink(id, number, f"/{beside.scope}/runs/{number}") for id, number in session.execute(query)]

    def page(self, actor: Actor, wanted: Filter, cursor: str | None, limit: int) -> list[RunSummary]:
        """Return runs, the newest first, from after the cursor."""
        if actor.repository and not wanted.repository:  # all that they may see is of one: as quick as its own list
            tenant, _, repository = actor.repository.partition("/")
            if wanted.tenant in ("", tenant):
                wanted = replace(wanted, tenant=tenant, repository=repository)
        after, limit = _cursor(cursor) if cursor else None, min(limit, MOST_ROWS)
        query = narrowed(self._of(actor), wanted)
        if wanted.repository:
            query = _by_number(query, f"{wanted.tenant}/{wanted.repository}", after)
            found = self._of_each_tenant(actor, query, limit, wanted.tenant)
        elif wanted.sha:
            found = self._of_commit(actor, wanted, after, limit)
        else:
            found = self._of_each_tenant(actor, _by_time(query, after), limit, wanted.tenant)
        return sorted(found, key=lambda run: (run.created_at, run.id), reverse=True)[:limit]

    def choices(self, actor: Actor, tenant: str, repository: str = "") -> Choices:
        """Return what the newest runs of a tenant or repository can be filtered by."""
        newest = narrowed(select(RUNS.c.metadata).where(_visible(actor)), Filter(tenant, repository))
        order = RUNS.c.number.desc() if repository else RUNS.c.created_at.desc()  # as there is an index
        inner = newest.order_by(order).limit(LOOKED_AT).subquery()
        columns = [func.json_extract(inner.c.metadata, f"$.{name}") for name in ("pipeline", "branch", "actor")]
        with self._store.read() as session:
            found = session.execute(select(*columns).distinct()).all()
        return Choices(*(tuple(sorted({str(row[n]) for row in found if row[n]})) for n in range(3)))

    def green_before(self, actor: Actor, run: RunSummary, branch: str) -> RunSummary | None:
        """Return the last run of the same pipeline on a branch that passed before this one, if there is one."""
        wanted = Filter(run.tenant, run.repository, "passed", run.pipeline, branch)
        query = narrowed(self._of(actor), wanted).where(RUNS.c.number < run.number, _told("parent").is_(None))
        found = self._all(query.order_by(RUNS.c.number.desc()).limit(1))
        return found[0] if found else None

    def waiting(self, actor: Actor, limit: int) -> list[RunSummary]:
        """Return runs that wait for people, the oldest first."""
        query = self._of(actor).where(RUNS.c.approvals > 0).order_by(RUNS.c.created_at)
        return sorted(self._of_each_tenant(actor, query, limit), key=lambda run: run.created_at)[:limit]

    def asking(self, actor: Actor, limit: int) -> list[Asking]:
        """Return the oldest runs that wait for people, of those whose questions the actor's role may answer."""
        found: list[Asking] = []
        for tenant in actor.tenants:
            only = actor.repository or None
            rows = self._store.rows(_ASKING, (tenant, only, only, limit))
            found += [
                one for one in map(Asking._make, rows) if actor.may("approve", tenant, one.scope.partition("/")[2])
            ]
        return sorted(found, key=lambda one: one.created_at)[:limit]

    def latest(self, repositories: Mapping[str, Repository]) -> dict[str, RunSummary]:
        """Return the last run of each repository, by full name. The caller has narrowed the repositories."""
        if not repositories:
            return {}
        found = [summary_of(row) for row in self._store.rows(_LATEST, (json.dumps(list(repositories)),))]
        return {summary.scope: summary for summary in found}

    def waiting_under_rules(self, tenant: str, repository: str) -> list[str]:
        """Return ids of runs that may wait under rules of a repository, plans among them. For the server's own use."""
        scopes = (f"{tenant}/{repository}", f"{tenant}/-")
        return [run for (run,) in self._store.rows(_UNDER_RULES, scopes + scopes)]

    def resting(self, run: str) -> int | None:
        """Return the number of a run's last entry if it hibernates: then its journal says all that there is to say."""
        query = "SELECT seq FROM runs WHERE id = ? AND awake = 0 AND state = 'waiting'"
        found = self._store.rows(query, (run,))
        return found[0][0] if found else None

    def entries(self, run: str, after: int = 0, limit: int | None = None) -> list[Entry]:
        """Return a run's journal. The caller has checked that the run may be seen."""
        return self.measured(run, after, limit)[0]

    def measured(self, run: str, after: int = 0, limit: int | None = None) -> tuple[list[Entry], int]:
        """Return the same and how many characters of JSON they are. The caller has checked that it may be seen."""
        rows = self._store.rows(_ENTRIES, (run, after, -1 if limit is None else limit))
        texts = [unpack(row[7]) for row in rows]  # its data
        return [_entry(row, text) for row, text in zip(rows, texts, strict=True)], sum(map(len, texts))

    def changed_since_passed(self, repository: Repository, pipeline: str, branch: str, sha: str) -> dict[str, Any]:
        """Return the event's fields `before` and `changed` by comparing with the pipeline's last passed run."""
        wanted = Filter(state="passed", pipeline=pipeline, branch=branch)
        whole = _told("parent").is_(None)  # what a run created is but a part of it
        query = narrowed(select(RUNS).where(RUNS.c.scope == repository.full_name, whole), wanted)
        found = self._all(query.order_by(RUNS.c.number.desc()).limit(1))
        if not found:
            return {"before": None, "changed": None}
        try:
            changes = self._repositories.reader(repository.id).changed_paths(found[0].sha, sha)
        except NotFound:  # the passed commit was forced away
            return {"before": None, "changed": None}
        return {"before": found[0].sha, "changed": paths_of(changes)}

    @staticmethod
    def _of(actor: Actor) -> Select[Any]:
        return select(RUNS).where(_visible(actor))

    def _one(self, actor: Actor, which: str, values: Sequence[Any], missing: str) -> RunSummary:
        condition, mine = visible_sql(actor, "tenant", "scope")
        found = self._store.rows(f"{_RUNS} {condition} AND {which}", (*mine, *values))
        if not found:
            raise NotFound(missing)
        return summary_of(found[0])

    def _of_each_tenant(self, actor: Actor, query: Select[Any], limit: int, only: str = "") -> list[RunSummary]:
        """Return the first rows of each tenant by itself: several at once, SQLite would have to sort all their runs."""
        tenants = [tenant for tenant in actor.tenants if only in ("", tenant)]
        return [run for tenant in tenants for run in self._all(query.where(RUNS.c.tenant == tenant).limit(limit))]

    def _of_commit(self, actor: Actor, wanted: Filter, after: tuple[float, str] | None, limit: int) -> list[RunSummary]:
        """Return the first rows of each tenant by the index that has the commits of a repository.

        SQLite would rather read all of a tenant's runs, in order: it does not know how few these are.
        """
        found = []
        for tenant in [tenant for tenant in actor.tenants if wanted.tenant in ("", tenant)]:
            scopes = select(_NUMBERS.c.scope).where(_NUMBERS.c.scope > f"{tenant}/", _NUMBERS.c.scope < f"{tenant}0")
            seen = visible(actor, _TENANT_READ, RUNS.c.scope)
            query = select(RUNS).where(seen, _TENANT_READ.in_([tenant]), RUNS.c.scope.in_(scopes))
            found += self._all(_by_time(narrowed(query, replace(wanted, tenant="")), after).limit(limit))
        return found

    def _all(self, query: Select[Any]) -> list[RunSummary]:
        return [summary_of(row) for row in self._store.select(query)]


def _visible(actor: Actor) -> Any:
    return visible(actor, RUNS.c.tenant, RUNS.c.scope)


def narrowed(query: Select[Any], wanted: Filter) -> Select[Any]:
    """Narrow a query over `runs`. Invalid when a filter is none of ours."""
    if wanted.state and wanted.state not in STATES:
        raise Invalid(f"State {wanted.state!r} does not exist. Use one of: {', '.join(sorted(STATES))}.")
    if wanted.kind and wanted.kind not in KINDS:
        raise Invalid(f"Kind {wanted.kind!r} does not exist. Use one of: {', '.join(KINDS)}.")
    if wanted.repository and not wanted.tenant:
        raise Invalid(f"Repository {wanted.repository!r} needs its tenant beside it.")
    if wanted.repository:
        query = query.where(RUNS.c.scope == f"{wanted.tenant}/{wanted.repository}")
    elif wanted.tenant:
        query = query.where(RUNS.c.tenant == wanted.tenant)
    if wanted.state:
        query = query.where(RUNS.c.state == wanted.state)
    for name, value in (
        ("pipeline", wanted.pipeline), ("branch", wanted.branch), ("commit", wanted.sha), ("actor", wanted.by),
        ("kind", wanted.kind),
    ):  # fmt: skip
        if value:
            query = query.where(_told(name) == value)
    if wanted.sha:
        query = query.where(literal_column(commit_told()) == wanted.sha[:COMMIT_CHARACTERS])
    return query.where(_says(wanted.text)) if wanted.text else query


def _told(name: str) -> Any:
    return literal_column(told(name), String)


def _says(text: str) -> Any:
    """Find a text where people look for it, with no sign of it read as a pattern."""
    if len(text) > LONGEST_TEXT:
        raise Invalid(f"The text to look for has {len(text)} characters. Use at most {LONGEST_TEXT}.")
    found = [RUNS.c.title.icontains(text, autoescape=True)]
    if re.fullmatch(r"[0-9a-fA-F]{4,40}", text):
        found.append(_told("commit").startswith(text.lower(), autoescape=True))
    if number := re.fullmatch(r"#?([0-9]{1,9})", text):
        found.append(RUNS.c.number == int(number[1]))
    return or_(*found)


def _by_time(query: Select[Any], after: tuple[float, str] | None) -> Select[Any]:
    if after is not None:
        at, run = after
        query = query.where(
            RUNS.c.created_at <= at, or_(RUNS.c.created_at < at, and_(RUNS.c.created_at == at, RUNS.c.id < run))
        )
    return query.order_by(RUNS.c.created_at.desc(), RUNS.c.id.desc())


def _by_number(query: Select[Any], scope: str, after: tuple[float, str] | None) -> Select[Any]:
    """The same order within a repository, straight from an index; a run that is gone is stood for by its time."""
    if after is not None:
        at, run = after
        other = RUNS.alias()
        known = select(other.c.number).where(other.c.id == run, other.c.scope == scope).scalar_subquery()
        older = select(other.c.number).where(other.c.scope == scope, other.c.created_at < at)
        below = older.order_by(other.c.number.desc()).limit(1).scalar_subquery() + 1
        query = query.where(RUNS.c.number < func.coalesce(known, below))
    return query.order_by(RUNS.c.number.desc())


def cursor_after(summary: RunSummary) -> str:
    """Return the cursor of what follows this run in a list."""
    return f"{summary.created_at!r}.{summary.id}"


def _cursor(text: str) -> tuple[float, str]:
    at, _, run = text.rpartition(".")
    try:
        return float(at), run
    except ValueError as error:
        raise Invalid(f"Cursor {text[:60]!r} is not one of ours. Leave it out to begin anew.") from error


def _entry(row: Sequence[Any], data: str) -> Entry:
    run, seq, at, type_, key, attempt, turn, _, version = row
    return read(Entry(run, seq, at, type_, key, attempt, turn, json.loads(data), version))


def summary_of(row: Sequence[Any]) -> RunSummary:
    """Show a row of `runs`: its columns, in the order that RUNS has them."""
    (
        id_,
        tenant,
        scope,
        title,
        state,
        reason,
        metadata,
        summary,
        number,
        seq,
        _,
        _,
        created_at,
        started_at,
        ended_at,
        updated_at,
    ) = row
    told, short = json.loads(metadata).get, json.loads(summary)
    return RunSummary(
        id=id_,
        tenant=tenant,
        repository=scope.partition("/")[2],
        number=number,
        title=title,
        state=state,
        reason=reason or "",
        pipeline=told("pipeline") or "",
        kind=told("kind") or "",
        branch=told("branch") or "",
        tag=told("tag") or "",
        sha=told("commit") or "",
        message=told("message") or "",
        actor=told("actor") or "",
        created_at=created_at,
        started_at=started_at,
        ended_at=ended_at,
        counts={state: number for state, number in short["counts"].items() if number},
        waiting=tuple(WaitingView(*asked_of(written)) for written in short["approvals"]),
        rerun_of=told("rerun_of") or "",
        seq=seq,
        plan=told("plan") or "",
        waited=short.get("waited", 0.0),
        asks_since=updated_at if state == "waiting" and short["approvals"] else None,
    )
