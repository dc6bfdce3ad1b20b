"""Pushes to a pipeline with a concurrency group, through the installed product: git, pages, a kill in between."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from live import LiveServer, commit_all, git, wait_until, write_pipeline

PIPELINE = """
from stepwell import Pipeline, group, push


class Ship(Pipeline):
    on = [push()]
    concurrency = group("ship-{branch}", "queue")

    async def run(self, event, step):
        await step.run("build", "echo EXECUTED")
        await step.approval("Ship it?")
"""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[LiveServer]:
    live = LiveServer(tmp_path / "state", {"STEPWELL_TRUST_ALL_CODE": "1"})
    live.start()
    yield live
    live.stop()


@pytest.fixture
def browser(server: LiveServer) -> Iterator[httpx.Client]:
    link = httpx.URL(server.signin_link())
    with httpx.Client(base_url=server.url, headers={"Origin": server.url}, timeout=60) as client:
        assert client.post("/signin", data={"code": link.params["code"]}).status_code == 303
        yield client


def test_pushes_of_a_queueing_group_run_one_after_the_other(
    server: LiveServer, browser: httpx.Client, tmp_path: Path
) -> None:
    tree = tmp_path / "tree"
    write_pipeline(tree, PIPELINE)
    remote = server.create_repository("shop")
    for n in range(3):
        commit_all(tree, f"Change {n}")
        git("push", "-q", remote, "HEAD:main", cwd=tree)
        (tree / "n").write_text(f"{n}")
    third, second, first = (run["id"] for run in server.runs("shop"))
    server.wait_for_state(first, {"waiting"})
    assert [run["reason"] for run in server.runs("shop")] == ["waits for run #1 in group ship-main"] * 2 + [""]
    assert browser.get("/acme/shop/runs").text.count("<span>waits for run #1 in group ship-main</span>") == 2
    page = browser.get("/acme/shop/runs/3").text
    assert "There is no wall around steps: steps can do whatever the server&#39;s user can do." in page
    assert 'waits for run <a href="/acme/shop/runs/1">#1</a> in group ship-main' in page
    assert 'action="/acme/shop/runs/3/cancel"' in page

    server.kill()
    server.start()
    assert server.run(second)["reason"] == "waits for run #1 in group ship-main"
    assert browser.post("/acme/shop/runs/2/cancel").status_code == 303
    server.wait_for_state(second, {"cancelled"})
    server.approve(first)
    server.wait_for_state(first, {"passed"})
    server.wait_for_state(third, {"waiting"})
    wait_until(lambda: server.executions(third) == {"build#1": 1}, 60, "an execution of the third run's step")
    assert not server.executions(second), "a run that was cancelled while it waited has begun"
