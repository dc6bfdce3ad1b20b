"""The record of every change of power: who did what to which thing. Written in the transaction of the change."""

from collections.abc import Callable
from typing import Any

from sqlmodel import Session, col, select

from stepwell.store.store import Store
from stepwell.store.tables import AuditEntry
from stepwell.tenants.actors import Actor


class Audit:
    """Writes and reads audit entries."""

    def __init__(self, store: Store, now: Callable[[], float]) -> None:
        self._store = store
        self._now = now

    def add(self, session: Session, actor: Actor, tenant: str, action: str, subject: str, **detail: Any) -> None:
        """Record a change in the transaction that makes it; never a secret's value."""
        entry = AuditEntry(
            at=self._now(), tenant=tenant, actor=actor.name, action=action, subject=subject, detail=detail
        )
        session.add(entry)

    def list(self, actor: Actor, tenant: str, before: int | None = None, limit: int = 100) -> list[AuditEntry]:
        """Return entries of the tenant, the newest first. For maintainers and owners."""
        actor.require("manage", tenant)
        query = select(AuditEntry).where(AuditEntry.tenant == tenant)
        if before is not None:
            query = query.where(col(AuditEntry.id) < before)
        with self._store.read() as session:
            return list(session.exec(query.order_by(col(AuditEntry.id).desc()).limit(min(limit, 500))))
