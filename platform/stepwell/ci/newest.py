"""The newest code of a run's branch: what a run is restarted with when its own code was wrong."""

from collections.abc import Mapping
from typing import Any

from stepwell.ci.declarations import DeclarationCache
from stepwell.ci.launch import LONGEST_TITLE
from stepwell.engine.state import RunState
from stepwell.errors import Conflict
from stepwell.repos.repositories import Repositories


class Newest:
    """Finds a pipeline where its branch stands now. Blocks."""

    def __init__(self, repositories: Repositories, declarations: DeclarationCache) -> None:
        self._repositories = repositories
        self._declarations = declarations

    def of(self, run: RunState) -> Mapping[str, Any]:
        """Return what the metadata of a run of the same pipeline says there. Conflict without a branch, Invalid when
        the pipeline is not declared any more.
        """
        branch, repository = str(run.metadata.get("branch") or ""), str(run.metadata["repository"])
        if not branch:
            raise Conflict(f"Run #{run.number} is for no branch, so there is no newer code. Restart it with its own.")
        reader = self._repositories.reader(repository)
        sha = reader.resolve(f"refs/heads/{branch}")
        if sha is None:
            raise Conflict(f"Branch {branch!r} of run #{run.number} is gone. Restart it with its own code.")
        declared = self._declarations.read(run.tenant, repository, sha)
        found, commit = declared.named(str(run.metadata["pipeline"])), reader.commit(sha)
        return {
            "commit": commit.sha, "tree": commit.tree, "stepwell_tree": declared.tree, "entry": found.entry,
            "message": commit.subject[:LONGEST_TITLE],
        }  # fmt: skip
