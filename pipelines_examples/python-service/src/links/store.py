"""Where links are kept: in memory, or in a file of SQLite."""

import sqlite3
from typing import Protocol


class Store(Protocol):
    """Keeps links under growing numbers."""

    def add(self, url: str) -> int: ...

    def get(self, number: int) -> str | None: ...


class MemoryStore:
    """Forgets everything at the end of the process."""

    def __init__(self) -> None:
        self._urls: list[str] = []

    def add(self, url: str) -> int:
        self._urls.append(url)
        return len(self._urls) - 1

    def get(self, number: int) -> str | None:
        return self._urls[number] if 0 <= number < len(self._urls) else None


class SqliteStore:
    """Keeps links in a database file."""

    def __init__(self, path: str) -> None:
        self._database = sqlite3.connect(path)
        self._database.execute("CREATE TABLE IF NOT EXISTS links (number INTEGER PRIMARY KEY, url TEXT)")

    def add(self, url: str) -> int:
        with self._database:
            row = self._database.execute("INSERT INTO links (url) VALUES (?)", (url,))
        assert row.lastrowid is not None
        return row.lastrowid

    def get(self, number: int) -> str | None:
        row = self._database.execute("SELECT url FROM links WHERE number = ?", (number,)).fetchone()
        return None if row is None else str(row[0])
