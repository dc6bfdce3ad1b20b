"""Brings a database to the version this code knows.

A new one gets today's tables at once; a test holds them to what the migrations make. alembic is imported only for a
database of an older Stepwell: for a new one it would cost a third of a second and, for as long as the server runs,
11 MB of memory.
"""

import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING

from stepwell.errors import Invalid

if TYPE_CHECKING:
    from sqlalchemy import Engine

HEAD = "0008"
"""The newest revision in `migrations/versions`; a test compares the two."""
MIGRATIONS = Path(__file__).parent / "migrations"
VERSION_TABLE = """CREATE TABLE alembic_version (
\tversion_num VARCHAR(32) NOT NULL,
\tCONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
)"""
"""As alembic makes it."""


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
    if version is not None or not _create(database):
        _upgrade(database)


def _engine(database: Path) -> "Engine":
    from sqlalchemy import create_engine, event

    engine = create_engine(f"sqlite:///{database}", connect_args={"timeout": 30})
    event.listen(engine, "connect", lambda connection, _record: setattr(connection, "isolation_level", None))
    event.listen(engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN IMMEDIATE"))
    return engine


def _create(database: Path) -> bool:
    """Make all tables in one transaction; False when another process made some meanwhile."""
    from sqlalchemy import inspect
    from sqlmodel import SQLModel

    import stepwell.store.tables  # noqa: F401  (fills the metadata)

    engine = _engine(database)
    try:
        with engine.begin() as connection:
            if inspect(connection).has_table("alembic_version"):
                return False
            SQLModel.metadata.create_all(connection)
            connection.exec_driver_sql(VERSION_TABLE)
            connection.exec_driver_sql("INSERT INTO alembic_version VALUES (?)", (HEAD,))
    finally:
        engine.dispose()
    return True


def _upgrade(database: Path) -> None:
    """Run every missing migration in one transaction: a crash leaves the database as it was."""
    from alembic import command
    from alembic.config import Config

    engine = _engine(database)
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    try:
        with engine.begin() as connection:
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
    finally:
        engine.dispose()
