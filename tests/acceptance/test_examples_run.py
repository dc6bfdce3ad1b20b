"""The shipped examples, pushed as they are. `python-service` is the demo's, see test_demo.py."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from live import LiveServer, commit_all, git, wait_until

from stepwell.store.logs import LogStore

EXAMPLES = Path(__file__).resolve().parents[2] / "pipelines_examples"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    live = LiveServer(tmp_path_factory.mktemp("examples") / "state")
    live.start()
    yield live
    live.stop()


def _push(server: LiveServer, name: str, folder: Path) -> str:
    shutil.copytree(EXAMPLES / name, folder / name)
    commit_all(folder / name, f"Try {name}")
    git("push", server.create_repository(name), "HEAD:main", cwd=folder / name)
    run = str(wait_until(lambda: server.runs(name), 60, f"run of {name}")[0]["id"])
    server.wait_for_state(run, {"passed"})
    return run


def _wait_for_log(server: LiveServer, run: str, key: str, words: str) -> None:
    """Logs reach the disk a moment after the step that wrote them has passed."""
    log = LogStore(server.state / "logs").log(run, key, 1)
    wait_until(lambda: words in log.read(0, 1 << 20).decode(), 10, f"{words!r} in the log of {key}")


def test_every_example_is_tried() -> None:
    assert {path.name for path in EXAMPLES.iterdir() if path.is_dir()} == {"hello", "python-service", "container"}
    assert all((path / "README.md").exists() for path in EXAMPLES.iterdir() if path.is_dir())


def test_hello(server: LiveServer, tmp_path: Path) -> None:
    run = _push(server, "hello", tmp_path)
    _wait_for_log(server, run, "hello#1", "Hello from Linux\nHello.\n")


@pytest.mark.docker
def test_container(server: LiveServer, tmp_path: Path, busybox_image: str) -> None:
    run = _push(server, "container", tmp_path)
    _wait_for_log(server, run, "build#1", "built site/index.html")
    _wait_for_log(server, run, "check#1", "index.html")


@pytest.fixture
def busybox_image() -> str:
    """The image that the example names, made of this host's busybox when it is not there: no registry is needed."""
    import io
    import tarfile

    import docker

    client = docker.from_env()
    name = "busybox:1.36"
    try:
        client.images.get(name)
    except docker.errors.ImageNotFound:
        busybox = shutil.which("busybox")
        if (
            busybox is None
            or "dynamically" in subprocess.run(["file", busybox], capture_output=True, text=True, check=False).stdout
        ):
            pytest.skip("needs busybox-static to make an image of")
        content = io.BytesIO()
        with tarfile.open(fileobj=content, mode="w") as archive:
            archive.add(busybox, "bin/busybox")
            applets = subprocess.run([busybox, "--list"], capture_output=True, text=True, check=True).stdout.split()
            for applet in applets:
                link = tarfile.TarInfo(f"bin/{applet}")
                link.type, link.linkname = tarfile.SYMTYPE, "busybox"
                if applet != "busybox":
                    archive.addfile(link)
        client.api.import_image_from_data(content.getvalue(), repository="busybox", tag="1.36")
    finally:
        client.close()
    return name
