"""What tests need of the host: a missing piece skips them by name, or fails them when `STEPWELL_REQUIRE` lists it."""

import functools
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]


@functools.cache
def _missing_docker() -> str | None:
    import docker

    try:
        client = docker.from_env(timeout=20)
        client.ping()
        client.close()
    except docker.errors.DockerException as error:
        return f"no Docker engine answers ({type(error).__name__}): start dockerd, or set DOCKER_HOST"
    return None


@functools.cache
def find_chromium() -> str | None:
    """Name the Chromium of this host."""
    names = ("chromium", "chromium-browser", "google-chrome")
    return next((path for path in map(shutil.which, names) if path), None)


def _missing_chromium() -> str | None:
    return None if find_chromium() else "no Chromium on PATH: install the package chromium"


def _missing_root() -> str | None:
    return None if os.geteuid() == 0 else "not root: run the tests as root"


@functools.cache
def _missing_strace() -> str | None:
    if shutil.which("strace") is None:
        return "no strace on PATH: install the package strace"
    tried = subprocess.run(["strace", "-o", os.devnull, "true"], check=False, capture_output=True, text=True)
    return None if tried.returncode == 0 else f"strace may not trace here: {tried.stderr.strip()}"


NEEDS: dict[str, Callable[[], str | None]] = {
    "docker": _missing_docker,
    "chromium": _missing_chromium,
    "root": _missing_root,
    "strace": _missing_strace,
}


def pytest_runtest_setup(item: pytest.Item) -> None:
    required = os.environ.get("STEPWELL_REQUIRE", "").replace(",", " ").split()
    for name, missing in NEEDS.items():
        if item.get_closest_marker(name) is None or (reason := missing()) is None:
            continue
        if name in required:
            pytest.fail(f"required: {name}, but {reason}", pytrace=False)
        pytest.skip(f"needs {name}: {reason}")


@pytest.fixture(scope="session")
def repository_root() -> Path:
    """The checkout that is tested."""
    return REPOSITORY


@pytest.fixture(scope="session")
def chromium_path() -> str:
    """Chromium's program; use together with the marker `chromium`."""
    path = find_chromium()
    if path is None:
        pytest.skip("needs chromium: no Chromium on PATH")
    return path


@pytest.fixture(scope="module")
def engine() -> Iterator[Any]:
    """A client of the Docker engine, with the image of busybox in it; use together with the marker `docker`."""
    from heavy import connect

    client = connect()
    yield client
    client.close()
