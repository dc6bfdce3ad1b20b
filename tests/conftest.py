"""What tests need of the host: a missing piece skips them by name, or fails them when `STEPWELL_REQUIRE` lists it."""

import functools
import os
import shutil
import subprocess
import sys
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


@functools.cache
def find_compose() -> list[str] | None:
    """Name version 2 of docker compose: the client's plugin, or a program of its own."""
    beside = str(Path(sys.executable).with_name("docker-compose"))
    for words in (["docker", "compose"], [beside], ["docker-compose"]):
        try:
            told = subprocess.run([*words, "version", "--short"], check=False, capture_output=True, text=True)
        except FileNotFoundError:
            continue
        if told.returncode == 0 and not told.stdout.lstrip("v").startswith("1."):
            return words
    return None


def _missing_compose() -> str | None:
    return None if find_compose() else "no docker compose of version 2: install its plugin, or run .ci/compose"


NEEDS: dict[str, Callable[[], str | None]] = {
    "docker": _missing_docker,
    "chromium": _missing_chromium,
    "compose": _missing_compose,
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


@pytest.fixture(scope="session")
def compose() -> list[str]:
    """The words that begin a command of docker compose; use together with the marker `compose`."""
    found = find_compose()
    if found is None:
        pytest.skip("needs compose: no docker compose of version 2")
    return found
