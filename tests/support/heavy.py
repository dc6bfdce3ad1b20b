"""A Docker engine with an image made of busybox, and attempts of steps in it, for tests of containers."""

import dataclasses
import io
import os
import shutil
import subprocess
import tarfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import logged
import pytest
from logged import Log

from stepwell.engine.seams import Attempt, Outcome, Prepared
from stepwell_runners import nftables
from stepwell_runners.container_jobs import Cold
from stepwell_runners.container_process import Job
from stepwell_runners.containers import LABEL, Containers
from stepwell_runners.executor import LocalExecutor
from stepwell_runners.spec import CommandSpec
from stepwell_runners.streaming import Process
from stepwell_runners.workspaces import Form

IMAGE = "stepwell-test/busybox:latest"
NATURAL: Form = "overlay" if os.geteuid() == 0 else "copy"
"""How workspaces get into containers for the user who runs the tests."""
WAIT_FOR_THE_STEP = "nc -l -p 99 > /dev/null"
"""What a service `db` does first that is to change only when its step runs."""
GO_ON = "until nc db 99 < /dev/null 2> /dev/null; do sleep 0.1; done"
"""What its step does then."""


class NoIsolates:
    """These steps need none."""

    walled = overlays = divides_processors = True

    async def command(self, spec: CommandSpec) -> Process:
        raise AssertionError("a container step asked for an isolate")


def connect() -> Any:
    """Return a client of the engine, with the image in it."""
    import docker
    import docker.errors

    try:
        client = docker.from_env()
        client.ping()
    except docker.errors.DockerException:
        pytest.skip("no Docker engine answers")
    image_of(client)
    return client


def image_of(client: Any, name: str = IMAGE) -> None:
    """Make an image of busybox where it is not there yet."""
    import docker.errors

    busybox = shutil.which("busybox")
    try:
        client.images.get(name)
    except docker.errors.ImageNotFound:
        if busybox is None:
            pytest.skip("the image needs busybox (package busybox-static)")
        repository, _, tag = name.partition(":")
        client.api.import_image_from_data(_root_of(busybox), repository=repository, tag=tag)


def _root_of(busybox: str) -> bytes:
    """Pack a root file system."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        add_busybox(archive, busybox)
    return packed.getvalue()


def add_busybox(archive: tarfile.TarFile, busybox: str) -> None:
    """Pack the folders of a root file system, and busybox under all its names."""
    for folder in ("bin", "tmp", "run", "etc"):
        info = tarfile.TarInfo(folder)
        info.type, info.mode = tarfile.DIRTYPE, 0o755
        archive.addfile(info)
    archive.add(Path(busybox).resolve(), "bin/busybox")
    for name in subprocess.check_output([busybox, "--list"], text=True).split():
        info = tarfile.TarInfo(f"bin/{name}")
        info.type, info.linkname = tarfile.SYMTYPE, "busybox"
        if name != "busybox":
            archive.addfile(info)


def attempt(command: str | list[str], base: tuple[str, ...] = (), key: str = "step#1", **options: Any) -> Attempt:
    asked = logged.attempt(command, base, key, **{"image": IMAGE, **options})
    return dataclasses.replace(asked, metadata={})


async def run(executor: LocalExecutor, asked: Attempt, log: Log | None = None, **prepared: Any) -> Outcome:
    return await executor.execute(asked, Prepared(**prepared), log or Log())


def cold_starts(patch: pytest.MonkeyPatch) -> list[Any]:
    """Count the containers that are made for one attempt, from now on."""
    made: list[Any] = []
    whole = Cold.job

    def job(self: Cold, *given: Any) -> Job:
        found = whole(self, *given)

        def create() -> Any:
            made.append(self)
            return found.create()

        return dataclasses.replace(found, create=create)

    patch.setattr(Cold, "job", job)
    return made


@asynccontextmanager
async def opened(
    request: pytest.FixtureRequest, engine: Any, folder: Path, patch: pytest.MonkeyPatch, *, warm: int = 0
) -> AsyncIterator[LocalExecutor]:
    """Give an executor to a test, with workspaces in the form that its parameter names; nothing of it is left."""
    form: Form = getattr(request, "param", NATURAL)
    if form == "overlay" and os.geteuid() != 0:
        pytest.skip("dockerd's overlays are root's")
    patch.setattr(Containers, "form", form)
    executor = LocalExecutor.at(folder / "state", NoIsolates(), warm_containers=warm)
    yield executor
    await nothing_left(executor, engine)


async def nothing_left(executor: LocalExecutor, engine: Any) -> None:
    """Assert that an executor leaves nothing of containers when it closes."""
    await executor.close()
    state = executor._workspaces.state
    ours = {"label": f"{LABEL}={executor._containers._label[LABEL]}"}
    assert engine.containers.list(all=True, filters=ours) == []
    assert engine.volumes.list(filters=ours) == []
    assert engine.networks.list(filters=ours) == []
    assert os.geteuid() != 0 or not nftables.holds(f"stepwell-{executor._containers._label[LABEL]}")
    assert list((state / "work").iterdir()) == []
    assert str(state) not in Path("/proc/self/mountinfo").read_text()
