"""Tables of the product. The journal's own tables (`journal`, `runs`, `timers`) live in the same file, beside these.

A tenant's name is its identity: it stands in URLs, in the journal and in the bound data of every secret,
and never changes. Repositories have an id of their own, because directories and runs outlive a name.
Times are seconds since the epoch. Lists and maps are JSON columns.
An empty string, not NULL, says "not limited": SQLite's unique indexes treat NULLs as different.
"""

from typing import Any

from sqlalchemy import JSON, Column, Index, LargeBinary, UniqueConstraint
from sqlmodel import Field, SQLModel


def _json() -> Any:
    return Column(JSON, nullable=False)


class Tenant(SQLModel, table=True):
    """A person's or organisation's walled place."""

    __tablename__ = "tenants"

    name: str = Field(primary_key=True)
    title: str = ""
    created_at: float


class Person(SQLModel, table=True):
    """Somebody who signs in. `admin` may create tenants and people."""

    __tablename__ = "people"

    id: str = Field(primary_key=True)
    name: str = Field(unique=True)
    title: str = ""
    password: str | None = None
    admin: bool = False
    created_at: float


class Membership(SQLModel, table=True):
    """A person's role in a tenant."""

    __tablename__ = "memberships"

    tenant: str = Field(primary_key=True, foreign_key="tenants.name")
    person: str = Field(primary_key=True, foreign_key="people.id", index=True)
    role: str
    created_at: float


class Token(SQLModel, table=True):
    """A program's way in: a hash, what it may do, until when. Empty tenant or repository: all that its person may."""

    __tablename__ = "tokens"

    id: str = Field(primary_key=True)
    hash: str = Field(unique=True)
    name: str
    hint: str
    person: str = Field(foreign_key="people.id", index=True)
    scopes: list[str] = Field(sa_column=_json())
    tenant: str = ""
    repository: str = ""
    created_at: float
    expires_at: float | None = None
    used_at: float | None = None
    revoked_at: float | None = None


class Session(SQLModel, table=True):
    """A browser that signed in."""

    __tablename__ = "sessions"

    hash: str = Field(primary_key=True)
    person: str = Field(foreign_key="people.id", index=True)
    created_at: float
    expires_at: float


class SigninLink(SQLModel, table=True):
    """A link that signs a person in once."""

    __tablename__ = "signin_links"

    hash: str = Field(primary_key=True)
    person: str = Field(foreign_key="people.id")
    created_at: float
    expires_at: float
    used_at: float | None = None


class Repository(SQLModel, table=True):
    """A bare git repository, served at /{tenant}/{name}.git and kept at <state>/repos/<id>.git."""

    __tablename__ = "repositories"
    __table_args__ = (UniqueConstraint("tenant", "name"),)

    id: str = Field(primary_key=True)
    tenant: str = Field(foreign_key="tenants.name")
    name: str
    description: str = ""
    default_branch: str = "main"
    protected: list[str] = Field(default_factory=lambda: ["main"], sa_column=_json())
    created_by: str = ""
    created_at: float
    keep_artifacts_days: int | None = None

    @property
    def full_name(self) -> str:
        """`acme/api`: the scope of its runs."""
        return f"{self.tenant}/{self.name}"


class RemovedRepository(SQLModel, table=True):
    """A repository that was deleted, until nothing is left of it."""

    __tablename__ = "removed_repositories"

    id: str = Field(primary_key=True)
    tenant: str
    name: str
    removed_at: float


class Quota(SQLModel, table=True):
    """How many runs of a tenant (repository ""), or of one repository by name, may go on at the same time."""

    __tablename__ = "quotas"

    tenant: str = Field(primary_key=True, foreign_key="tenants.name")
    repository: str = Field("", primary_key=True)
    runs: int
    updated_at: float


class Secret(SQLModel, table=True):
    """A sealed value of a tenant, of one repository, or of one environment of a repository.

    `refs` are globs of branches, and of tags behind `tags/`; none: every ref; "protected": the protected branches.
    """

    __tablename__ = "secrets"
    __table_args__ = (UniqueConstraint("tenant", "repository", "environment", "name"),)

    id: str = Field(primary_key=True)
    tenant: str = Field(foreign_key="tenants.name")
    repository: str = ""
    environment: str = ""
    name: str
    refs: Any = Field(default_factory=list, sa_column=Column(JSON, nullable=False, server_default="[]"))
    sealed: bytes = Field(sa_column=Column(LargeBinary, nullable=False))
    created_by: str
    created_at: float
    updated_at: float


class Environment(SQLModel, table=True):
    """A protected place to deploy to, with its rules."""

    __tablename__ = "environments"
    __table_args__ = (UniqueConstraint("repository", "name"),)

    id: str = Field(primary_key=True)
    tenant: str = Field(foreign_key="tenants.name")
    repository: str = Field(foreign_key="repositories.id")
    name: str
    reviewers: list[str] = Field(default_factory=list, sa_column=_json())
    count: int = 1
    branches: list[str] = Field(default_factory=list, sa_column=_json())
    forbid_author: bool = False
    wait: float = Field(0.0, sa_column_kwargs={"server_default": "0"})
    created_at: float
    updated_at: float


class PushIntent(SQLModel, table=True):
    """One ref that a push is about to move, written before git moves it. State: open, done, dropped."""

    __tablename__ = "push_intents"
    __table_args__ = (UniqueConstraint("push", "ref"), Index("push_intents_open", "state", "created_at"))

    id: int | None = Field(default=None, primary_key=True)
    push: str
    repository: str = Field(foreign_key="repositories.id")
    ref: str
    old: str
    new: str
    person: str
    actor: str
    state: str = "open"
    created_at: float
    resolved_at: float | None = None


class Declaration(SQLModel, table=True):
    """What a version of `.stepwell/` declares, as told by an isolate; kept per tenant, tree and authoring version."""

    __tablename__ = "declarations"

    tenant: str = Field(primary_key=True)
    tree: str = Field(primary_key=True)
    version: str = Field(primary_key=True)
    answer: dict[str, Any] = Field(sa_column=_json())
    created_at: float


class PlanText(SQLModel, table=True):
    """The program of a plan: path → text, kept per tenant by its content for as long as a run needs it."""

    __tablename__ = "plans"

    tenant: str = Field(primary_key=True, foreign_key="tenants.name")
    digest: str = Field(primary_key=True)
    files: dict[str, str] = Field(sa_column=_json())
    sent_at: float


class Schedule(SQLModel, table=True):
    """One cron trigger of a repository's default branch and when it last started a run."""

    __tablename__ = "schedules"

    repository: str = Field(primary_key=True, foreign_key="repositories.id")
    pipeline: str = Field(primary_key=True)
    cron: str = Field(primary_key=True)
    timezone: str = Field(primary_key=True)
    sha: str
    fired_at: float | None = None
    created_at: float


class AuditEntry(SQLModel, table=True):
    """One change of power: who did what to which thing."""

    __tablename__ = "audit"
    __table_args__ = (Index("audit_tenant", "tenant", "id"),)

    id: int | None = Field(default=None, primary_key=True)
    at: float
    tenant: str
    actor: str
    action: str
    subject: str
    detail: dict[str, Any] = Field(default_factory=dict, sa_column=_json())


class UsageMonth(SQLModel, table=True):
    """What runs of a repository (`-`: plans of the tenant) that ended in a month took, and what is kept of them.

    Seconds stay when runs are removed; bytes go with them. `month` is "2026-11", in UTC.
    """

    __tablename__ = "usage_months"

    tenant: str = Field(primary_key=True)
    repository: str = Field(primary_key=True)
    month: str = Field(primary_key=True)
    runs: int = 0
    isolate_seconds: float = 0.0
    container_seconds: float = 0.0
    layers: int = 0
    logs: int = 0
    artifacts: int = 0


class UsageRun(SQLModel, table=True):
    """What a run keeps on disk as it was last measured: a part of its month's bytes. No row: nothing."""

    __tablename__ = "usage_runs"
    __table_args__ = (Index("usage_runs_measured", "measured_at"),)

    run: str = Field(primary_key=True)
    tenant: str
    repository: str
    month: str
    layers: int = 0
    logs: int = 0
    artifacts: int = 0
    measured_at: float


class UsagePlace(SQLModel, table=True):
    """What a repository takes on disk beside its runs, as it was last measured."""

    __tablename__ = "usage_places"

    tenant: str = Field(primary_key=True)
    repository: str = Field(primary_key=True)
    git: int = 0
    caches: int = 0
    snapshots: int = 0
    measured_at: float


class UsageMark(SQLModel, table=True):
    """The last run, by its end, that is counted in `usage_months`."""

    __tablename__ = "usage_mark"

    id: int = Field(default=1, primary_key=True)
    ended_at: float
    run: str
