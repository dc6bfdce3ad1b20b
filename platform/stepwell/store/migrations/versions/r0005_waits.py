"""How long an environment makes steps wait."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Let no environment that is there make anything wait."""
    op.add_column("environments", sa.Column("wait", sa.Float(), nullable=False, server_default="0"))
