"""A whole Stepwell without HTTP and without a wall, on a real database, real git and real isolates."""

import asyncio
import os
import subprocess
import threading
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from stepwell.ci.caps import RunCaps
from stepwell.ci.children import metadata_of_child
from stepwell.ci.services import Foundation, Services
from stepwell.ci.views import RunView
from stepwell.dynamic import WorkflowsBinding
from stepwell.engine.engine import Engine
from stepwell.engine.local import ProcessIsolates
from stepwell.engine.seams import Attempt, Outcome, Output, Prepared
from stepwell.engine.thread import EngineThread
from stepwell.repos.push import NO_COMMIT, PushContext, RefUpdate
from stepwell.settings import Settings
from stepwell.store.journal_sqlite import SqliteJournal
from stepwell.tenants import Actor

T = TypeVar("T")
SHIP = """
from stepwell import *

class Ship(Pipeline):
    \"\"\"Check and ship.\"\"\"
    on = [push("main", "release/*"), manual(target=["staging", "production"], dry=False)]
    async def run(self, event, step):
        await step.run("test", "true")
        if event.kind == "push":
            await step.approval("Ship it?", environment="production", fields={"version": "1.0"})
            await step.run("deploy", "true", environment="production", secrets=["KEY"])
        return event.inputs.get("target", "")
"""


class EchoExecutor:
    """Runs nothing: writes the command, variables and files of an attempt to its log, and passes."""

    def __init__(self) -> None:
        self.attempts: list[Attempt] = []
        self.prepared: list[Prepared] = []
        self.erased: list[list[str]] = []

    async def recover(self, committed: Callable[[str], bool], ended: Callable[[str], bool]) -> None: ...

    async def abandon(self, run: str, key: str) -> None: ...

    async def forget(self, run: str) -> None: ...

    async def missing(self, layers: Sequence[str]) -> list[str]:
        return []

    async def drop(self, layers: Sequence[str]) -> None: ...

    async def erase(self, runs: Sequence[str], layers: Sequence[str]) -> None:
        self.erased.append(list(runs))

    async def execute(self, attempt: Attempt, prepared: Prepared, output: Output) -> Outcome:
        self.attempts.append(attempt)
        self.prepared.append(prepared)
        output.note(f"attempt {attempt.number}")
        output.write(f"$ {attempt.options['command']}\n".encode())
        for name, value in {**prepared.env, **prepared.files}.items():
            output.write(f"{name}={value}\n".encode())
        return Outcome(True, {"exit_code": 0, "seconds": 0.0, "outputs": {}}, exit_code=0)


class Place:
    """A state directory and, between `start` and `stop`, a server on it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.settings = Settings(state=path / "state", url="http://ci.test")
        self.executor = EchoExecutor()
        self.base: Foundation
        self.services: Services
        self.thread: EngineThread

    def start(self) -> "Place":
        """Start the parts; the keeper's threads stay off, tests call what they do."""
        self.base = base = Foundation.open(self.settings)
        isolates = ProcessIsolates()
        engine = Engine(
            SqliteJournal(self.settings.database, wal_bytes=4096), isolates, base.loader, logs=base.logs,
            executor=self.executor, preparer=base.preparer, gate=base.gate, heritage=metadata_of_child,
            caps=RunCaps(base.tenants.quotas, None, None), blobs=base.blobs,
        )  # fmt: skip
        engine.offer("workflows", WorkflowsBinding(engine))
        engine.offer("repository", base.promotions)
        self.thread = EngineThread(engine, after=[isolates.close])
        self.thread.start()
        self.services = Services.build(base, self.thread, isolates)
        return self

    def stop(self) -> None:
        """Stop everything."""
        self.services.stop()
        self.thread.stop()
        self.base.close()

    def admin(self) -> Actor:
        """Return the owner of the tenant `acme`."""
        return self.services.tenants.people.actor(self.services.tenants.bootstrap("acme").id)

    def person(self, name: str, role: str = "", tenant: str = "acme") -> Actor:
        """Add a person, with a role or none."""
        tenants = self.services.tenants
        row = tenants.people.add(self.admin(), name)
        if role:
            tenants.members.put(self.admin(), tenant, name, role)
        return tenants.people.actor(row.id)

    def repository(self, name: str = "api") -> "Clone":
        """Create a repository and a working copy of it."""
        view = self.services.catalog.create(self.admin(), "acme", name)
        clone = Clone(self, view.id, name, self.path / f"{name}-{uuid.uuid4().hex[:6]}")
        clone.git("init", "-q", "-b", "main", str(clone.path), cwd=self.path)
        return clone

    def until(self, run: str, claim: Callable[[RunView], object]) -> RunView:
        """Wait until the claim about a run is true, looking whenever a journal grows."""
        return self._until(lambda: self.services.runs.get(self.admin(), run), claim)

    def until_runs(self, clone: "Clone", number: int) -> None:
        """Wait until a repository has so many runs."""
        self._until(clone.runs, lambda runs: len(runs) >= number)

    def _until(self, look: Callable[[], T], claim: Callable[[T], object], seconds: float = 60) -> T:
        news = threading.Event()
        stop = self.thread.engine.subscribe(lambda *_: news.set())
        deadline = time.monotonic() + seconds
        try:
            while True:
                news.clear()
                seen = look()
                if claim(seen):
                    return seen
                if not news.wait(max(0.0, deadline - time.monotonic())):
                    raise AssertionError(f"waited in vain: {seen}")
        finally:
            stop()

    def log(self, run: str, key: str) -> bytes:
        """Return what is in the log of a step."""
        return self.services.runs.log(self.admin(), run, key).read()

    def waiting(self, run: str) -> RunView:
        """Wait until people are asked."""
        return self.until(run, lambda view: view.approvals)

    def finished(self, run: str) -> RunView:
        """Wait until the run has ended."""
        return self.until(run, lambda view: view.summary.finished)


class Clone:
    """A working copy, and pushes from it as the git endpoint makes them."""

    def __init__(self, place: Place, id: str, name: str, path: Path) -> None:
        self.place = place
        self.id = id
        self.name = name
        self.path = path

    def git(self, *args: str, cwd: Path | None = None) -> str:
        environment = {
            "PATH": os.environ["PATH"], "HOME": str(self.place.path), "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_AUTHOR_NAME": "A", "GIT_AUTHOR_EMAIL": "a@example.org",
            "GIT_COMMITTER_NAME": "A", "GIT_COMMITTER_EMAIL": "a@example.org",
        }  # fmt: skip
        done = subprocess.run(["git", *args], cwd=cwd or self.path, env=environment, capture_output=True, check=True)
        return done.stdout.decode().strip()

    def commit_files(self, files: Mapping[str, str], message: str = "Change") -> str:
        """Commit files by path."""
        for name, text in files.items():
            target = self.path / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text)
        self.git("add", "-A")
        self.git("commit", "-q", "--allow-empty", "-m", message)
        return self.git("rev-parse", "HEAD")

    def pipeline(self, source: str = SHIP, message: str = "Add a pipeline") -> str:
        """Commit a pipeline."""
        return self.commit_files({".stepwell/pipeline.py": source}, message)

    def context(self, actor: Actor | None = None) -> PushContext:
        """Return a new push."""
        return PushContext(uuid.uuid4().hex, self.id, "acme", self.name, actor or self.place.admin())

    def update(self, ref: str = "refs/heads/main", commit: str = "HEAD") -> RefUpdate:
        """Return what a push of the commit to the ref would move."""
        old = self.place.services.repositories.reader(self.id).resolve(ref) or NO_COMMIT
        return RefUpdate(old, self.git("rev-parse", commit), ref)

    def move(self, update: RefUpdate) -> None:
        """Move the ref, as git does between the two hooks."""
        target = self.place.services.repositories.path(self.id)
        self.git("push", "-q", "--force", str(target), f"{update.new}:{update.ref}")

    def permit(self, context: PushContext, updates: Sequence[RefUpdate]) -> str | None:
        """Ask pre-receive; the objects are there, as they would be in the quarantine."""
        target = self.place.services.repositories.path(self.id)
        for update in updates:
            self.git("push", "-q", "--force", str(target), f"{update.new}:refs/arrived/{uuid.uuid4().hex}")
        return asyncio.run(self.place.services.pushes.pre_receive(context, list(updates)))

    def refusal(self, update: RefUpdate, actor: Actor) -> str | None:
        """Ask pre-receive about an update without new objects."""
        return asyncio.run(self.place.services.pushes.pre_receive(self.context(actor), [update]))

    def push(self, ref: str = "refs/heads/main", actor: Actor | None = None, commit: str = "HEAD") -> list[str]:
        """Push; return the lines shown to the pusher."""
        context, update = self.context(actor), self.update(ref, commit)
        refusal = self.permit(context, [update])
        if refusal is not None:
            return [refusal]
        self.move(update)
        lines = asyncio.run(self.place.services.pushes.post_receive(context, [update]))
        self.place.services.pushes.finish()
        return lines

    def pushed(self, source: str = SHIP, ref: str = "refs/heads/main", message: str = "Add a pipeline") -> str:
        """Commit and push a pipeline; return the id of its newest run."""
        self.pipeline(source, message)
        self.push(ref)
        return str(self.runs()[0].id)

    def runs(self) -> list[Any]:
        """Return the repository's runs, the newest first."""
        page = self.place.services.runs.list(self.place.admin(), tenant="acme", repository=self.name)
        return list(page.items)
