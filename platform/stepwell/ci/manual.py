"""Starting a pipeline by hand: at a branch, tag or commit, with its form filled in."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from stepwell.ci import inputs, triggers
from stepwell.ci.declarations import DeclarationCache
from stepwell.ci.events import message_of
from stepwell.ci.history import History
from stepwell.ci.launch import Cause, Launcher, Place, asked_of, id_of, new_id
from stepwell.engine.specs import RunRef
from stepwell.errors import Invalid, NotFound
from stepwell.repos.odb import is_sha
from stepwell.repos.reader import Reader
from stepwell.repos.repositories import Repositories
from stepwell.tenants.actors import Actor
from stepwell.tenants.scope import Scope


@dataclass(frozen=True)
class Wish:
    """What somebody wants to start. Empty `ref`: the default branch; the same `key` again is the same run."""

    pipeline: str
    ref: str = ""
    inputs: Mapping[str, Any] = field(default_factory=dict)
    key: str = ""


class Starter:
    """Starts pipelines that declare `manual`."""

    def __init__(
        self,
        scope: Scope,
        repositories: Repositories,
        declarations: DeclarationCache,
        launcher: Launcher,
        history: History,
    ) -> None:
        self._scope = scope
        self._repositories = repositories
        self._declarations = declarations
        self._launcher = launcher
        self._history = history

    def start(self, actor: Actor, tenant: str, repository: str, wish: Wish) -> RunRef:
        """Start; Invalid says what is wrong with pipeline or inputs, NotFound that there is no such ref."""
        row = self._scope.repository(actor, tenant, repository, "write")
        reader = self._repositories.reader(row.id)
        branch, tag, sha = resolved(reader, wish.ref or row.default_branch)
        declared = self._declarations.read(row.tenant, row.id, sha)
        found = declared.named(wish.pipeline)
        form = triggers.manual_inputs(found)
        if form is None:
            raise Invalid(f"Pipeline {found.name!r} is not started by hand. Add manual() to its `on`.")
        commit = reader.commit(sha)
        event = {
            "kind": "manual",
            "sha": sha,
            "branch": branch or None,
            "tag": tag or None,
            "actor": actor.name,
            "message": message_of(commit),
            "inputs": inputs.checked(form, wish.inputs, "input"),
            **self._history.changed_since_passed(row, found.name, branch, sha),
        }
        run = id_of("manual", row.id, actor.person, wish.key) if wish.key else new_id()
        asked = asked_of(found.name, wish.ref, event["inputs"]) if wish.key else ""
        cause = Cause(run, "manual", actor.name, event, branch, tag, {"person": actor.person}, asked)
        return self._launcher.start(Place(row, commit, declared.tree), found, cause)


def resolved(reader: Reader, ref: str) -> tuple[str, str, str]:
    """Return (branch, tag, commit) of what a person calls a ref; a full id is always that commit."""
    if is_sha(ref) and (commit := reader.resolve(ref)) is not None:
        return "", "", commit
    for prefix in ("refs/heads/", "refs/tags/"):
        name = ref.removeprefix(prefix)
        sha = reader.resolve(prefix + name) if not ref.startswith("refs/") or ref.startswith(prefix) else None
        if sha is not None:
            return (name, "", sha) if prefix == "refs/heads/" else ("", name, sha)
    sha = reader.resolve(ref)
    if sha is None:
        raise NotFound(f"There is no branch, tag or commit {ref!r}. Push it first.")
    return "", "", sha
