"""Quotas of tenants and repositories."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Create the table; who has no row has the server's defaults."""
    op.create_table(
        "quotas",
        sa.Column("tenant", sa.String(), nullable=False),
        sa.Column("repository", sa.String(), nullable=False),
        sa.Column("runs", sa.Integer(), nullable=False),
        sa.Column("updated_at", sa.Float(), nullable=False),
        sa.ForeignKeyConstraint(["tenant"], ["tenants.name"]),
        sa.PrimaryKeyConstraint("tenant", "repository"),
    )
