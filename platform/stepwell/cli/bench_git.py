"""How long a run's own repository takes to make, whatever the size of the origin."""

import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from stepwell.cli.bench import Sample
from stepwell.repos.forks import create_fork, remove_fork
from stepwell.repos.process import run_git
from stepwell.repos.repositories import Repositories

_REFS = 1000


def fork_ms(samples: int = 200) -> list[float]:
    """Fork a repository of 1,000 branches again and again; return the milliseconds of each, without its removal."""
    with tempfile.TemporaryDirectory(prefix="stepwell-bench-") as folder:
        root = Path(folder)
        origin = Repositories(root).create("bench")
        commit = _fill(origin)
        return [_one(origin, root / f"{number}.git", commit) for number in range(samples)]


def _fill(origin: Path) -> str:
    empty = run_git(origin, ["hash-object", "-w", "-t", "tree", "/dev/null"]).stdout.decode().strip()
    who = {f"GIT_{role}_{part}": "bench" for role in ("AUTHOR", "COMMITTER") for part in ("NAME", "EMAIL")}
    commit = run_git(origin, ["commit-tree", "-m", "bench", empty], extra=who).stdout.decode().strip()
    names = [f"refs/heads/branch{number:05}" for number in range(_REFS - 1)] + ["refs/heads/main"]
    (origin / "packed-refs").write_text("".join(f"{commit} {name}\n" for name in names), "utf-8")
    return commit


def _one(origin: Path, fork: Path, commit: str) -> float:
    started = time.perf_counter()
    create_fork(origin, fork, commit, "main")
    taken = (time.perf_counter() - started) * 1000
    remove_fork(fork)
    return taken


MEASURES: Mapping[str, Callable[[], Sample]] = {"git_fork_ms": lambda: Sample(tuple(fork_ms()), "ms")}
