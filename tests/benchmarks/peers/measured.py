"""The engine's figures, measured the same way for every peer. Standard library only: it runs in each peer's own venv.

A peer gives three programs – `steps` (n steps in sequence), `gated` (waits for an event, then one step) and `slow`
(steps of 20 ms without end) – and says `reached` after each step has returned to the program: its result is kept then.
Worker and client share this process, so that one clock times both. Names and meanings are those of `stepwell bench`.

`python peer_<name>.py` prints `{"about": …, "figures": {name: {median, p95, unit, n}}}` as its last line.
"""

import argparse
import asyncio
import concurrent.futures
import ctypes
import json
import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import traceback
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from threading import Lock

RUNS, STEPS = 50, 10
PR_SET_CHILD_SUBREAPER = 36
SLOW_STEP_S = 0.02
STEP_LIMIT_S = 10  # where a peer must be told how long a step may take: it decides how soon a lost one runs again
UNITS = {"_ms": "ms", "_per_s": "steps/s", "_disk": "bytes", "_memory": "bytes"}


class Marks:
    """When a run reached a place for the first time. Set from any thread, awaited on the loop."""

    def __init__(self) -> None:
        self._futures: dict[tuple[str, int], concurrent.futures.Future[float]] = {}
        self._lock = Lock()
        self.heard: Callable[[str, int], None] = lambda run, place: None

    def _future(self, run: str, place: int) -> "concurrent.futures.Future[float]":
        with self._lock:
            return self._futures.setdefault((run, place), concurrent.futures.Future())

    def reached(self, run: str, place: int) -> None:
        now = time.perf_counter()
        future = self._future(run, place)
        if not future.done():  # a replay comes by again
            future.set_result(now)

    async def at(self, run: str, place: int) -> float:
        return await asyncio.wait_for(asyncio.wrap_future(self._future(run, place)), 120)


class Peer(ABC):
    """An engine and its worker, which end by being killed. A directory may be one that an earlier one has left."""

    about: str
    settle_s = 0.3  # from the code's arrival at its wait until the engine has put the run aside
    parked = 1000

    def __init__(self, directory: Path, marks: Marks) -> None:
        self.directory = directory
        self.marks = marks

    async def slow_work(self) -> int:
        """A step of `slow`: says when it was executed, since a replay passes by those that are kept."""
        await asyncio.sleep(SLOW_STEP_S)
        self.marks.heard("slow", 0)
        return 1

    @abstractmethod
    async def start(self) -> None:
        """Start servers and worker; return when runs are accepted."""

    @abstractmethod
    async def create(self, run: str, program: str, count: int) -> None:
        """Start a run; return when it is accepted."""

    @abstractmethod
    async def signal(self, run: str) -> None:
        """Send the event that a `gated` run waits for."""

    async def stored(self) -> int:
        """Bytes on disk."""
        return sum(file.stat().st_size for file in self.directory.rglob("*") if file.is_file())


async def start_to_first_step_ms(peer: Peer, samples: int = 20) -> list[float]:
    found = []
    for n in range(samples + 1):
        begun = time.perf_counter()
        await peer.create(f"first{n}", "steps", 1)
        found.append((await peer.marks.at(f"first{n}", 0) - begun) * 1000)
        await asyncio.sleep(0.05)
    return found[1:]  # the first one warms up


async def sequential_steps_per_s(peer: Peer, samples: int = 5) -> list[float]:
    found = []
    for n in range(samples + 1):
        await peer.create(f"hundred{n}", "steps", 101)
        begun = await peer.marks.at(f"hundred{n}", 0)
        found.append(100 / (await peer.marks.at(f"hundred{n}", 100) - begun))
    return found[1:]


async def concurrent_steps_per_s(peer: Peer, samples: int = 5) -> list[float]:
    found = []
    for n in range(samples + 1):
        await asyncio.sleep(peer.settle_s)
        names = [f"many{n}.{k}" for k in range(RUNS)]
        begun = time.perf_counter()
        await asyncio.gather(*(peer.create(name, "steps", STEPS) for name in names))
        ended = await asyncio.gather(*(peer.marks.at(name, STEPS - 1) for name in names))
        found.append(RUNS * STEPS / (max(ended) - begun))
    return found[1:]  # the first one warms up, as Stepwell's does


async def event_to_step_ms(peer: Peer, samples: int = 20) -> list[float]:
    found = []
    for n in range(samples + 1):
        run = f"gated{n}"
        await peer.create(run, "gated", 0)
        await peer.marks.at(run, -1)
        await asyncio.sleep(peer.settle_s)
        begun = time.perf_counter()
        await peer.signal(run)
        found.append((await peer.marks.at(run, 0) - begun) * 1000)
    return found[1:]


async def parked_bytes(peer: Peer) -> tuple[list[float], list[float]]:
    """Bytes on disk and of memory (shared pages once) by which so many waiting runs make it larger."""

    async def park(prefix: str, runs: int) -> None:
        for start in range(0, runs, RUNS):
            names = [f"{prefix}{n}" for n in range(start, min(start + RUNS, runs))]
            await asyncio.gather(*(peer.create(name, "gated", 0) for name in names))
            await asyncio.gather(*(peer.marks.at(name, -1) for name in names))
        await asyncio.sleep(2)

    await park("warm", 200)
    disk, memory = await peer.stored(), _memory(family())
    await park("parked", peer.parked)
    grown = await peer.stored() - disk, _memory(family()) - memory
    return [grown[0] / peer.parked], [grown[1] / peer.parked]


async def restart_to_step_ms(script: str, directory: Path, samples: int = 3) -> list[float]:
    """Kill -9 all processes while a run's step is in flight; from starting them again until its next step has run."""
    found = []
    for n in range(samples):
        where = directory / f"restart{n}"
        where.mkdir(mode=0o755)
        await _steps_of_a_child([script, "--child", str(where), "--new"], 10)
        begun = time.perf_counter()
        await _steps_of_a_child([script, "--child", str(where)], 1)
        found.append((time.perf_counter() - begun) * 1000)
    return found


async def _steps_of_a_child(argv: list[str], steps: int) -> None:
    errors = Path(argv[2]) / "errors"
    with errors.open("wb") as file:
        child = await asyncio.create_subprocess_exec(sys.executable, *argv, stdout=subprocess.PIPE, stderr=file)
    assert child.stdout is not None
    try:
        seen = 0
        while seen < steps:
            line = await asyncio.wait_for(child.stdout.readline(), 180)
            if not line:
                raise RuntimeError(f"{argv} ended by itself: {errors.read_text()[-2000:]}")
            seen += line.startswith(b"step")
    finally:
        await asyncio.to_thread(kill_family, child.pid)
        await child.wait()


async def _live_as_child(kind: type[Peer], directory: Path, new: bool) -> None:
    marks = Marks()
    marks.heard = lambda run, place: print("step", flush=True)
    peer = kind(directory, marks)
    await peer.start()
    if new:
        await peer.create("slow", "slow", 0)
    await asyncio.Event().wait()


def family(pid: int | None = None) -> list[int]:
    """A process (this one) and all that descend from it."""
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(stat.read_text().rpartition(")")[2].split()[1])
        except (FileNotFoundError, ProcessLookupError):
            continue  # it has just ended
        children.setdefault(parent, []).append(int(stat.parent.name))
    found = [pid or os.getpid()]
    for one in found:
        found += children.get(one, [])
    return found


def kill_family(pid: int, itself: bool = True) -> None:
    """Kill -9; return when all are gone, orphans included: this process is their next parent."""
    killed = family(pid)
    for one in killed if itself else killed[1:]:
        with suppress(ProcessLookupError):  # ended by itself
            os.kill(one, signal.SIGKILL)
    while any(Path(f"/proc/{one}").exists() for one in killed[1:]):
        for one in killed[1:]:
            with suppress(ChildProcessError):  # gone, or not yet an orphan
                os.waitpid(one, os.WNOHANG)
        time.sleep(0.001)


def _memory(pids: list[int]) -> int:
    total = 0
    for pid in pids:
        try:
            rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
        except (FileNotFoundError, ProcessLookupError):
            continue
        total += next(int(line.split()[1]) * 1024 for line in rollup.splitlines() if line.startswith("Pss:"))
    return total


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def until(ready: Callable[[], Awaitable[object]], what: str, seconds: float = 60) -> None:
    """Ask again until `ready` does not raise OSError."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            await ready()
            return
        except OSError:
            if time.monotonic() > deadline:
                raise RuntimeError(f"{what} did not come up in {seconds} s") from None
            await asyncio.sleep(0.02)


async def until_listening(port: int, what: str) -> None:
    async def ask() -> None:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.close()

    await until(ask, what)


def spawn(argv: list[str], log: Path, user: str | None = None) -> "subprocess.Popen[bytes]":
    """Start a server; its output goes to a file beside its data."""
    extra: dict[str, object] = {"user": user, "group": user, "extra_groups": []} if user else {}
    with log.open("ab") as file:
        return subprocess.Popen(argv, stdout=file, stderr=file, stdin=subprocess.DEVNULL, **extra)  # type: ignore[call-overload,no-any-return]


async def _measure(kind: type[Peer], script: str) -> dict[str, object]:
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)
    samples: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory(prefix="stepwell-peer-", ignore_cleanup_errors=True) as name:
        directory = Path(name)
        directory.chmod(0o755)  # PostgreSQL refuses root and runs as a user of its own
        say("restart_to_step_ms")
        samples["restart_to_step_ms"] = await restart_to_step_ms(script, directory)
        peer = kind(directory / "data", Marks())
        peer.directory.mkdir()
        try:
            await peer.start()
            for figure in (start_to_first_step_ms, sequential_steps_per_s, concurrent_steps_per_s, event_to_step_ms):
                say(figure.__name__)
                samples[figure.__name__] = await figure(peer)
            say("parked_bytes")
            samples["parked_bytes_on_disk"], samples["parked_bytes_of_memory"] = await parked_bytes(peer)
        finally:
            kill_family(os.getpid(), itself=False)
    return {"about": peer.about, "figures": {figure: as_json(figure, found) for figure, found in samples.items()}}


def as_json(figure: str, values: list[float]) -> dict[str, object]:
    """Median, p95, unit, n: what `stepwell bench --json` gives."""
    unit = next(unit for ending, unit in UNITS.items() if figure.endswith(ending))
    ordered = sorted(values, reverse=unit == "steps/s")
    p95 = ordered[min(len(ordered) - 1, round(0.95 * (len(ordered) - 1)))]
    return {"median": round(statistics.median(ordered), 3), "p95": round(p95, 3), "unit": unit, "n": len(ordered)}


def say(text: str) -> None:
    print(f"  {text}", file=sys.stderr, flush=True)


def main(kind: type[Peer], script: str) -> None:
    """Measure, or live as the child that is killed."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--child", type=Path)
    parser.add_argument("--new", action="store_true")
    said = parser.parse_args()
    if said.child:
        asyncio.run(_live_as_child(kind, said.child, said.new))
        return
    asyncio.run(_report(kind, script))


async def _report(kind: type[Peer], script: str) -> None:
    """Print what was measured, and leave at once: SDKs have much to say about servers that were killed."""
    try:
        print(json.dumps(await _measure(kind, script)), flush=True)
    except Exception:
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


def program(name: str) -> str:
    """Where a program is, also one that Debian keeps out of PATH."""
    found = shutil.which(name) or next(
        (str(path) for path in sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), reverse=True)), None
    )
    if found is None:
        raise SystemExit(f"{name} is not installed")
    return found
