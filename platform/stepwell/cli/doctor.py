"""`stepwell doctor`: what this host can and cannot do for Stepwell, and what to change."""

import asyncio
import os
import shutil
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from stepwell.cli.screen import JsonFlag, console, show_json
from stepwell.errors import StepwellError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from stepwell.settings import Settings
    from stepwell_runners.spec import Finding

FREE_BYTES = 2 << 30
ENGINE_SECONDS = 10
OLDEST_GIT = (2, 34)


@dataclass(frozen=True)
class Diagnosis:
    """One thing that was looked at. What is `needed` stops the server; the rest only narrows what it can do."""

    name: str
    ok: bool
    detail: str
    remedy: str = ""
    needed: bool = False


def doctor(
    check_journal: Annotated[
        bool, typer.Option("--check-journal", help="Compare what is kept of runs with their journals instead.")
    ] = False,
    rebuild: Annotated[
        bool, typer.Option("--rebuild", help="Check, and mend what differs. The server must be stopped.")
    ] = False,
    journal: Annotated[
        str, typer.Option("--journal", help="Print the journal of this run (its id, or acme/api#12), a line an entry.")
    ] = "",
    json: JsonFlag = False,
) -> None:
    """Look at this host. Ends with 1 when something that Stepwell cannot do without is missing.

    With --check-journal, --rebuild or --journal it looks at the database instead, and ends with 1 when something there
    is wrong and stays so.
    """
    from stepwell.settings import Settings

    settings = Settings()
    if journal:
        from stepwell.cli.doctor_entries import show_entries

        raise typer.Exit(show_entries(settings, journal, json=json))
    if check_journal or rebuild:
        from stepwell.cli.doctor_journal import look_at_journal

        raise typer.Exit(look_at_journal(settings, mend=rebuild, json=json))
    found = diagnoses(settings, _isolates(settings), _lazy_problem(settings))
    if json:
        show_json([asdict(one) for one in found])
    else:
        width = max(len(one.name) for one in found)
        for one in found:
            _show(one, width)
    if any(one.needed and not one.ok for one in found):
        raise typer.Exit(1)


def diagnoses(settings: "Settings", findings: "Sequence[Finding]", lazy_problem: str | None) -> list[Diagnosis]:
    """Look at the host; what its isolates found of the wall, and why trees are not lazy, others have looked at."""
    needed = not settings.trust_all_code
    isolates = [Diagnosis(one.name, one.ok, one.detail, one.remedy, one.name == "wall" and needed) for one in findings]
    return [
        _python(), _git(), _state(settings), *isolates, _trees(lazy_problem), *_docker(settings), *_snapshots(settings),
    ]  # fmt: skip


def _show(one: Diagnosis, width: int) -> None:
    from rich.text import Text

    sign, style = ("✓", "green") if one.ok else ("✗", "red") if one.needed else ("!", "yellow")
    console().print(Text.assemble((f"{sign} ", style), (one.name.ljust(width), "bold"), " ", one.detail))
    if one.remedy and not one.ok:
        console().print(Text.assemble(" " * (width + 3), (f"→ {one.remedy}", style)))


def _python() -> Diagnosis:
    return Diagnosis("python", sys.version_info >= (3, 11), sys.version.split()[0], "Use Python 3.11 or newer.", True)


def _git() -> Diagnosis:
    from stepwell.repos.process import git_version

    try:
        version = git_version()
    except StepwellError as error:
        return Diagnosis("git", False, "not found", str(error), True)
    text = ".".join(str(part) for part in version)
    return Diagnosis("git", version >= OLDEST_GIT, text, "Install git 2.34 or newer.", True)


def _state(settings: "Settings") -> Diagnosis:
    place = _nearest(settings.state)
    try:
        with tempfile.TemporaryFile(dir=place):
            pass
    except OSError as error:
        return Diagnosis(
            "state", False, f"{settings.state}: {error.strerror}", "Set STEPWELL_STATE to a directory of yours.", True
        )
    free = shutil.disk_usage(place).free
    detail = f"{settings.state}, {free / (1 << 30):.1f} GiB free, on {_file_system(place)}"
    return Diagnosis("state", free > FREE_BYTES, detail, "Less than 2 GiB are free: make room, or set STEPWELL_STATE.")


def _nearest(place: Path) -> Path:
    """The directory itself, or the first above it that exists: what is made there lies on the same file system."""
    while not place.exists():
        place = place.parent
    return place


def _writable(settings: "Settings") -> Path:
    """A directory for trials, if possible where the state is."""
    place = _nearest(settings.state)
    return place if os.access(place, os.W_OK) else Path(tempfile.gettempdir())


def _file_system(place: Path) -> str:
    """The type of the file system that holds a path, from the longest mount point above it."""
    best = ("", "unknown")
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, point, kind, *_ = line.split(" ")
        if (f"{place}/").startswith(point.rstrip("/") + "/") and len(point) >= len(best[0]):
            best = (point, kind)
    return best[1]


def _isolates(settings: "Settings") -> "list[Finding]":
    from stepwell_runners.isolates import ZygoteIsolates
    from stepwell_runners.options import IsolateOptions

    place = _writable(settings)

    async def probe() -> "list[Finding]":
        with tempfile.TemporaryDirectory(prefix=".stepwell-doctor-", dir=place) as moment:
            wall: Literal["none", "full"] = "none" if settings.trust_all_code else "full"
            options = IsolateOptions(wall, blanks=settings.blanks, most_blanks=settings.most_blanks)
            isolates = ZygoteIsolates(Path(moment), Path, options)
            await isolates.start()
            try:
                return await isolates.probe()
            finally:
                await isolates.stop()

    return asyncio.run(probe())


def _lazy_problem(settings: "Settings") -> str | None:
    from stepwell_runners.lazy import Lazy

    with tempfile.TemporaryDirectory(prefix=".stepwell-doctor-", dir=_writable(settings)) as moment:
        lazy = Lazy(Path(moment))
        lazy.start()
        problem = lazy.ready()
        lazy.close()
    return problem


def _trees(problem: str | None) -> Diagnosis:
    """Say whether steps wait for the checkout of a large tree."""
    if problem is None:
        return Diagnosis("trees", True, "large ones are read before they are checked out")
    return Diagnosis(
        "trees", False, f"steps wait for the checkout of large ones: {problem}",
        "To be read before, they take root outside of a container, /dev/fuse, Linux 6.12 and git 2.36.",
    )  # fmt: skip


def _docker(settings: "Settings") -> list[Diagnosis]:
    import docker

    try:
        client = (
            docker.DockerClient(base_url=settings.docker_host, timeout=ENGINE_SECONDS)
            if settings.docker_host
            else docker.from_env(timeout=ENGINE_SECONDS)
        )
        version = client.version()
        networks = client.networks.list(names=["bridge"])
        client.close()
    except docker.errors.DockerException as error:
        reason = str(error).partition("\n")[0][:200]
        remedy = "Start dockerd, or set STEPWELL_DOCKER_HOST. Only steps with image= need it."
        return [Diagnosis("docker", False, f"no engine answers: {reason}", remedy)]
    bridges = [(one.attrs.get("Options") or {}).get("com.docker.network.bridge.name") for one in networks]
    engine = Diagnosis("docker", True, f"engine {version.get('Version', 'unknown')}, {_builder(settings)}")
    return [engine, _containers(settings, next((str(one) for one in bridges if one), "docker0"))]


def _containers(settings: "Settings", bridge: str) -> Diagnosis:
    """Say what containers with a network reach, but for what is public."""
    from stepwell_runners.containers import host_of
    from stepwell_runners.firewall import networks_of, out_of_reach, trial

    local = host_of(settings.docker_host).startswith("unix://")
    if networks_of(settings.containers_reach) is None:
        problem: str | None = "STEPWELL_CONTAINERS_REACH=any"
    else:
        problem = out_of_reach(bridge, local=local) or trial()
    if problem is None:
        more = f" and {settings.containers_reach}" if settings.containers_reach else ""
        return Diagnosis("containers", True, f"reach public addresses only{more}")
    return Diagnosis(
        "containers", False, f"reach this host and private addresses: {problem}",
        "Run Stepwell as root beside the engine, not in a container, or close them with a firewall of yours.",
    )  # fmt: skip


def _builder(settings: "Settings") -> str:
    """Say what builds images."""
    from stepwell_runners.builders import find_client
    from stepwell_runners.containers import host_of

    if not settings.image_builds:
        return "builds no images (STEPWELL_IMAGE_BUILDS=false)"
    with tempfile.TemporaryDirectory() as folder:
        client = find_client(host_of(settings.docker_host), Path(folder))
    return f"builds images with BuildKit by {client.program}" if client else "builds images with its classic builder"


def _snapshots(settings: "Settings") -> list[Diagnosis]:
    """Say what `setup=` has left in the engine; nothing where there is nothing."""
    from stepwell_runners.snapshot_notes import SnapshotNotes

    notes = SnapshotNotes(settings.state).all()
    if not notes:
        return []
    size, hits = sum(one.size for one in notes), sum(one.hits for one in notes)
    most = max(notes, key=lambda one: one.size)
    detail = (
        f"{len(notes)} of {size / (1 << 20):,.0f} MiB, used {hits} times instead of a setup; "
        f"the largest of {most.scope}: {most.size / (1 << 20):,.0f} MiB, used {most.hits} times"
    )
    room = settings.snapshots_gb << 30
    return [Diagnosis("snapshots", size <= room, detail, "The oldest go with the next setup, or at the next start.")]
