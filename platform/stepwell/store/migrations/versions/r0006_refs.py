"""To which branches and tags a secret is given."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Let the secrets that are there be given to every ref, as before."""
    op.add_column("secrets", sa.Column("refs", sa.JSON(), nullable=False, server_default="[]"))
