"""What `.stepwell/` declares at a commit, remembered: the same tree of files declares the same for ever.

Kept per tenant, tree hash of `.stepwell/` and authoring version, until a repository of the tenant is deleted. Per
tenant, so that nobody learns from the time of an answer what others have. Problems that depend on the moment (too slow,
no isolate) are not remembered.
"""

import hashlib
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cache
from importlib import resources
from typing import Any

from sqlmodel import col, delete

from stepwell.ci import triggers
from stepwell.ci.code import ENTRY, ROOT, RepositoryCode
from stepwell.ci.views import InputView, PipelineView, Problem
from stepwell.engine.seams import Code
from stepwell.errors import Invalid
from stepwell.repos.repositories import Repositories
from stepwell.store.store import Store
from stepwell.store.tables import Declaration

Describer = Callable[[str, Code], "dict[str, Any] | Problem"]
"""(tenant, code) → the answer. Blocks; raises Unavailable or TryLater."""
REMEMBERED = 1000


@dataclass(frozen=True)
class Declarations:
    """Pipelines of a commit, or what keeps them from being read. `tree` is the hash of `.stepwell/`, "" without one."""

    tree: str
    pipelines: tuple[triggers.Declared, ...] = ()
    problem: Problem | None = None

    def named(self, name: str) -> triggers.Declared:
        """Return the pipeline of this name; Invalid says what there is, or why nothing can be read."""
        if self.problem is not None:
            raise Invalid(self.problem.text)
        for pipeline in self.pipelines:
            if pipeline.name == name:
                return pipeline
        names = ", ".join(pipeline.name for pipeline in self.pipelines)
        raise Invalid(f"There is no pipeline {name!r} at this commit. It has: {names}.")


class DeclarationCache:
    """Reads declarations, from memory, from the database, or by asking an isolate. Thread-safe; blocks."""

    def __init__(self, store: Store, repositories: Repositories, code: RepositoryCode, describe: Describer) -> None:
        self._store = store
        self._repositories = repositories
        self._code = code
        self._describe = describe
        self._known: OrderedDict[tuple[str, str], Declarations] = OrderedDict()
        self._lock = threading.Lock()

    def read(self, tenant: str, repository: str, commit: str) -> Declarations:
        """Return what the commit declares."""
        tree = self._repositories.reader(repository).tree_of(commit, ROOT)
        if tree is None:
            text = f"There is no {ROOT}/ at {commit[:7]}, so nothing runs. Add one: stepwell init"
            return Declarations("", problem=Problem("no-stepwell", text))
        key = (tenant, tree)
        found = self._remembered(key) or self._stored(key)
        if found is None:
            found = self._asked(tenant, repository, commit, tree)
        if found.problem is None or found.problem.kind != "too-slow":
            self._remember(key, found)
        return found

    def forget(self, tenant: str) -> None:
        """Forget what a tenant's repositories declare: which of them had a tree, nobody knows; others tell it again."""
        with self._store.write() as session:
            session.execute(delete(Declaration).where(col(Declaration.tenant) == tenant))
        with self._lock:
            for key in [key for key in self._known if key[0] == tenant]:
                del self._known[key]

    def _remembered(self, key: tuple[str, str]) -> Declarations | None:
        with self._lock:
            found = self._known.get(key)
            if found is not None:
                self._known.move_to_end(key)
            return found

    def _remember(self, key: tuple[str, str], found: Declarations) -> None:
        with self._lock:
            self._known[key] = found
            if len(self._known) > REMEMBERED:
                self._known.popitem(last=False)

    def _stored(self, key: tuple[str, str]) -> Declarations | None:
        with self._store.read() as session:
            row = session.get(Declaration, (*key, authoring_version()))
        return _declared(key[1], row.answer) if row is not None else None

    def _asked(self, tenant: str, repository: str, commit: str, tree: str) -> Declarations:
        try:
            files = self._code.files(repository, commit)
        except Invalid as error:
            return Declarations(tree, problem=Problem("error", str(error)))
        code = Code(digest=tree, files=files, entry=ENTRY, root=ROOT)
        told = self._describe(tenant, code)
        if isinstance(told, Problem):
            if told.kind == "too-slow":
                return Declarations(tree, problem=told)
            answer: dict[str, Any] = {"problem": asdict(told)}
        else:
            answer = told
        row = Declaration(tenant=tenant, tree=tree, version=authoring_version(), answer=answer, created_at=time.time())
        with self._store.write() as session:
            session.merge(row)
        return _declared(tree, answer)


def _declared(tree: str, answer: dict[str, Any]) -> Declarations:
    if problem := answer.get("problem"):
        return Declarations(tree, problem=Problem(**problem))
    return Declarations(tree, tuple(triggers.Declared.of(told) for told in answer["pipelines"]))


@cache
def authoring_version() -> str:
    """Return a hash of the authoring package: other sources may describe the same files differently."""
    digest = hashlib.sha256()
    for source in sorted(resources.files("stepwell.authoring").iterdir(), key=lambda entry: entry.name):
        if source.name.endswith(".py"):
            digest.update(source.read_bytes())
    return digest.hexdigest()[:16]


def pipeline_view(pipeline: triggers.Declared) -> PipelineView:
    """Show a declared pipeline."""
    inputs = triggers.manual_inputs(pipeline)
    return PipelineView(
        name=pipeline.name,
        entry=pipeline.entry,
        doc=pipeline.doc,
        line=pipeline.line,
        triggers=tuple(triggers.described(trigger) for trigger in pipeline.on),
        manual=inputs is not None,
        inputs=tuple(_input(name, kind) for name, kind in (inputs or {}).items()),
    )


def _input(name: str, kind: Any) -> InputView:
    if isinstance(kind, list):
        return InputView(name, tuple(kind), str(kind[0]), required=True)
    if isinstance(kind, bool):
        return InputView(name, ("true", "false"), "true" if kind else "false", required=True)
    return InputView(name, (), str(kind), required=False)
