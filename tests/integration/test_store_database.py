"""The database: migrated once, strict, safe between threads."""

import gc
import re
import sqlite3
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import psutil
import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine
from sqlalchemy.exc import IntegrityError, OperationalError
from sqlmodel import SQLModel, select

from stepwell.errors import Invalid
from stepwell.store import migrate
from stepwell.store.journal_sqlite import SqliteJournal
from stepwell.store.store import Store
from stepwell.store.tables import Membership, Tenant


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "s.db")


def test_migrations_make_the_tables_that_the_code_describes(tmp_path: Path) -> None:
    migrate._upgrade(tmp_path / "s.db")
    with create_engine(f"sqlite:///{tmp_path / 's.db'}").connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), SQLModel.metadata) == []


def schema(database: Path) -> dict[str, set[str]]:
    """Names of tables and indexes → their columns and constraints, in no order."""
    with closing(sqlite3.connect(database)) as connection:
        rows = connection.execute("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL").fetchall()
    return {
        name: set(re.split(r", (?![^(]*\))", " ".join(sql.split("(", 1)[1].strip(") ").split()))) for name, sql in rows
    }


def test_a_new_database_has_the_tables_that_the_migrations_make(store: Store, tmp_path: Path) -> None:
    migrate._upgrade(tmp_path / "old.db")
    assert schema(store.database) == schema(tmp_path / "old.db")
    assert migrate.recorded_version(store.database) == migrate.recorded_version(tmp_path / "old.db") == migrate.HEAD


def test_a_new_database_costs_no_alembic(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from stepwell.store.store import Store; "
        "Store(Path(sys.argv[1])).close(); assert 'alembic' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program, str(tmp_path / "s.db")], check=True, timeout=60)


def test_processes_that_begin_together_make_one_database(tmp_path: Path) -> None:
    start = threading.Barrier(4)

    def begin(_: int) -> Store:
        start.wait()
        return Store(tmp_path / "s.db")

    with ThreadPoolExecutor(4) as pool:
        stores = list(pool.map(begin, range(4)))
    for each in stores:
        with each.read() as session:
            assert session.exec(select(Tenant)).all() == []
        each.close()


def test_the_known_head_is_the_newest_migration() -> None:
    config = Config()
    config.set_main_option("script_location", str(migrate.MIGRATIONS))
    assert ScriptDirectory.from_config(config).get_heads() == [migrate.HEAD]


def test_an_up_to_date_database_is_not_migrated(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(migrate, "_upgrade", lambda _: pytest.fail("migrated again"))
    monkeypatch.setattr(migrate, "_create", lambda _: pytest.fail("made again"))
    Store(store.database)


def test_a_database_that_the_journal_made_first_is_migrated(tmp_path: Path) -> None:
    journal = SqliteJournal(tmp_path / "s.db", wal_bytes=4096)
    journal.open()
    store = Store(tmp_path / "s.db")
    journal.close()
    with store.read() as session:
        assert session.exec(select(Tenant)).all() == []


def test_a_newer_database_is_refused_with_a_remedy(store: Store) -> None:
    with sqlite3.connect(store.database) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(Invalid, match="Start the newer Stepwell"):
        Store(store.database)


def test_a_migration_cut_short_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import alembic.op

    made = 0

    def create_table(*args: object, **more: object) -> None:
        nonlocal made
        made += 1
        if made == 5:
            raise KeyboardInterrupt
        original(*args, **more)  # type: ignore[arg-type]

    original = alembic.op.create_table
    monkeypatch.setattr(alembic.op, "create_table", create_table)
    with pytest.raises(KeyboardInterrupt):
        migrate._upgrade(tmp_path / "s.db")
    monkeypatch.undo()
    assert schema(tmp_path / "s.db") == {}
    migrate._upgrade(tmp_path / "s.db")


def test_a_making_cut_short_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(migrate, "VERSION_TABLE", "CREATE nothing")
    with pytest.raises(OperationalError):
        Store(tmp_path / "s.db")
    monkeypatch.undo()
    assert schema(tmp_path / "s.db") == {}
    Store(tmp_path / "s.db")


def test_a_block_that_raises_keeps_nothing(store: Store) -> None:
    with pytest.raises(RuntimeError), store.write() as session:
        session.add(Tenant(name="acme", created_at=0))
        session.flush()
        raise RuntimeError
    with store.read() as session:
        assert session.get(Tenant, "acme") is None


def test_foreign_keys_hold(store: Store) -> None:
    with pytest.raises(IntegrityError), store.write() as session:
        session.add(Membership(tenant="none", person="none", role="owner", created_at=0))


def test_writers_of_many_threads_wait_for_each_other(store: Store) -> None:
    with store.write() as session:
        session.add(Tenant(name="acme", title="0", created_at=0))

    def count_up() -> None:
        for _ in range(20):
            with store.write() as session:
                row = session.get_one(Tenant, "acme")
                row.title = str(int(row.title) + 1)

    threads = [threading.Thread(target=count_up) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with store.read() as session:
        assert session.get_one(Tenant, "acme").title == "100"


def test_relaxing_closes_idle_connections_and_leaves_sessions_alone(store: Store) -> None:
    def held() -> int:
        return sum(file.path == str(store.database) for file in psutil.Process().open_files())

    with store.read() as session:
        session.exec(select(Tenant)).all()
        store.relax()
        assert session.exec(select(Tenant)).all() == []
    with store.read() as session:
        session.exec(select(Tenant)).all()
    assert held()
    store.relax()
    gc.collect()
    assert not held()
