"""What a run publishes, with real workspaces and git: what the step that the pipeline names has made, nothing else."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from live import LiveServer, commit_all, git, wait_until, write_pipeline

PIPELINE = """
from stepwell import Pipeline, StepFailed, push

class Release(Pipeline):
    on = [push("main")]
    async def run(self, event, step):
        await step.run("bump", "git commit -q --allow-empty -m bumped && git tag v2")
        await step.run("test", "git commit -q --allow-empty -m hostile && git push -q origin HEAD:refs/heads/stable")
        published = [await step.promote("release", "refs/tags/v2", made_by="bump")]
        for branch, steps in (("stable", []), ("main", "bump")):
            try:
                published.append(await step.promote(branch, f"refs/heads/{branch}", made_by=steps))
            except StepFailed as error:
                published.append(error.message)
        return published
"""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[LiveServer]:
    live = LiveServer(tmp_path / "state")
    live.start()
    yield live
    live.stop()


def test_a_dependency_that_moves_branches_in_its_workspace_releases_nothing(server: LiveServer, tmp_path: Path) -> None:
    folder = tmp_path / "work"
    write_pipeline(folder, PIPELINE)
    pushed = commit_all(folder, "Release")
    url = server.create_repository("shop")
    git("push", url, "HEAD:main", cwd=folder)
    run = str(wait_until(lambda: server.runs("shop"), 60, "the run")[0]["id"])
    server.wait_for_state(run, {"passed"})
    release, stable, main = server.run(run)["result"]
    listed = git("ls-remote", url, cwd=folder).stdout.splitlines()
    refs = {ref: id_ for id_, _, ref in (line.partition("\t") for line in listed)}
    assert refs["refs/heads/main"] == pushed and "refs/heads/stable" not in refs
    assert release == {"ref": "refs/tags/v2", "sha": refs["refs/tags/v2"], "before": "", "made_by": ["bump"]}
    for refused in (stable, main):
        assert "moved by the step 'test'" in refused
    told = {step["name"]: step["reason"] for step in server.run(run)["steps"]}  # what its page says of them
    assert told["release"] == f"made refs/tags/v2 at {release['sha'][:7]}, as made by bump"
    assert told["stable"] == stable and told["main"] == main
