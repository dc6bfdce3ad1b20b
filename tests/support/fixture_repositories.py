"""Repositories in memory: their files, pipelines, environments and caches."""

from __future__ import annotations

import builtins
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from fixture_files import PIXEL, README
from fixture_runs import NASTY, NOW, SOURCE, summary

from stepwell.ci.browsing import File, Folder, Patch, Refs, Tip
from stepwell.ci.moments import Changes, FileChange
from stepwell.ci.sources import Source
from stepwell.ci.views import (
    EnvironmentView,
    InputView,
    PipelinesView,
    PipelineView,
    Problem,
    RepositoryView,
    RunSummary,
    ScheduleView,
)
from stepwell.errors import NotFound
from stepwell.repos.latest import LastCommit, LastCommits
from stepwell.repos.objects import CommitInfo, EntryKind, Person, TreeEntry
from stepwell.store.caches import CacheKey
from stepwell.tenants.actors import ACTIONS, Actor

if TYPE_CHECKING:
    from fixture_services import FixtureServices


class FixtureSources:
    """One pipeline of two files; run 1841 has none that can be read."""

    def of(self, actor: Actor, run: RunSummary) -> Source:
        if run.number == 1841:
            return Source(run.sha, {}, f"Commit {NASTY} is not in the repository any more.")
        return Source(run.sha, {"lib/versions.py": "def version(number):\n    return number\n", "pipeline.py": SOURCE})


PATCH = "\n".join((
    "diff --git a/src/ledger/rounding.py b/src/ledger/rounding.py", "index 1111111..2222222 100644",
    "--- a/src/ledger/rounding.py", "+++ b/src/ledger/rounding.py", "@@ -8,4 +8,5 @@ def half_even(amount):",
    " from decimal import ROUND_HALF_EVEN, Decimal", " ",
    '-    return amount.quantize(Decimal("1"))', f"+    # {NASTY}",
    '+    return amount.quantize(Decimal("1"), ROUND_HALF_EVEN)', " ",
    "diff --git a/logo.png b/logo.png", "index 1111111..2222222 100644",
    "Binary files a/logo.png and b/logo.png differ",
    "diff --git a/docs/old.md b/docs/new.md", "similarity index 100%",
    "rename from docs/old.md", "rename to docs/new.md",
    "",
))  # fmt: skip


class FixtureBrowsing:
    """One branch of three commits, one folder and one file of it."""

    def __init__(self, services: FixtureServices) -> None:
        self._services = services

    def _commits(self) -> list[CommitInfo]:
        person = Person("Mara Okoye", "mara@example.org", NOW - 3600)
        told = ("Round refunds half to even\n\nOne cent was lost.", f"Refuse amounts below one cent {NASTY}", "Begin")
        shas = ["7c1e9d4" + "0" * 33, "1c1e9d4" + "0" * 33, "41d0c9e" + "0" * 33]
        return [CommitInfo(sha, "", (), person, person, text) for sha, text in zip(shas, told, strict=True)]

    def names(self, actor: Actor, tenant: str, name: str) -> tuple[list[str], list[str]]:
        return (["main"], ["v1"]) if self.tip(actor, tenant, name).sha else ([], [])

    def refs(self, actor: Actor, tenant: str, name: str) -> Refs:
        if not self.tip(actor, tenant, name).sha:
            return Refs({}, {})
        first, second, third = self._commits()
        return Refs({"fix/refund-rounding": first, NASTY: second, "main": third}, {"v1": third})

    def tip(self, actor: Actor, tenant: str, name: str, ref: str = "") -> Tip:
        self._services.catalog.get(actor, tenant, name)
        return Tip(ref or "main", "" if self._services.empty else self._commits()[0].sha)

    def at(self, actor: Actor, tenant: str, name: str, sha: str, path: str = "") -> Folder | File:
        actor.require("read", tenant)
        if path in ("", "src"):
            prefix = f"{path}/" if path else ""
            named: tuple[tuple[str, EntryKind, int | None], ...] = (
                ("src", "folder", None), ("refunds.py", "file", 1234), (NASTY, "file", 5), ("lib", "submodule", None),
                ("README.md", "file", len(README) if not path else 10_000_000), ("logo.png", "file", len(PIXEL)),
            )  # fmt: skip
            return Folder(path, tuple(TreeEntry(n, prefix + n, kind, sha, size) for n, kind, size in named))
        if path == "many":
            names = [f"record-{n:05}.json" for n in range(10_000)]
            return Folder(path, tuple(TreeEntry(name, f"many/{name}", "file", sha, n) for n, name in enumerate(names)))
        files = {"logo.png": PIXEL, "app.bin": b"\0\1", "README.md": README, "notes.md": b"# Notes\n"}
        if path in files:
            return File(path, files[path])
        if path != "src/refunds.py":
            raise NotFound(f"There is no file {path!r} in commit {sha[:12]}.")
        return File(path, SOURCE.encode())

    def sized(
        self, actor: Actor, tenant: str, name: str, entries: builtins.list[TreeEntry]
    ) -> builtins.list[TreeEntry]:
        return [*entries]

    def content(self, actor: Actor, tenant: str, name: str, entry: TreeEntry, *, limit: int) -> bytes:
        actor.require("read", tenant)
        return README

    def last_commits(
        self, actor: Actor, tenant: str, name: str, sha: str, folder: str, *, wait_s: float
    ) -> LastCommits:
        actor.require("read", tenant)
        if folder and wait_s < 1:
            return LastCommits()
        first, second, third = (LastCommit(one.sha, NOW - 3600, one.subject) for one in self._commits())
        return LastCommits({"src": first, "refunds.py": first, NASTY: second, "README.md": third, "lib": third}, True)

    def history(self, actor: Actor, tenant: str, name: str, sha: str, *, skip: int, limit: int) -> list[CommitInfo]:
        actor.require("read", tenant)
        return self._commits()[skip : skip + limit]

    def patch(self, actor: Actor, tenant: str, name: str, sha: str) -> Patch:
        self._services.catalog.get(actor, tenant, name)
        found = [one for one in self._commits() if one.sha == sha]
        if not found:
            raise NotFound(f"There is no commit {sha!r}.")
        return Patch(found[0], PATCH, True)


class FixtureRemoval:
    """Whatever `going_on` lists keeps the repository."""

    def __init__(self, services: FixtureServices) -> None:
        self._services = services
        self.runs: list[str] = []

    def going_on(self, actor: Actor, tenant: str, name: str) -> list[str]:
        actor.require("own", tenant)
        self._services.catalog.get(actor, tenant, name)
        return self.runs

    def remove(self, actor: Actor, tenant: str, name: str) -> None:
        actor.require("own", tenant)
        self._services.stopped.append(f"no {tenant}/{name}")


class FixtureMoments:
    def changes(self, actor: Actor, run_id: str, key: str) -> Changes:
        actor.require("write", "acme")
        return Changes(
            [
                FileChange("src/refunds.py", "changed", 1234, 1240, PATCH.partition("diff --git a/logo.png")[0]),
                FileChange(f"build/{NASTY}", "added", None, 9 << 20, why="It is too large to be compared."),
                FileChange(
                    "docs/old.md", "removed", 310, None, "--- a/docs/old.md\n+++ /dev/null\n@@ -1 +0,0 @@\n-Old.\n"
                ),
            ],
            5003,
        )

    def archive(self, actor: Actor, run_id: str, key: str, when: str) -> list[bytes]:
        actor.require("write", "acme")
        return []


class FixtureCaches:
    def __init__(self, services: FixtureServices) -> None:
        self._services = services

    def list(self, actor: Actor, tenant: str, name: str) -> list[CacheKey]:
        actor.require("read", tenant)
        if self._services.empty:
            return []
        return [
            CacheKey("npm-7c1e9d4", "main", ("node_modules", ".npm"), "d1", 9 << 25, 31_204, NOW - 900, NOW - 300, "r"),
            CacheKey(NASTY, "round-refunds", ("target",), "d2", 9 << 20, 1, NOW - 900, NOW - 900, "r2"),
        ]  # fmt: skip

    def remove(self, actor: Actor, tenant: str, name: str, prefix: str = "", branch: str = "") -> int:
        actor.require("manage", tenant)
        self._services.stopped.append(f"caches {prefix} {branch}".strip())
        return 0

    def remove_key(self, actor: Actor, tenant: str, name: str, key: str, branch: str) -> int:
        actor.require("manage", tenant)
        self._services.stopped.append(f"cache {key} of {branch}")
        return 1


class FixtureCatalog:
    def __init__(self, services: FixtureServices) -> None:
        self._services = services

    def _repository(self, actor: Actor, name: str = "payments-api") -> RepositoryView:
        last = None if self._services.empty else summary()
        may = tuple(a for a in ACTIONS if actor.may(a, "acme"))
        return RepositoryView(
            "r1", "acme", name, "Takes and gives back money", "main", ("main",), NOW, "ida.berg", last, may
        )

    def list(self, actor: Actor, tenant: str | None = None, *, last_runs: bool = True) -> list[RepositoryView]:
        one = self._repository(actor)
        shown = one if last_runs else replace(one, last_run=None)
        return [shown] if actor.tenants and not self._services.empty else []

    def get(self, actor: Actor, tenant: str, name: str) -> RepositoryView:
        actor.require("read", tenant)
        if name not in ("payments-api", "broken", "new-project"):
            raise NotFound(f"There is no '{tenant}/{name}', or you may not see it.")
        return self._repository(actor, name)

    def create(self, actor: Actor, tenant: str, name: str, description: str = "") -> RepositoryView:
        actor.require("write", tenant)
        return self._repository(actor, name)

    artifacts_days = 90.0

    def update(self, actor: Actor, tenant: str, name: str, **_: Any) -> None:
        actor.require("manage", tenant)

    def schedules(self, actor: Actor, tenant: str, name: str) -> tuple[ScheduleView, ...]:
        actor.require("read", tenant)
        if self._services.empty:
            return ()
        return (ScheduleView("Nightly", "0 3 * * 1-5", "Europe/Berlin", NOW + 30_000, NOW - 50_000),)

    def pipelines(self, actor: Actor, tenant: str, name: str, ref: str | None = None) -> PipelinesView:
        actor.require("read", tenant)
        if name == "broken":
            problem = Problem("syntax-error", f"invalid syntax {NASTY}", "pipeline.py", 12, "Traceback …")
            return PipelinesView("main", "7c1e9d4", (), problem)
        if self._services.empty:
            return PipelinesView("main", "", (), Problem("empty", "Nothing has been pushed yet."))
        inputs = (InputView("target", ("staging", "production"), "staging", True), InputView("note", (), "", False))
        ship = PipelineView(
            "Ship", "pipeline.py:Ship", "Check every push; ship main.", 7, ("push to main", "manual"), True, inputs
        )
        return PipelinesView("main", "7c1e9d4", (ship,))


class FixtureEnvironments:
    def list(self, actor: Actor, tenant: str, name: str) -> list[EnvironmentView]:
        actor.require("read", tenant)
        return [EnvironmentView("production", ("ida.berg", "jun.sato"), 2, ("main",), True)]

    def get(self, actor: Actor, tenant: str, name: str, environment: str) -> EnvironmentView:
        return self.list(actor, tenant, name)[0]

    def put(self, actor: Actor, tenant: str, *_: Any, **__: Any) -> None:
        actor.require("manage", tenant)

    def remove(self, actor: Actor, tenant: str, *_: Any) -> None:
        actor.require("manage", tenant)
