"""A repository that people push to, and steps of a run of it in an executor of their own."""

import dataclasses
import subprocess
from pathlib import Path
from typing import Any

from logged import Log

from stepwell.engine.seams import Attempt, Code, Outcome, Prepared
from stepwell.repos.process import environment
from stepwell.repos.repositories import Repositories
from stepwell_runners.executor import LocalExecutor

WHO = {f"GIT_{role}_{what}": "t@example.org" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
UNTOUCHED = "git status --porcelain && git diff-files --quiet && git diff --exit-code HEAD"


class Origin:
    """A repository that people push to, and their working copy."""

    def __init__(self, state: Path, id_: str = "r1") -> None:
        self.path = Repositories(state).create(id_)
        self.work = state.parent / f"{id_}.work"
        self.git("init", "-q", "-b", "main", str(self.work))
        self.first = self.commit("first", {"a": "one\n", "src/f": "old\n", "run.sh": "#!/bin/sh\n"})
        self.git("tag", "-a", "-m", "words", "v1.0")
        (self.work / "link").symlink_to("src/f")
        self.last = self.commit("second", {"a": "one\ntwo\n"})
        self.git("push", "-q", str(self.path), "main", "v1.0")

    def git(self, *arguments: str) -> str:
        env = {**environment(), **WHO, "GIT_CONFIG_COUNT": "0"}
        where = self.work if self.work.exists() else self.path
        done = subprocess.run(["git", *arguments], cwd=where, env=env, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    def commit(self, message: str, files: dict[str, str]) -> str:
        for name, text in files.items():
            (self.work / name).parent.mkdir(parents=True, exist_ok=True)
            (self.work / name).write_text(text)
        self.git("add", "-A")
        self.git("commit", "-qm", message)
        return self.git("rev-parse", "HEAD")

    def lose(self, commit: str) -> None:
        """Force the branch away from a commit, and collect what nothing refers to."""
        self.git("reset", "-q", "--hard", f"{commit}~1")
        self.git("push", "-qf", str(self.path), "main")
        arguments = ["-c", "gc.reflogExpire=now", "-c", "gc.pruneExpire=now", "gc", "-q", "--prune=now"]
        subprocess.run(["git", "--git-dir", self.path, *arguments], check=True)


def attempt(commit: str, command: str, base: tuple[str, ...] = (), **changes: Any) -> Attempt:
    asked = Attempt(
        run="run-1",
        tenant="acme",
        scope="acme/api",
        metadata={"name": "acme/api", "commit": commit, "branch": "main"},
        code=Code("digest", {}, "pipeline.py:Ship", tree=f"r1:{commit}"),
        key="step#1",
        name="step",
        kind="run",
        number=1,
        options={"command": command},
        base=base,
    )
    return dataclasses.replace(asked, **changes)


async def run(executor: LocalExecutor, asked: Attempt) -> tuple[Outcome, Log]:
    log = Log()
    return await executor.execute(asked, Prepared(), log), log


async def say(executor: LocalExecutor, commit: str, command: str, **changes: Any) -> str:
    """Run a command that has to pass; what it printed."""
    outcome, log = await run(executor, attempt(commit, command, **changes))
    assert outcome.ok, (outcome.error, log.text)
    return log.text.strip()
