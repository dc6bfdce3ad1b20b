"""What runs took, and what is kept of them."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def _texts(*names: str) -> "list[sa.Column[str]]":
    return [sa.Column(name, sa.String(), nullable=False) for name in names]


def _count(name: str) -> "sa.Column[int]":
    return sa.Column(name, sa.Integer(), nullable=False)


def _amount(name: str) -> "sa.Column[float]":
    return sa.Column(name, sa.Float(), nullable=False)


def upgrade() -> None:
    """Create the tables, empty: runs that have ended before are counted by the server, some each minute."""
    op.create_table(
        "usage_months",
        *_texts("tenant", "repository"),
        *_texts("month"),
        _count("runs"),
        _amount("isolate_seconds"),
        _amount("container_seconds"),
        *[_count(name) for name in ("layers", "logs", "artifacts")],
        sa.PrimaryKeyConstraint("tenant", "repository", "month"),
    )
    op.create_table(
        "usage_runs",
        *_texts("run"),
        *_texts("tenant", "repository"),
        *_texts("month"),
        *[_count(name) for name in ("layers", "logs", "artifacts")],
        _amount("measured_at"),
        sa.PrimaryKeyConstraint("run"),
    )
    op.create_index("usage_runs_measured", "usage_runs", ["measured_at"])
    op.create_table(
        "usage_places",
        *_texts("tenant", "repository"),
        *[_count(name) for name in ("git", "caches", "snapshots")],
        _amount("measured_at"),
        sa.PrimaryKeyConstraint("tenant", "repository"),
    )
    op.create_table(
        "usage_mark",
        _count("id"),
        _amount("ended_at"),
        *_texts("run"),
        sa.PrimaryKeyConstraint("id"),
    )
