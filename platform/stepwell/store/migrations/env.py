"""Runs migrations on the connection given by `stepwell.store.migrate`."""

from alembic import context
from sqlmodel import SQLModel

import stepwell.store.tables  # noqa: F401  (fills the metadata)

JOURNAL = {"journal", "runs", "timers", "numbers", "run_layers", "journal_padding"}


def ours(_object: object, name: str | None, kind: str, _reflected: bool, _to: object) -> bool:
    """Leave the journal's tables alone."""
    return not (kind == "table" and name in JOURNAL)


context.configure(
    context.config.attributes["connection"],
    target_metadata=SQLModel.metadata,
    render_as_batch=True,
    include_object=ours,
    compare_type=True,
)
context.run_migrations()
