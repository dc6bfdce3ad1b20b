"""Caches of repositories: which branch's an attempt may use, and what people may see and remove of them.

A branch's runs save for that branch, and restore its own caches first, then those of the default branch. So what any
branch saves reaches nobody else, except what the default branch saves. A protected branch takes nothing from a default
branch that is not protected. Runs without a branch (of tags, of a commit by hand) restore from the default branch and
save nothing. The same holds for work that is reused; who runs or restarts a run again wants it done, so there nothing
is.

Setups are kept apart in the same way, for a setup that hides its failures comes to what the network and the host let it
come to; and so are layers of images, by a builder that can tell them apart. Those of runs without a branch are made,
too: for the runs of that commit, or for the plans of that person.
"""

import asyncio
import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from stepwell.ci.lent import SCOPES
from stepwell.ci.triggers import matches_any
from stepwell.engine.seams import Attempt, CacheRights, Prepared, Preparer
from stepwell.store.caches import CacheFiles, CacheKey
from stepwell.store.store import Store
from stepwell.store.tables import Repository
from stepwell.tenants.actors import Actor
from stepwell.tenants.audit import Audit
from stepwell.tenants.scope import Scope


def rights_of(repository: Repository, branch: str) -> CacheRights:
    """Say whose caches a run of a branch may use; "" stands for none."""
    default = repository.default_branch
    careful = matches_any(repository.protected, branch) and not matches_any(repository.protected, default)
    reads = (branch,) if careful else tuple(dict.fromkeys((branch, default) if branch else (default,)))
    return CacheRights(reads, branch or None)


def setups_of(rights: CacheRights, metadata: Mapping[str, Any]) -> tuple[str, ...]:
    """Say whose setups a run may take, its own last. No branch has a colon in its name."""
    own = rights.writes or f"commit:{metadata.get('commit') or ''}"
    if metadata.get("plan"):  # code that differs each time; what it was lent, another of that person's is not
        own = f"plans:{json.dumps([metadata.get('person'), metadata.get(SCOPES)])}"
    return (*(branch for branch in rights.reads if branch != own), own)


class CachePreparer:
    """Implements Preparer: says which caches and setups an attempt may use, beside what another preparer gives it."""

    def __init__(self, inner: Preparer, store: Store) -> None:
        self._inner = inner
        self._store = store

    async def prepare(self, attempt: Attempt) -> Prepared:
        """Prepare an attempt."""
        prepared = await self._inner.prepare(attempt)
        if attempt.kind != "image" and not any(attempt.options.get(name) for name in ("cache", "reuse", "setup")):
            return prepared
        rights = await asyncio.to_thread(self._rights, attempt.metadata)
        wanted = bool(attempt.metadata.get("rerun_of") or attempt.metadata.get("restart_of"))
        setups = setups_of(rights, attempt.metadata)
        return replace(prepared, caches=rights, setups=setups, reuses=not wanted)

    def _rights(self, metadata: Mapping[str, Any]) -> CacheRights:
        with self._store.read() as session:
            found = session.get(Repository, str(metadata.get("repository") or ""))
        return rights_of(found, str(metadata.get("branch") or "")) if found else CacheRights((), None)


class Caches:
    """What people see of caches. Blocks; call from any thread but the engine's."""

    def __init__(self, scope: Scope, files: CacheFiles, store: Store, audit: Audit) -> None:
        self._scope = scope
        self._files = files
        self._store = store
        self._audit = audit

    def list(self, actor: Actor, tenant: str, name: str) -> list[CacheKey]:
        """Return the keys of a repository, the most recently used first."""
        return self._files.keys(_place(self._scope.repository(actor, tenant, name)))

    def remove(self, actor: Actor, tenant: str, name: str, prefix: str = "", branch: str = "") -> int:
        """Remove the keys that begin with a text, of one branch if it is named; how many. For maintainers."""
        repository = self._scope.repository(actor, tenant, name, "manage")

        def wanted(one: CacheKey) -> bool:
            return one.key.startswith(prefix) and branch in ("", one.branch)

        return self._remove(actor, repository, wanted, prefix=prefix, branch=branch)

    def remove_key(self, actor: Actor, tenant: str, name: str, key: str, branch: str) -> int:
        """Remove one key of a branch, whatever the paths; how many. For maintainers."""
        repository = self._scope.repository(actor, tenant, name, "manage")
        return self._remove(
            actor, repository, lambda one: (one.key, one.branch) == (key, branch), key=key, branch=branch
        )

    def _remove(self, actor: Actor, repository: Repository, wanted: Callable[[CacheKey], bool], **told: str) -> int:
        gone = len(self._files.remove(_place(repository), wanted))
        with self._store.write() as session:
            self._audit.add(session, actor, repository.tenant, "caches.remove", repository.name, **told, removed=gone)
        return gone


def _place(repository: Repository) -> str:
    return f"{repository.tenant}/{repository.id}"
