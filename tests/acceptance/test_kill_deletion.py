"""kill -9 of the server at each place of a repository's deletion: after a start it is whole, or nothing of it is left.

What is left is looked for on the disk and in every table, not asked of the server. `make soak` kills at all places.
"""

import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest
from live import LiveServer, commit_all, git, wait_until, write_pipeline

SOAK = bool(os.environ.get("STEPWELL_SOAK"))
BEFORE = "stepwell.tenants.audit:Audit.add"  # in the transaction that takes the repository away
AFTER = (
    "stepwell.tenants.quotas:Quotas.reload",
    "stepwell.store.logs:LogStore.remove",
    "stepwell.engine.engine:Engine.remove",
    "stepwell_runners.executor:LocalExecutor.erase",
    "stepwell.store.journal_sqlite:SqliteJournal.remove",
    "stepwell.repos.repositories:Repositories.delete",
    "stepwell.repos.repositories:Repositories.let_go",  # it is renamed, its files are there
    "stepwell.store.reuses:ReuseFiles.forget",
    "stepwell_runners.trees:Trees.forget",
    "stepwell.store.caches:CacheFiles.forget",
    "stepwell.ci.removal:text",  # in the transaction that takes the mark away
)
AT_LENGTH = [(place,) for place in AFTER if SOAK]
KILLS = [(BEFORE, "stepwell.repos.repositories:Repositories.let_go"), *AT_LENGTH]
WITH_ITS_NAME = {"audit", "tokens", "usage_months"}  # tables that tell of it for ever: who did what, what it took
SHARED = {"tools", "common", "run", "hooks"}  # no files of a repository
SOURCE = """
from stepwell import *

class Ship(Pipeline):
    on = [push(), cron("0 3 * * *")]
    async def run(self, event, step):
        await step.run(
            "cached", "mkdir -p c && echo kept > c/file && echo made > made.txt", artifacts=["made.txt"],
            cache={"key": "k-{lock}", "paths": ["c"]},
        )
        await step.run("reusable", "cat lock > copy.txt", artifacts=["copy.txt"], reuse=["lock"])
        await step.run("branch", "git branch side")
"""


class Killed(LiveServer):
    """A server that ends at the place that `order` names."""

    @classmethod
    def below(cls, folder: Path) -> "Killed":
        support = Path(__file__).parents[1] / "support" / "killed_at.py"
        environment = {"KILLED_AT": str(folder / "killed-at"), "KILLED_AT_ANY": " ".join((BEFORE, *AFTER))}
        return cls(folder / "state", environment, command=(sys.executable, str(support)))

    @property
    def order(self) -> Path:
        return self.state.parent / "killed-at"

    def issue(self, scopes: Sequence[str], repository: str = "") -> str:
        """Issue a token; beside the server, for one token may not issue another that lends."""
        with self._tenants() as tenants:
            owner = tenants.people.actor(tenants.bootstrap().id)
            issued = tenants.tokens.issue(owner, "of a test", scopes=scopes, tenant="acme", repository=repository)
        return issued.secret

    def delete_and_die(self, name: str, place: str) -> None:
        """Ask for the deletion; the server ends at the place, and is not there any more."""
        assert self.process is not None
        self.order.write_text(place)
        with pytest.raises(httpx.TransportError):
            self.api("DELETE", f"/repos/acme/{name}")
        assert self.process.wait(60) == -9
        self.order.unlink()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Killed]:
    live = Killed.below(tmp_path_factory.mktemp("deletion"))
    live.start()
    yield live
    live.stop()


class Doomed:
    """A repository with something of everything, and what its server had before it."""

    def __init__(self, server: Killed, name: str, tree: Path) -> None:
        self.server, self.name = server, name
        self.files_before = files(server.state)
        self.id = str(server.api("POST", "/repos", json={"tenant": "acme", "name": name})["id"])
        here = f"/repos/acme/{name}"
        server.api("PUT", f"{here}/secrets/KEY", json={"value": "correct horse battery"})
        server.api("PUT", f"{here}/environments/production", json={"reviewers": [], "count": 0})
        server.api("PUT", "/tenants/acme/quotas", json={"repository": name, "runs": 3})
        self.tokens = server.issue(["read"], repository=name), server.issue(["read", f"secret:{name}/KEY"])
        tree.mkdir()
        write_pipeline(tree, SOURCE)
        (tree / "lock").write_text(name)
        commit_all(tree, "start")
        git("push", "-q", server.clone_url(name), "HEAD:main", cwd=tree)
        (run,) = wait_until(lambda: server.runs(name), 60, "run")
        self.run = str(run["id"])
        server.wait_for_state(self.run, {"passed"})
        wait_until(lambda: server.query("SELECT 1 FROM schedules WHERE repository = ?", self.id), 60, "schedule")

    def is_whole(self) -> bool:
        """Whether everything of it is there and of use."""
        server = self.server
        view = server.run(self.run)
        listed = server.api("GET", f"/runs/{self.run}/artifacts")["items"]
        secrets = server.api("GET", f"/repos/acme/{self.name}/secrets")["items"]
        cloned = git("ls-remote", server.clone_url(self.name), "main", cwd=server.state.parent).stdout
        return bool(view["state"] == "passed" and len(listed) == 2 and secrets and "refs/heads/main" in cloned)

    def left(self) -> dict[str, Any]:
        """What is left of it: paths, and rows that name it, by table."""
        found: dict[str, Any] = {}
        if paths := files(self.server.state) - self.files_before:
            found["files"] = sorted(paths)
        for (table,) in self.server.query("SELECT name FROM sqlite_master WHERE type = 'table'"):
            rows = self.server.query(f'SELECT * FROM "{table}"')
            named = [row for row in rows if any(word in str(row) for word in (self.id, self.run, self.name))]
            if named and table not in WITH_ITS_NAME:
                found[table] = named
        return found


def files(state: Path) -> set[str]:
    """Everything below a state directory but what belongs to no repository."""
    paths = {path.relative_to(state) for path in state.rglob("*")} - {Path("reuse/runs")}
    return {str(path) for path in paths if len(path.parts) > 1 and path.parts[0] not in SHARED}


def nothing_is_left(doomed: Doomed) -> None:
    server = doomed.server
    wait_until(lambda: not server.query("SELECT * FROM removed_repositories"), 60, "end of the deletion")
    assert doomed.left() == {}
    alone, lender = (
        httpx.get(f"{server.url}/api/v1/me", headers={"Authorization": f"Bearer {secret}"}, timeout=60)
        for secret in doomed.tokens
    )
    assert (alone.status_code, lender.json()["lends"]) == (401, [])
    again = server.api("POST", "/repos", json={"tenant": "acme", "name": doomed.name})
    assert again["last_run"] is None
    server.api("DELETE", f"/repos/acme/{doomed.name}")
    assert doomed.left() == {}


@pytest.mark.timeout(400)
@pytest.mark.parametrize("kills", KILLS, ids="then ".join)
def test_a_server_killed_while_it_deletes_a_repository_leaves_it_whole_or_nothing_of_it(
    server: Killed, tmp_path: Path, kills: tuple[str, ...]
) -> None:
    doomed = Doomed(server, f"gone-{KILLS.index(kills)}", tmp_path / "tree")
    assert doomed.is_whole()
    for place in kills:
        server.delete_and_die(doomed.name, place)
        marks = server.query("SELECT name FROM removed_repositories")
        server.start()
        if place == BEFORE:
            assert doomed.is_whole() and not marks
        else:
            assert marks == [(doomed.name,)]
    nothing_is_left(doomed)
