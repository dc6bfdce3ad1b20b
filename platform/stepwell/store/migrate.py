"""Brings a database to the version this code knows; alembic is imported only when there is something to do."""

import sqlite3
from pathlib import Path

from stepwell.errors import Invalid

HEAD = "0002"
"""The newest revision in `migrations/versions`; a test compares the two."""
MIGRATIONS = Path(__file__).parent / "migrations"


def recorded_version(database: Path) -> str | None:
    """Return the revision that the database says it has, None for a new one."""
    if not database.exists():
        return None
    connection = sqlite3.connect(database, timeout=30)
    try:
        row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    except sqlite3.OperationalError as error:
        if "no such table" not in str(error):
            raise
        return None
    finally:
        connection.close()
    return str(row[0]) if row else None


def migrate(database: Path) -> None:
    """Apply what is missing. Raises Invalid for a database of a newer Stepwell."""
    version = recorded_version(database)
    if version == HEAD:
        return
    if version is not None and version > HEAD:
        raise Invalid(
            f"Database {database} has version '{version}', this Stepwell knows '{HEAD}'. Start the newer Stepwell, or "
            "restore a backup made by this one."
        )
    _upgrade(database)


def _upgrade(database: Path) -> None:
    """Run every missing migration in one transaction: a crash leaves the database as it was."""
    from alembic import command
    from alembic.config import Config
    from sqlalchemy import create_engine, event

    engine = create_engine(f"sqlite:///{database}", connect_args={"timeout": 30})
    event.listen(engine, "connect", lambda connection, _record: setattr(connection, "isolation_level", None))
    event.listen(engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN IMMEDIATE"))
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    try:
        with engine.begin() as connection:
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
    finally:
        engine.dispose()
