"""The shipped examples, pushed as they are. `python-service` is the demo's, see test_demo.py."""

import hashlib
import html
import io
import re
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import docker
import httpx
import ordinary
import postgres_image as postgres_image_
import pytest
from live import TENANT, LiveServer, commit_all, git, wait_until

from stepwell.store.logs import LogStore

EXAMPLES = Path(__file__).resolve().parents[2] / "pipelines_examples"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    live = LiveServer(tmp_path_factory.mktemp("examples") / "state")
    live.start()
    yield live
    live.stop()
    if docker_ := _engine():
        for image in docker_.images.list("stepwell-image", filters={"label": f"stepwell.state={_label(live.state)}"}):
            docker_.images.remove(str(image.id), force=True)


def _label(state: Path) -> str:
    return hashlib.sha256(str(state.resolve()).encode()).hexdigest()[:16]


def _engine() -> docker.DockerClient | None:
    try:
        return docker.from_env()
    except docker.errors.DockerException:
        return None


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
    wait_until(lambda: words in log.read(0, 1 << 20).decode(), 60, f"{words!r} in the log of {key}")


def test_every_example_is_tried() -> None:
    assert {path.name for path in EXAMPLES.iterdir() if path.is_dir()} == {
        "hello",
        "python-service",
        "container",
        "database",
        "image",
        "release",
    }
    assert all((path / "README.md").exists() for path in EXAMPLES.iterdir() if path.is_dir())


def test_hello(server: LiveServer, tmp_path: Path) -> None:
    run = _push(server, "hello", tmp_path)
    _wait_for_log(server, run, "hello#1", "Hello from Linux\nHello.\n")


def test_release(server: LiveServer, tmp_path: Path) -> None:
    run = _push(server, "release", tmp_path)
    clone = tmp_path / "release"
    git("pull", "-q", "--ff-only", "--tags", server.clone_url("release"), "main", cwd=clone)
    assert git("log", "-2", "--format=%s", cwd=clone).stdout.splitlines() == ["Release 1.0.1", "Try release"]
    assert git("describe", cwd=clone).stdout == "v1.0.1\n" and (clone / "VERSION").read_text() == "1.0.1\n"
    _wait_for_log(server, run, "bump#1", "Kept with this step: branch main ")
    _wait_for_log(server, run, "test#1", "Stepwell: Release 1.0.1")
    assert len(server.runs("release")) == 1, "a promotion started a run"


@pytest.mark.docker
def test_container(server: LiveServer, tmp_path: Path, busybox_image: str) -> None:
    run = _push(server, "container", tmp_path)
    _wait_for_log(server, run, "build#1", "built site/index.html")
    _wait_for_log(server, run, "check#1", "index.html")


@pytest.mark.docker
@pytest.mark.root
def test_container_where_the_server_is_an_ordinary_users_in_the_group_of_the_engine(
    tmp_path: Path, busybox_image: str
) -> None:
    socket = Path("/var/run/docker.sock")
    if not socket.exists() or socket.stat().st_gid == 0:
        pytest.skip("the engine has no socket of a group's")
    with ordinary.home() as home:
        command = (*ordinary.become(socket.stat().st_gid), *ordinary.program())
        live = LiveServer(home / "state", {"HOME": str(home), **ordinary.packages()}, command=command)
        live.state.mkdir()
        shutil.chown(live.state, ordinary.ID)
        live.start()
        try:
            run = _push(live, "container", tmp_path)
            _wait_for_log(live, run, "check#1", "index.html")
        finally:
            live.stop()
        client = docker.from_env()
        assert client.containers.list(all=True, filters={"label": f"stepwell.state={_label(live.state)}"}) == []
        client.close()


@pytest.mark.docker
def test_image(server: LiveServer, tmp_path: Path, busybox_image: str) -> None:
    run = _push(server, "image", tmp_path)
    _wait_for_log(server, run, "try#1", "version 1.0.1")
    client = docker.from_env()
    (step,) = (one for one in server.run(run)["steps"] if one["key"] == "image#1")
    built = client.images.get(step["value"])
    assert built.attrs["Config"]["Cmd"] == ["httpd", "-f", "-p", "8080", "-h", "/site"]
    client.close()


@pytest.mark.docker
def test_database(server: LiveServer, tmp_path: Path, postgres_image: str) -> None:
    run = _push(server, "database", tmp_path)
    key = "migrate and test#1"
    _wait_for_log(server, run, key, "applying 002_visits.sql\nup to date\nup to date\npassed a_link_has_a_plain_code\n")
    code = httpx.URL(server.signin_link()).params["code"]
    with httpx.Client(base_url=server.url, headers={"Origin": server.url}, timeout=60) as browser:
        assert browser.post("/signin", data={"code": code}).status_code == 303
        page = browser.get(f"/{TENANT}/database/runs/1", params={"step": "migrate-and-test"}).text
        (link,) = re.findall(r'href="([^"]*%40db[^"]*)"', page)
        assert "ready to accept connections" in browser.get(html.unescape(link)).text
    log = httpx.get(
        f"{server.url}/api/v1/runs/{run}/steps/{quote(key + '@db')}/log",
        headers={"Authorization": f"Bearer {server.token}"},
        timeout=60,
    )
    assert "ready to accept connections" in log.text


@pytest.fixture
def postgres_image() -> Iterator[str]:
    """The image that the example names, made of this host's PostgreSQL when it is not there, and removed again."""
    client = docker.from_env()
    name, programs, busybox = "postgres:16-alpine", postgres_image_.programs(), shutil.which("busybox")
    try:
        client.images.get(name)
        yield name
    except docker.errors.ImageNotFound:
        if programs is None or busybox is None:
            pytest.skip("needs PostgreSQL and busybox-static on this host to make an image of")
        content, changes = postgres_image_.packed(programs, busybox), postgres_image_.changes(programs)
        client.api.import_image_from_data(content, repository="postgres", tag="16-alpine", changes=changes)
        yield name
        client.images.remove(name, force=True)
    finally:
        client.close()


@pytest.fixture
def busybox_image() -> str:
    """The image that the example names, made of this host's busybox when it is not there: no registry is needed."""
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
