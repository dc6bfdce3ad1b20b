"""Which index, and with it which uid, a tenant has: given once, kept in a file, never given to another."""

import json
import os
from pathlib import Path


class TenantIndexes:
    """Tenant → index from 0. One process writes the file."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._indexes: dict[str, int] = json.loads(file.read_text()) if file.exists() else {}

    def __call__(self, tenant: str) -> int:
        """The index of a tenant; on disk before it is first used."""
        index = self._indexes.get(tenant)
        if index is None:
            index = self._indexes[tenant] = len(self._indexes)
            self._save()
        return index

    def _save(self) -> None:
        self._file.parent.mkdir(parents=True, exist_ok=True)
        new = self._file.with_suffix(".new")
        with new.open("w") as file:
            json.dump(self._indexes, file)
            file.flush()
            os.fsync(file.fileno())
        new.replace(self._file)
