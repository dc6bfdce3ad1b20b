"""A PostgreSQL of one's own below a directory: its default durability (fsync, synchronous_commit), loopback only."""

import asyncio
import os
import shutil
import subprocess
from pathlib import Path

from measured import free_port, program, spawn, until_listening

SCHEMA_OWNER = "postgres"


class Postgres:
    """Start one on new or earlier data."""

    def __init__(self, directory: Path) -> None:
        self.data = directory / "postgres"
        self.log = directory / "postgres.log"
        self.port = free_port()
        self.user = SCHEMA_OWNER if os.getuid() == 0 else None

    @property
    def url(self) -> str:
        return f"postgresql://postgres@127.0.0.1:{self.port}/postgres"

    async def start(self) -> None:
        if not self.data.exists():
            self.data.mkdir(mode=0o700)
            if self.user:
                shutil.chown(self.data, self.user, self.user)
            argv = [program("initdb"), "-D", str(self.data), "-U", "postgres", "--auth", "trust", "-E", "UTF8"]
            if spawn(argv, self.log, self.user).wait():
                raise RuntimeError(f"initdb failed: {self.log.read_text()}")
        argv = [program("postgres"), "-D", str(self.data), "-p", str(self.port), "-h", "127.0.0.1", "-k", ""]
        self.server = spawn(argv, self.log, self.user)
        await until_listening(self.port, "PostgreSQL")
        while "database system is ready" not in self.ask("-c", "SELECT 'database system is ready'", check=False):
            await asyncio.sleep(0.02)  # after a crash it listens before it has recovered

    def ask(self, *argv: str, check: bool = True) -> str:
        """What psql prints."""
        asked = [program("psql"), "-X", "-A", "-t", "-d", self.url, *argv]
        return subprocess.run(asked, capture_output=True, text=True, check=check).stdout

    def stored(self) -> int:
        self.ask("-c", "CHECKPOINT")
        return int(self.ask("-c", "SELECT pg_database_size('postgres')"))
