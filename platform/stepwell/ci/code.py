"""From a run's metadata to its code: the files of `.stepwell/` at the run's commit, or those of a plan.

Code is pinned by content: the digest covers the texts, the entry and the commit, whose tree the steps see.
A run that was created only to show why nothing could run (its metadata has a `problem`) gets a program that raises
just that, and never the author's: what could not be described must not be executed.
"""

import asyncio
import hashlib
import json
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

from stepwell.engine.seams import Code
from stepwell.errors import NotFound
from stepwell.repos.repositories import Repositories

PlanFiles = Callable[[str, str], Mapping[str, str]]
"""(tenant, digest) → the files of a plan. Blocks; raises NotFound."""
ROOT = ".stepwell"
ENTRY = "pipeline.py"
_PROBLEM = """\
class PipelineProblem(Exception):
    pass


raise PipelineProblem({message!r})
"""


class RepositoryCode:
    """Loads code from repositories; `load` is a Loader."""

    def __init__(self, repositories: Repositories, plan: PlanFiles) -> None:
        self._repositories = repositories
        self._plan = plan
        self._files = lru_cache(maxsize=256)(self._read)

    async def load(self, metadata: Mapping[str, Any]) -> Code:
        """Return the code of a run. NotFound when repository or commit are gone."""
        return await asyncio.to_thread(self.code, metadata)

    def code(self, metadata: Mapping[str, Any]) -> Code:
        """Do the same, blocking."""
        if digest := metadata.get("plan"):
            place = f"{metadata['files_of']}:{metadata['commit']}" if metadata.get("files_of") else None
            return _code(self._plan(str(metadata["tenant"]), str(digest)), str(metadata["entry"]), place)
        commit, repository = str(metadata["commit"]), str(metadata["repository"])
        tree = f"{repository}:{commit}"
        if problem := metadata.get("problem"):
            text = _PROBLEM.format(message=str(problem["text"]))
            return _code({ENTRY: text}, f"{ENTRY}:PipelineProblem", tree)
        files = self._files(repository, commit)
        if not files:
            raise NotFound(f"Commit {commit[:12]} has no {ROOT}/ any more that could be read.")
        return _code(files, str(metadata["entry"]), tree)

    def files(self, repository: str, commit: str) -> Mapping[str, str]:
        """Return path below `.stepwell/` → text; empty when the commit has none."""
        return self._files(repository, commit)

    def _read(self, repository: str, commit: str) -> Mapping[str, str]:
        return self._repositories.reader(repository).read_files(commit, ROOT)


def _code(files: Mapping[str, str], entry: str, tree: str | None) -> Code:
    pinned = json.dumps([entry, tree, sorted(files.items())]).encode()
    return Code(digest=hashlib.sha256(pinned).hexdigest(), files=files, entry=entry, root=ROOT, tree=tree)
