"""Environments: protected places to deploy to. Rows in the database, rules in memory for the engine's loop."""

import re
import time
from collections.abc import Callable, Sequence

from sqlmodel import Session, col, delete, select

from stepwell.authoring.durations import Duration, seconds_of, spoken
from stepwell.ci.rules import Rules
from stepwell.ci.views import EnvironmentView
from stepwell.errors import Invalid, NotFound
from stepwell.store.store import Store
from stepwell.store.tables import Environment, Repository, Secret
from stepwell.tenants.actors import Actor
from stepwell.tenants.keys import new_id
from stepwell.tenants.tenants import Tenants

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
MOST_REVIEWERS = 100
LONGEST_WAIT = 30 * 86400.0
"""Seconds."""


class Environments:
    """Reads and changes environments; `rules` never blocks."""

    def __init__(self, store: Store, tenants: Tenants, now: Callable[[], float] = time.time) -> None:
        self._store = store
        self._tenants = tenants
        self._now = now
        with store.read() as session:
            rows = session.exec(select(Environment)).all()
        self._rules = {(row.repository, row.name): _rules(row) for row in rows}
        self.changed: Callable[[str, str], None] = lambda _tenant, _repository: None
        """Called with a repository's tenant and name after its rules have changed."""

    def rules(self, repository: str, name: str) -> Rules:
        """Return the rules of an environment, from memory; none when it is not set up."""
        return self._rules.get((repository, name)) or Rules(name)

    def list(self, actor: Actor, tenant: str, repository: str) -> list[EnvironmentView]:
        """Return the environments of a repository by name."""
        row = self._tenants.scope.repository(actor, tenant, repository)
        query = select(Environment).where(Environment.repository == row.id).order_by(col(Environment.name))
        with self._store.read() as session:
            return [_view(found, _secrets(session, found)) for found in session.exec(query)]

    def get(self, actor: Actor, tenant: str, repository: str, name: str) -> EnvironmentView:
        """Return one environment."""
        for view in self.list(actor, tenant, repository):
            if view.name == name:
                return view
        raise NotFound(f"{tenant}/{repository} has no environment {name!r}.")

    def put(
        self,
        actor: Actor,
        tenant: str,
        repository: str,
        name: str,
        *,
        reviewers: Sequence[str] = (),
        count: int = 1,
        branches: Sequence[str] = (),
        forbid_author: bool = False,
        wait: Duration = 0,
    ) -> EnvironmentView:
        """Create an environment or replace its rules."""
        row = self._tenants.scope.repository(actor, tenant, repository, "manage")
        rules = Rules(name, tuple(reviewers), count, tuple(branches), forbid_author, _seconds(wait))
        self._check(actor, tenant, rules)
        with self._store.write() as session:
            found = self._written(session, row, rules)
            detail = {"reviewers": list(reviewers), "count": count, "branches": list(branches)}
            where = {"repository": repository, "forbid_author": forbid_author, "wait": rules.wait}
            self._tenants.audit.add(session, actor, tenant, "environment.put", name, **detail, **where)
            view = _view(found, _secrets(session, found))
        self._rules[row.id, name] = rules
        self.changed(tenant, repository)
        return view

    def remove(self, actor: Actor, tenant: str, repository: str, name: str) -> None:
        """Forget an environment and its secrets."""
        row = self._tenants.scope.repository(actor, tenant, repository, "manage")
        with self._store.write() as session:
            found = _find(session, row.id, name)
            if found is None:
                raise NotFound(f"{tenant}/{repository} has no environment {name!r}.")
            session.delete(found)
            session.exec(delete(Secret).where(col(Secret.repository) == row.id, col(Secret.environment) == name))
            self._tenants.audit.add(session, actor, tenant, "environment.remove", name, repository=repository)
        self._rules.pop((row.id, name), None)
        self.changed(tenant, repository)

    def _check(self, actor: Actor, tenant: str, rules: Rules) -> None:
        if not _NAME.fullmatch(rules.environment):
            raise Invalid(
                f"Name {rules.environment[:60]!r} of an environment is not valid. Use 1 to 63 letters, digits, '.', "
                "'_' or '-', a letter or digit first.",
                field="name",
            )
        members = {member.name for member in self._tenants.members.list(actor, tenant)}
        strangers = [name for name in rules.reviewers if name not in members]
        if strangers:
            words = f"Reviewer {strangers[0]!r} is no member of {tenant!r}. Add them as a member first."
            raise Invalid(words, field="reviewers")
        if len(rules.reviewers) > MOST_REVIEWERS or not 0 <= rules.count <= max(1, len(rules.reviewers) or 100):
            many = f"there are {len(rules.reviewers)} reviewers" if rules.reviewers else "at most 100"
            raise Invalid(f"{rules.count} approvals cannot be required: {many}.", field="count")
        if any(not branch.strip() for branch in rules.branches):
            raise Invalid("A branch rule is empty. Write a branch or a glob such as 'release/*'.", field="branches")

    def _written(self, session: Session, row: Repository, rules: Rules) -> Environment:
        found = _find(session, row.id, rules.environment)
        if found is None:
            now = self._now()
            found = Environment(
                id=new_id(),
                tenant=row.tenant,
                repository=row.id,
                name=rules.environment,
                wait=rules.wait,
                created_at=now,
                updated_at=now,
            )
        found.reviewers, found.count = list(rules.reviewers), rules.count
        found.branches, found.forbid_author, found.wait = list(rules.branches), rules.forbid_author, rules.wait
        found.updated_at = self._now()
        session.add(found)
        return found


def _find(session: Session, repository: str, name: str) -> Environment | None:
    query = select(Environment).where(Environment.repository == repository, Environment.name == name)
    return session.exec(query).first()


def _secrets(session: Session, row: Environment) -> tuple[str, ...]:
    query = select(Secret.name).where(Secret.repository == row.repository, Secret.environment == row.name)
    return tuple(session.exec(query.order_by(col(Secret.name))))


def _rules(row: Environment) -> Rules:
    return Rules(row.name, tuple(row.reviewers), row.count, tuple(row.branches), row.forbid_author, row.wait)


def _seconds(wait: Duration) -> float:
    try:
        seconds = seconds_of(wait, "wait")
    except (TypeError, ValueError) as error:
        raise Invalid(str(error), field="wait") from error
    if seconds > LONGEST_WAIT:
        words = f"An environment makes steps wait for {spoken(LONGEST_WAIT)} at most; wait has value {wait!r}."
        raise Invalid(words, field="wait")
    return seconds


def _view(row: Environment, secrets: tuple[str, ...]) -> EnvironmentView:
    return EnvironmentView(
        name=row.name,
        reviewers=tuple(row.reviewers),
        count=row.count,
        branches=tuple(row.branches),
        forbid_author=row.forbid_author,
        wait=row.wait,
        secrets=secrets,
        updated_at=row.updated_at,
    )
