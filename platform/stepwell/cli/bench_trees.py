"""What a workspace on a tree of 100,000 files costs: not cached, by its first file and as a whole; and a second push.

One repository serves all figures of a run. Every sample has a commit of its own; where nothing is to be cached, the
trees of the samples before are removed as well, or it would be a delta of one.
"""

import asyncio
import os
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import TYPE_CHECKING

from stepwell.cli.bench import Sample
from stepwell.errors import Unavailable
from stepwell.repos.process import environment
from stepwell.repos.repositories import Repositories

if TYPE_CHECKING:
    from stepwell_runners.trees import Trees

FILES = 100_000
_PER_FOLDER = 100
_LINES = 20
_MOST_DEEP = 6  # second pushes on one checkout
_REST_SECONDS = 0.3


def lazy_first_read_ms(samples: int = 5) -> Sample:
    """Hold a tree that is not cached, pin, fork and mount a workspace on it, and read one file in it."""
    return Sample(tuple(_run(lambda hall: _first_reads(hall, samples))), "ms")


def second_push_ready_ms(samples: int = 15) -> Sample:
    """Hold the tree of a commit that changed three files of 100,000, pin, fork and mount a workspace on it.

    Its objects are loose, as git leaves those of a small push. Each tree stands on the one before, and none so deep
    that it would be checked out behind. A push comes when what was to be done behind the one before is done, and the
    checkout below it is on the disk: else a second push would be measured against the rest of the first.
    """
    return Sample(tuple(_run(lambda hall: _second_pushes(hall, samples), commits=samples + 2, synced=True)), "ms")


def fork_large_ms(samples: int = 100) -> Sample:
    """Pin, fork and mount a writable workspace with `.git` on a cached tree of 100,000 files."""
    return Sample(tuple(_run(lambda hall: _large_forks(hall, samples))), "ms")


def lazy_grep_ratio(samples: int = 1) -> Sample:
    """Run `grep -r` in a workspace on a tree that is not cached: how often the time of checkout and grep."""
    return Sample(tuple(_run(lambda hall: _greps(hall, samples))), "×")


class _Hall:
    """A state directory with one repository, and what makes workspaces."""

    def __init__(self, state: Path, commits: list[str], trees: "Trees") -> None:
        from stepwell_runners.house import host_id
        from stepwell_runners.mounts import Mounts
        from stepwell_runners.run_forks import RunForks
        from stepwell_runners.workspaces import Workspaces

        is_root = os.geteuid() == 0
        self.commits = iter(commits)
        self.trees = trees
        self.forks, self.workspaces = RunForks(state), Workspaces(state, shown=trees.shown)
        self.mounts = Mounts(root=is_root)
        self._owner = host_id(0) if is_root else os.geteuid()
        self._number = 0

    def clear(self) -> None:
        """Wait for what is made behind, then remove all trees."""
        self.trees.settled()
        self.trees.clear()

    async def begin(self) -> None:
        """Start the mounter."""
        from stepwell_runners.spec import Directory

        for descriptor in await self.mounts.make(0, self._owner, [Directory(self.trees.empty)]):
            os.close(descriptor)

    async def rest(self) -> None:
        """Wait for what is done behind, here and in the process that serves trees, which does not tell."""
        await asyncio.to_thread(self.trees.settled)
        await asyncio.to_thread(self.forks.settled)
        await asyncio.sleep(_REST_SECONDS)

    @asynccontextmanager
    async def workspace(self, tree: Path, commit: str) -> AsyncIterator[Path]:
        """Pin, fork and mount, like a step's; where it can be read."""
        from stepwell_runners.spec import Directory

        self._number += 1
        run = f"run{self._number}"
        index, beside = self.trees.index(tree)
        git = self.forks.ready(run, "bench", commit, "main", index=index, walled=True, beside=beside)
        opened = self.workspaces.open(run, "step#1", (), tree, git=git)
        mounts = [opened.mount, Directory(git.objects, read_only=True)]
        descriptors = await self.mounts.make(self._number, self._owner, mounts)
        try:
            yield Path(f"/proc/{os.getpid()}/fd/{descriptors[0]}")
        finally:
            for descriptor in descriptors:
                os.close(descriptor)


def _run(measure: Callable[[_Hall], Awaitable[list[float]]], *, commits: int = 12, synced: bool = False) -> list[float]:
    """Measure; `synced`: a checkout is on the disk when it is there."""
    from stepwell_runners.lazy import Lazy
    from stepwell_runners.trees import Trees
    from stepwell_runners.whole_trees import settle

    with tempfile.TemporaryDirectory(prefix="stepwell-bench-", ignore_cleanup_errors=True) as folder:
        state = Path(folder)
        made = _commits(state, commits)
        lazy = Lazy(state)
        with closing(Trees(state, lazy=lazy, sync=settle if synced else None)) as trees:
            lazy.start()
            if problem := lazy.ready():
                raise Unavailable(f"This host cannot serve trees before they are checked out: {problem}.")
            return asyncio.run(_in_hall(_Hall(state, made, trees), measure))


async def _in_hall(hall: _Hall, measure: Callable[[_Hall], Awaitable[list[float]]]) -> list[float]:
    try:
        return await measure(hall)
    finally:
        await hall.mounts.stop()


async def _first_reads(hall: _Hall, samples: int) -> list[float]:
    found = []
    await hall.begin()
    for _ in range(samples):
        commit = next(hall.commits)
        started = time.perf_counter()
        with hall.trees.held(f"bench:{commit}") as tree:
            async with hall.workspace(tree, commit) as place:
                (place / _name(FILES // 2)).read_bytes()
                found.append((time.perf_counter() - started) * 1000)
        hall.clear()  # or its checkout would be in the next one's way
    return found


async def _second_pushes(hall: _Hall, samples: int) -> list[float]:
    found = []
    await hall.begin()
    commit = next(hall.commits)
    for number in range(samples + 1):
        if number % _MOST_DEEP == 0:
            hall.trees.resolve(f"bench:{commit}")
        commit = next(hall.commits)
        await hall.rest()
        started = time.perf_counter()
        with hall.trees.held(f"bench:{commit}") as tree:
            async with hall.workspace(tree, commit):
                if number:  # a server has served a tree of a repository before
                    found.append((time.perf_counter() - started) * 1000)
    return found


async def _large_forks(hall: _Hall, samples: int) -> list[float]:
    found = []
    await hall.begin()
    commit = next(hall.commits)
    tree = hall.trees.resolve(f"bench:{commit}")
    for _ in range(samples):
        started = time.perf_counter()
        async with hall.workspace(tree, commit):
            found.append((time.perf_counter() - started) * 1000)
    return found


async def _greps(hall: _Hall, samples: int) -> list[float]:
    found = []
    for _ in range(samples):
        taken = []
        for lazily in (False, True):
            commit = next(hall.commits)
            started = time.perf_counter()
            if not lazily:
                hall.trees.resolve(f"bench:{commit}")
            with hall.trees.held(f"bench:{commit}") as tree:
                async with hall.workspace(tree, commit) as place:
                    await asyncio.to_thread(_grep, place)
            taken.append(time.perf_counter() - started)
            hall.clear()
        found.append(taken[1] / taken[0])
    return found


def _grep(place: Path) -> None:
    done = subprocess.run(
        ["grep", "-r", "-c", "--exclude-dir=.git", f"line {_LINES - 1} of", "."],
        cwd=place,
        capture_output=True,
        check=True,
    )
    if (lines := done.stdout.count(b":1\n")) != FILES:
        raise Unavailable(f"grep found {lines:,} files of {FILES:,}. Please report.")


def _commits(state: Path, number: int) -> list[str]:
    """Make a repository with commits of many files, of which each changes three."""
    origin, marks = Repositories(state).create("bench"), state / "marks"
    _import(origin, marks, _commit(1, range(FILES), 0))
    for following in range(2, number + 1):
        _import(origin, marks, _commit(following, (1, FILES // 2, FILES - 2), following))
    return [
        line.split()[1] for line in sorted(marks.read_text().splitlines(), key=lambda line: int(line[1:].split()[0]))
    ]


def _import(origin: Path, marks: Path, stream: Iterable[bytes]) -> None:
    """Bring in a commit: few objects are unpacked, as those of a push are."""
    command = ["git", "--git-dir", str(origin), "fast-import", "--quiet", f"--export-marks={marks}"]
    command.append(f"--import-marks-if-exists={marks}")
    with subprocess.Popen(command, env=environment(), stdin=subprocess.PIPE) as importing:
        assert importing.stdin is not None
        for piece in stream:
            importing.stdin.write(piece)


def _commit(mark: int, files: Iterable[int], version: int) -> Iterator[bytes]:
    before = f"from :{mark - 1}\n" if mark > 1 else ""
    who = f"bench <bench@localhost> {1_700_000_000 + mark} +0000"
    yield f"commit refs/heads/main\nmark :{mark}\ncommitter {who}\ndata 5\nbench\n{before}".encode()
    for file in files:
        text = "".join(f"line {line} of file {file} in version {version}\n" for line in range(_LINES))
        yield f"M 100644 inline {_name(file)}\ndata {len(text)}\n{text}\n".encode()


def _name(number: int) -> str:
    folder = number // _PER_FOLDER
    return f"part{folder // 40:03}/folder{folder % 40:02}/file{number % _PER_FOLDER:02}.txt"


MEASURES: Mapping[str, Callable[[], Sample]] = {
    "lazy_first_read_ms": lazy_first_read_ms,
    "lazy_grep_ratio": lazy_grep_ratio,
    "second_push_ready_ms": second_push_ready_ms,
    "fork_large_ms": fork_large_ms,
}
