"""Plans: programs that are sent in a request instead of committed, by agents and from the playground.

A plan is the same kind of program as a pipeline and becomes the same kind of run, numbered in its tenant as
`acme/-#12`. It is imported and looked through before anything is kept of it. Its workspace is that of a commit, if one
is named, else empty.

A plan's run belongs to no repository, also when it stands on a repository's files: secrets, environments, caches and
whatever else a repository lends to its own commits are not for code that nobody has pushed – but for the secrets and
environments that the token names with which the plan was sent.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from stepwell.authoring.results import canonical
from stepwell.ci.code import ENTRY, ROOT
from stepwell.ci.launch import Cause, Launcher, asked_of, id_of, new_id
from stepwell.ci.lent import SCOPES
from stepwell.ci.manual import resolved
from stepwell.ci.plan_texts import PlanTexts
from stepwell.ci.triggers import Declared
from stepwell.ci.views import Problem
from stepwell.engine.seams import Code
from stepwell.engine.specs import RunRef
from stepwell.errors import Invalid
from stepwell.repos.repositories import Repositories
from stepwell.tenants.actors import Actor
from stepwell.tenants.scope import Scope

MOST_FILES = 100
MOST_CHARACTERS = 1024 * 1024
"""Of all files of a plan together."""
MOST_EVENT = 256 * 1024
"""Characters of an event as JSON."""
NO_REPOSITORY = "-"
"""The name under which a tenant's plans are numbered; no repository can have it."""

Describer = Callable[[str, Code], "dict[str, Any] | Problem"]
"""(tenant, code) → the isolate's answer with `steps`. Blocks; raises Unavailable or TryLater."""


@dataclass(frozen=True)
class PlanStep:
    """A step that the text of a plan tells; names put together at run time are "…". Secrets are those named there."""

    kind: str
    name: str
    file: str
    line: int
    environment: str = ""
    secrets: tuple[str, ...] = ()


@dataclass(frozen=True)
class Checked:
    """What a look at a plan has found: its pipelines and steps, or the problem that keeps it from running."""

    pipelines: tuple[Declared, ...] = ()
    steps: tuple[PlanStep, ...] = ()
    problem: Problem | None = None

    def named(self, name: str) -> Declared:
        """Return the pipeline of this name; the only one when no name is given. Raises Invalid."""
        if self.problem is not None:
            raise Invalid(self.problem.text)
        found = [pipeline for pipeline in self.pipelines if name in ("", pipeline.name)]
        if len(found) == 1:
            return found[0]
        names = ", ".join(pipeline.name for pipeline in self.pipelines)
        raise Invalid(f"The plan has the pipelines {names}. Name one of them: pipeline has value {name!r}.")


@dataclass(frozen=True)
class Plan:
    """What somebody wants to have run. The same `key` again is the same run."""

    files: Mapping[str, str]
    event: Any = None
    pipeline: str = ""
    repository: str = ""  # name of the one whose files the workspace has, "" for an empty one
    ref: str = ""
    key: str = field(default="", kw_only=True)


class Plans:
    """Checks and starts plans. Blocks; call from any thread but the engine's."""

    def __init__(
        self, scope: Scope, repositories: Repositories, texts: PlanTexts, launcher: Launcher, describe: Describer
    ) -> None:
        self.texts = texts
        self._scope = scope
        self._repositories = repositories
        self._launcher = launcher
        self._describe = describe

    def check(self, actor: Actor, tenant: str, files: Mapping[str, str]) -> Checked:
        """Import a plan in an isolate and list the steps that its text tells; nothing is kept or started."""
        actor.require("write", tenant, NO_REPOSITORY)
        _require_fit(files)
        told = self._describe(tenant, Code(digest="", files=files, entry=ENTRY, root=ROOT))
        if isinstance(told, Problem):
            return Checked(problem=told)
        steps = tuple(PlanStep(**step) for step in told["steps"])
        return Checked(tuple(Declared.of(one) for one in told["pipelines"]), steps)

    def files(self, actor: Actor, tenant: str, digest: str) -> Mapping[str, str]:
        """Return the program of a plan that was sent before."""
        actor.require("read", tenant, NO_REPOSITORY)
        return self.texts.files(tenant, digest)

    def start(self, actor: Actor, tenant: str, plan: Plan) -> tuple[RunRef, Checked]:
        """Check a plan and start it. Raises Invalid for one that could not run, naming the place."""
        found = self.check(actor, tenant, plan.files)
        pipeline = found.named(plan.pipeline)
        if len(canonical(plan.event)) > MOST_EVENT:
            raise Invalid(f"The event is larger than {MOST_EVENT // 1024} KiB as JSON. Send a reference to the data.")
        where = self._workspace(actor, tenant, plan)
        if actor.lends:
            where = {**where, SCOPES: sorted(actor.lends)}
        digest = self.texts.save(tenant, plan.files)
        event = {
            "kind": "plan", "actor": actor.name, "payload": plan.event,
            "sha": where.get("commit"), "branch": where.get("of_branch"), "tag": where.get("of_tag"),
        }  # fmt: skip
        run = id_of("plan", tenant, actor.person, plan.key) if plan.key else new_id()
        more = {"plan": digest, "person": actor.person, "pipeline": pipeline.name, "entry": pipeline.entry, **where}
        asked = asked_of(digest, pipeline.name, plan.event, plan.repository, plan.ref) if plan.key else ""
        cause = Cause(run, "plan", actor.name, event, more=more, asked=asked)
        return self._launcher.play(tenant, pipeline, cause), found

    def _workspace(self, actor: Actor, tenant: str, plan: Plan) -> Mapping[str, Any]:
        if not plan.repository:
            if plan.ref:
                raise Invalid(f"ref has value {plan.ref!r}, but no repository is named. Name the repository, too.")
            return {}
        row = self._scope.repository(actor, tenant, plan.repository, "write")
        branch, tag, sha = resolved(self._repositories.reader(row.id), plan.ref or row.default_branch)
        return {"files_of": row.id, "commit": sha, "workspace": row.full_name, "of_branch": branch, "of_tag": tag}


def _require_fit(files: Mapping[str, str]) -> None:
    if ENTRY not in files:
        raise Invalid(f"A plan begins in {ENTRY}, which is not among its files: {', '.join(sorted(files)) or 'none'}.")
    if len(files) > MOST_FILES:
        raise Invalid(f"The plan has {len(files)} files; at most {MOST_FILES}.")
    if sum(map(len, files.values())) > MOST_CHARACTERS:
        raise Invalid(f"The plan has more than {MOST_CHARACTERS:,} characters. Put data into a repository.")
    for path in files:
        parts = path.split("/")
        if not path.isprintable() or len(path) > 200 or any(part in ("", ".", "..") for part in parts):
            raise Invalid(f'The plan has a file named {path[:80]!r}. Write a path like "helpers.py" or "lib/dates.py".')
