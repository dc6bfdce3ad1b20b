"""Where the programs of plans are kept: by content, for as long as a run may need them."""

import hashlib
import json
import time
from collections.abc import Callable, Mapping

from sqlalchemy import delete, func, select
from sqlmodel import col

from stepwell.ci.history import RUNS
from stepwell.errors import NotFound
from stepwell.store.store import Store
from stepwell.store.tables import PlanText

KEPT_SECONDS = 86_400.0
"""A program that no run has is kept for so long after it was sent: its run may be about to be created."""


class PlanTexts:
    """Keeps programs. Thread-safe; blocks."""

    def __init__(self, store: Store, now: Callable[[], float] = time.time) -> None:
        self._store = store
        self._now = now

    def save(self, tenant: str, files: Mapping[str, str]) -> str:
        """Keep a program and return its digest; the same one again is kept once."""
        digest = hashlib.sha256(json.dumps(dict(files), sort_keys=True).encode()).hexdigest()
        with self._store.write() as session:
            session.merge(PlanText(tenant=tenant, digest=digest, files=dict(files), sent_at=self._now()))
        return digest

    def files(self, tenant: str, digest: str) -> Mapping[str, str]:
        """Return path → text. Raises NotFound when it is kept no longer."""
        with self._store.read() as session:
            row = session.get(PlanText, (tenant, digest))
        if row is None:
            raise NotFound(f"The program of plan {digest[:12]} is not kept any more. Send it again.")
        return row.files

    def sweep(self) -> None:
        """Remove the programs whose last run has been removed."""
        named = select(RUNS.c.id).where(
            RUNS.c.scope == col(PlanText.tenant) + "/-",
            func.json_extract(RUNS.c.metadata, "$.plan") == col(PlanText.digest),
        )
        old = col(PlanText.sent_at) < self._now() - KEPT_SECONDS
        with self._store.write() as session:
            session.execute(delete(PlanText).where(old, ~named.exists()))
