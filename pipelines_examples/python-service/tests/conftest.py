import os
from pathlib import Path

import pytest

from links.store import MemoryStore, SqliteStore, Store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """The kind of storage that the matrix names."""
    if os.environ.get("LINKS_STORE", "memory") == "sqlite":
        return SqliteStore(str(tmp_path / "links.db"))
    return MemoryStore()
