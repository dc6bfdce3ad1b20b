"""Push intents: what a push is about to move, on disk before git moves it.

An intent is open until its runs exist (done) or its ref turns out not to have moved (dropped). A crash in between
leaves it open, and whoever looks next decides by what git says.
"""

import time
from collections.abc import Callable, Iterable

from sqlmodel import col, select
from sqlmodel.sql.expression import SelectOfScalar

from stepwell.errors import NotFound
from stepwell.repos.push import PushContext, RefUpdate
from stepwell.store.store import Store
from stepwell.store.tables import PushIntent, Repository
from stepwell.tenants.actors import Actor


class Intents:
    """Writes and resolves push intents. Blocks."""

    def __init__(self, store: Store, now: Callable[[], float] = time.time) -> None:
        self._store = store
        self._now = now

    def add(self, context: PushContext, updates: Iterable[RefUpdate]) -> None:
        """Write one open intent per ref. Raises NotFound when the repository has been deleted meanwhile."""
        actor: Actor = context.actor
        now = self._now()
        with self._store.write() as session:
            if session.get(Repository, context.repository) is None:
                raise NotFound("The repository has been deleted: nothing is pushed to it any more.")
            for update in updates:
                row = PushIntent(
                    push=context.push,
                    repository=context.repository,
                    ref=update.ref,
                    old=update.old,
                    new=update.new,
                    person=actor.person,
                    actor=actor.name,
                    created_at=now,
                )
                session.add(row)

    def of_push(self, push: str) -> list[PushIntent]:
        """Return the intents of one push that are not done, as added; dropped ones too: refs may have moved since."""
        query = select(PushIntent).where(PushIntent.push == push, PushIntent.state != "done")
        return self._found(query.order_by(col(PushIntent.id)))

    def open(self, older_than_seconds: float) -> list[PushIntent]:
        """Return open intents of some age, the oldest first."""
        born = self._now() - older_than_seconds
        query = select(PushIntent).where(PushIntent.state == "open", col(PushIntent.created_at) <= born)
        return self._found(query.order_by(col(PushIntent.id)))

    def followed(self, intent: PushIntent) -> bool:
        """Say whether a later push found the ref where this one wanted to move it."""
        query = select(PushIntent.id).where(
            PushIntent.repository == intent.repository,
            PushIntent.ref == intent.ref,
            PushIntent.old == intent.new,
            col(PushIntent.id) > intent.id,
        )
        with self._store.read() as session:
            return session.exec(query).first() is not None

    def resolve(self, intents: Iterable[PushIntent], state: str) -> None:
        """Close intents: `done` or `dropped`. Not others that have got the ids of those of a deleted repository."""
        with self._store.write() as session:
            for intent in intents:
                row = session.get(PushIntent, intent.id)
                if row is not None and row.push == intent.push and row.state != "done":
                    row.state, row.resolved_at = state, self._now()

    def _found(self, query: SelectOfScalar[PushIntent]) -> list[PushIntent]:
        with self._store.read() as session:
            return list(session.exec(query))
