"""For how many days a repository's artifacts are kept, if not as long as the server keeps them."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    """Let the repositories that are there keep theirs as long as the server does, as before."""
    op.add_column("repositories", sa.Column("keep_artifacts_days", sa.Integer(), nullable=True))
