"""What people wait for: from a push of the real git client over HTTP to a step's first output and the run's end."""

import asyncio
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stepwell.cli.bench import Sample
from stepwell.cli.git_client import GitClient
from stepwell.errors import Unavailable

if TYPE_CHECKING:
    from stepwell.cli.compose import Server

SAMPLES = 20
WAIT_SECONDS = 30
ONE = 'await step.run("one", "echo here")'
THREE = 'await gather(*(step.run(name, "echo here") for name in ("one", "two", "three")))'
_PIPELINE = """
from asyncio import gather
from stepwell import Pipeline, push

class Measured(Pipeline):
    on = [push()]
    async def run(self, event, step):
        {steps}
"""


@dataclass(frozen=True)
class Push:
    """Moments of one push, on the monotonic clock."""

    start: float
    done: float
    first_output: float
    ended: float


class _Watch:
    """Notes when each run put out its first byte and when it ended."""

    def __init__(self) -> None:
        self.news = threading.Condition()
        self.first_output: dict[str, float] = {}
        self.ended: dict[str, float] = {}
        self.number: dict[int, str] = defaultdict(str)

    def grown(self, grown: Any) -> None:
        with self.news:
            if grown.key:
                self.first_output.setdefault(grown.run, time.monotonic())

    def entry(self, entry: Any, state: Any) -> None:
        if getattr(entry, "type", "") != "ended":
            return
        with self.news:
            self.ended[entry.run] = time.monotonic()
            self.number[state.number] = entry.run
            self.news.notify_all()

    def wait(self, number: int, seconds: float) -> str:
        with self.news:
            if not self.news.wait_for(lambda: number in self.number, seconds):
                raise Unavailable(f"Run #{number} did not end within {seconds:g} s. Measure on a quiet machine.")
            return self.number[number]


@dataclass
class Pusher:
    """A warm server and a working tree that is pushed to it again and again, one push at a time."""

    folder: Path
    _server: "Server"
    _git: GitClient
    _watch: _Watch
    _number: int = 0

    def push(self, seconds: float = WAIT_SECONDS) -> Push:
        """Commit everything, push it and wait for the end of its run."""
        self._number += 1
        self._git.run(self.folder, "add", ".")
        self._git.run(self.folder, "commit", "--quiet", "--allow-empty", "-m", f"Push {self._number}")
        start = time.monotonic()
        url = self._server.rooms.settings.base_url
        self._git.run(self.folder, "push", "--quiet", f"{url}/home/bench.git", "HEAD:main")
        done = time.monotonic()
        run = self._watch.wait(self._number, seconds)
        return Push(start, done, self._watch.first_output[run], self._watch.ended[run])


@contextmanager
def pusher(steps: str) -> Iterator[Pusher]:
    """Start a server; the tree has a pipeline with these steps."""
    from stepwell.cli.compose import HOME, Server, settings_with
    from stepwell_runners.containers import Containers

    with tempfile.TemporaryDirectory(prefix="stepwell-bench-") as moment, ExitStack() as last:
        folder, state = Path(moment) / "work", Path(moment) / "state"
        (folder / ".stepwell").mkdir(parents=True)
        (folder / ".stepwell" / "pipeline.py").write_text(_PIPELINE.format(steps=steps))
        last.callback(lambda: asyncio.run(Containers(state).drop_snapshots()))
        with Server.start(settings_with(state=state, url="")) as server:
            services = server.rooms.services
            services.catalog.create(server.rooms.admin(), HOME, "bench")
            token = server.rooms.token("bench", scopes=("read", "write"), days=1)
            git = GitClient(server.rooms.settings.base_url, token)
            git.run(folder, "init", "--quiet")
            watch = _Watch()
            services.logs.follow(watch.grown)
            services.engine.subscribe(watch.entry)
            yield Pusher(folder, server, git, watch)


def pushes(steps: str, samples: int = SAMPLES) -> list[Push]:
    """Push again and again; the first two warm up."""
    with pusher(steps) as one:
        return [one.push() for _ in range(samples + 2)][2:]


def _sample(steps: str, measure: Callable[[Push], float]) -> Callable[[], Sample]:
    # What has come before git ended, nobody waited for.
    return lambda: Sample(tuple(max(0.0, measure(push)) * 1000 for push in pushes(steps)), "ms")


MEASURES: Mapping[str, Callable[[], Sample]] = {
    "push_start_to_first_output_ms": _sample(ONE, lambda push: push.first_output - push.start),
    "push_done_to_first_output_ms": _sample(ONE, lambda push: push.first_output - push.done),
    "three_steps_ms": _sample(THREE, lambda push: push.ended - push.done),
}
