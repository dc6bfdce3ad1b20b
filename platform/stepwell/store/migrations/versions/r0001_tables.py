"""The first tables."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def _text(name: str) -> sa.Column[str]:
    return sa.Column(name, sa.String(), nullable=False)


def _time(name: str) -> sa.Column[float]:
    return sa.Column(name, sa.Float(), nullable=False)


def upgrade() -> None:
    """Create what one server needs: people and tenants first, then what belongs to them."""
    _people()
    _repositories()
    _runs_around()


def _people() -> None:
    """Who may do what, and who did."""
    op.create_table("tenants", _text("name"), _text("title"), _time("created_at"), sa.PrimaryKeyConstraint("name"))
    op.create_table(
        "people",
        _text("id"),
        _text("name"),
        _text("title"),
        sa.Column("password", sa.String(), nullable=True),
        sa.Column("admin", sa.Boolean(), nullable=False),
        _time("created_at"),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("name"),
    )
    op.create_table(
        "memberships",
        _text("tenant"),
        _text("person"),
        _text("role"),
        _time("created_at"),
        sa.ForeignKeyConstraint(
            ["person"],
            ["people.id"],
        ),
        sa.ForeignKeyConstraint(
            ["tenant"],
            ["tenants.name"],
        ),
        sa.PrimaryKeyConstraint("tenant", "person"),
    )
    op.create_index("ix_memberships_person", "memberships", ["person"])
    op.create_table(
        "tokens",
        _text("id"),
        _text("hash"),
        _text("name"),
        _text("hint"),
        _text("person"),
        sa.Column("scopes", sa.JSON(), nullable=False),
        _text("tenant"),
        _text("repository"),
        _time("created_at"),
        sa.Column("expires_at", sa.Float(), nullable=True),
        sa.Column("used_at", sa.Float(), nullable=True),
        sa.Column("revoked_at", sa.Float(), nullable=True),
        sa.ForeignKeyConstraint(
            ["person"],
            ["people.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("hash"),
    )
    op.create_index("ix_tokens_person", "tokens", ["person"])
    op.create_table(
        "sessions",
        _text("hash"),
        _text("person"),
        _time("created_at"),
        _time("expires_at"),
        sa.ForeignKeyConstraint(
            ["person"],
            ["people.id"],
        ),
        sa.PrimaryKeyConstraint("hash"),
    )
    op.create_index("ix_sessions_person", "sessions", ["person"])
    op.create_table(
        "signin_links",
        _text("hash"),
        _text("person"),
        _time("created_at"),
        _time("expires_at"),
        sa.Column("used_at", sa.Float(), nullable=True),
        sa.ForeignKeyConstraint(
            ["person"],
            ["people.id"],
        ),
        sa.PrimaryKeyConstraint("hash"),
    )
    op.create_table(
        "audit",
        sa.Column("id", sa.Integer(), nullable=False),
        _time("at"),
        _text("tenant"),
        _text("actor"),
        _text("action"),
        _text("subject"),
        sa.Column("detail", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("audit_tenant", "audit", ["tenant", "id"])


def _repositories() -> None:
    """Repositories and what they keep."""
    op.create_table(
        "repositories",
        _text("id"),
        _text("tenant"),
        _text("name"),
        _text("description"),
        _text("default_branch"),
        sa.Column("protected", sa.JSON(), nullable=False),
        _text("created_by"),
        _time("created_at"),
        sa.ForeignKeyConstraint(
            ["tenant"],
            ["tenants.name"],
        ),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("tenant", "name"),
    )
    op.create_table(
        "secrets",
        _text("id"),
        _text("tenant"),
        _text("repository"),
        _text("environment"),
        _text("name"),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        _text("created_by"),
        _time("created_at"),
        _time("updated_at"),
        sa.ForeignKeyConstraint(
            ["tenant"],
            ["tenants.name"],
        ),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("tenant", "repository", "environment", "name"),
    )
    op.create_table(
        "environments",
        _text("id"),
        _text("tenant"),
        _text("repository"),
        _text("name"),
        sa.Column("reviewers", sa.JSON(), nullable=False),
        sa.Column("count", sa.Integer(), nullable=False),
        sa.Column("branches", sa.JSON(), nullable=False),
        sa.Column("forbid_author", sa.Boolean(), nullable=False),
        _time("created_at"),
        _time("updated_at"),
        sa.ForeignKeyConstraint(
            ["repository"],
            ["repositories.id"],
        ),
        sa.ForeignKeyConstraint(
            ["tenant"],
            ["tenants.name"],
        ),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("repository", "name"),
    )


def _runs_around() -> None:
    """What starts runs."""
    op.create_table(
        "push_intents",
        sa.Column("id", sa.Integer(), nullable=False),
        _text("push"),
        _text("repository"),
        _text("ref"),
        _text("old"),
        _text("new"),
        _text("person"),
        _text("actor"),
        _text("state"),
        _time("created_at"),
        sa.Column("resolved_at", sa.Float(), nullable=True),
        sa.ForeignKeyConstraint(
            ["repository"],
            ["repositories.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("push", "ref"),
    )
    op.create_index("push_intents_open", "push_intents", ["state", "created_at"])
    op.create_table(
        "declarations",
        _text("tenant"),
        _text("tree"),
        _text("version"),
        sa.Column("answer", sa.JSON(), nullable=False),
        _time("created_at"),
        sa.PrimaryKeyConstraint("tenant", "tree", "version"),
    )
    op.create_table(
        "schedules",
        _text("repository"),
        _text("pipeline"),
        _text("cron"),
        _text("timezone"),
        _text("sha"),
        sa.Column("fired_at", sa.Float(), nullable=True),
        _time("created_at"),
        sa.ForeignKeyConstraint(
            ["repository"],
            ["repositories.id"],
        ),
        sa.PrimaryKeyConstraint("repository", "pipeline", "cron", "timezone"),
    )
