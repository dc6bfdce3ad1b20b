"""Images of a private registry, pulled with a tenant's credentials: a real engine and a real registry on loopback."""

import base64
import dataclasses
import json
import shutil
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from heavy import IMAGE, NoIsolates, attempt, nothing_left, run
from live import free_port
from logged import Log

from stepwell.engine.seams import Attempt, Prepared
from stepwell_runners import builders
from stepwell_runners.executor import LocalExecutor
from stepwell_runners.images import BUILDS, PRIVATE

pytestmark = pytest.mark.docker
USER, PASSWORD = "robot", "correct horse"
HASHED = "$2b$04$xAUa76tb1BsjCLG1CJWwLerZhqFVCR6duHFJXzL1hVn/H7BOB7.KS"
"""Of the password, by bcrypt."""


@pytest.fixture(scope="module")
def registry(engine: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The host of a registry that wants a password, with the image `team/tool:1` in it, which nobody else has."""
    program = shutil.which("docker-registry")
    if program is None:
        pytest.skip("no docker-registry on PATH: install the package docker-registry")
    folder, port = tmp_path_factory.mktemp("registry"), free_port()
    host = f"127.0.0.1:{port}"
    (folder / "htpasswd").write_text(f"{USER}:{HASHED}\n")
    settings = {
        "version": 0.1,
        "storage": {"filesystem": {"rootdirectory": str(folder / "data")}},
        "http": {"addr": host},
        "auth": {"htpasswd": {"realm": "tests", "path": str(folder / "htpasswd")}},
    }
    (folder / "config.yml").write_text(json.dumps(settings))
    with (folder / "log").open("wb") as log:
        serving = subprocess.Popen([program, "serve", str(folder / "config.yml")], stdout=log, stderr=log)
    try:
        until = time.monotonic() + 60
        while not _answers(host):
            assert serving.poll() is None and time.monotonic() < until, (folder / "log").read_text()
            time.sleep(0.05)
        _push(engine, host)
        yield host
    finally:
        serving.kill()
        serving.wait()


def _answers(host: str) -> bool:
    try:
        return httpx.get(f"http://{host}/v2/").status_code == 401
    except httpx.HTTPError:
        return False


def _push(engine: Any, host: str) -> None:
    """Put an image there of which the engine's host keeps nothing."""
    container = engine.containers.run(IMAGE, ["sh", "-c", "echo private > /mine"], detach=True)
    container.wait()
    made = container.commit(f"{host}/team/tool", "1")
    container.remove()
    auth = {"username": USER, "password": PASSWORD}
    for event in engine.images.push(f"{host}/team/tool", "1", auth_config=auth, stream=True, decode=True):
        assert "error" not in event, event
    engine.images.remove(made.id, force=True)


@pytest.fixture
async def executor(engine: Any, tmp_path: Path) -> AsyncIterator[LocalExecutor]:
    executor = LocalExecutor.at(tmp_path / "state", NoIsolates(), warm_containers=0)
    yield executor
    await nothing_left(executor, engine)


def names(engine: Any, host: str) -> list[str]:
    """The names of a registry's images that the engine knows."""
    listed = engine.api.images()  # images.list() would look at each again, which others may have removed since
    found = [one for image in listed for key in ("RepoTags", "RepoDigests") for one in image[key] or ()]
    return [name for name in found if name.startswith(host)]


async def test_a_private_image_is_the_tenants_who_may_pull_it(
    executor: LocalExecutor, engine: Any, registry: str, caplog: pytest.LogCaptureFixture
) -> None:
    image, log = f"{registry}/team/tool:1", Log()
    asked = attempt("cat /mine; env; cat /proc/*/environ", image=image, network=False)
    given = Prepared(registries={registry: (USER, PASSWORD)})
    outcome = await executor.execute(asked, given, log)
    assert outcome.ok and log.text.startswith("private\n"), (outcome, log.text)
    assert log.notes[:1] == [f"Pulling image {image} as {USER}"]
    assert log.notes[-1].startswith(f"Pulled {registry}/team/tool@sha256:")
    encoded = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
    everything = [log.text, *log.notes, caplog.text, repr(given), repr(outcome)]
    assert not any(word in text for word in (PASSWORD, encoded) for text in everything)
    kept = [path for path in executor._workspaces.state.rglob("*") if path.is_file()]
    assert not any(PASSWORD.encode() in path.read_bytes() or encoded.encode() in path.read_bytes() for path in kept)
    assert names(engine, registry) == [], "anybody could name it"

    again = Log()
    assert (await executor.execute(asked, given, again)).ok and again.notes == []
    for theirs, tenant, words in (
        (Prepared(), "other", "stepwell registry set"),
        (Prepared(), "acme", "stepwell registry set"),
        (Prepared(registries={registry: (USER, "wrong")}), "other", "cannot be pulled with the credentials"),
    ):
        refused = await executor.execute(dataclasses.replace(asked, tenant=tenant), theirs, Log())
        assert refused.final and refused.error is not None and words in refused.error["message"], refused
        assert PASSWORD not in refused.error["message"]
    _forget(executor, engine, PRIVATE)


async def test_an_image_is_built_from_a_private_one_by_who_may_pull_it(
    executor: LocalExecutor, engine: Any, registry: str, tmp_path: Path
) -> None:
    if builders.find_client("unix:///var/run/docker.sock", tmp_path) is None:
        pytest.skip("no docker client with BuildKit on PATH")
    script = f"printf 'FROM {registry}/team/tool:1\\nRUN cat /mine\\n' > Dockerfile"
    files = await run(executor, attempt(script, network=False))
    assert files.layer
    built = dataclasses.replace(attempt("", (files.layer,), "image#1"), kind="image", options={})
    outcome = await executor.execute(built, Prepared(registries={registry: (USER, PASSWORD)}), log := Log())
    assert outcome.ok, log.text
    refused: Attempt = dataclasses.replace(built, tenant="other")
    failed = await executor.execute(refused, Prepared(), Log())
    assert failed.error is not None and "cannot be pulled" in failed.error["message"], failed
    assert names(engine, registry) == []
    assert not list((tmp_path / "state" / "builds").iterdir())
    _forget(executor, engine, BUILDS)


def _forget(executor: LocalExecutor, engine: Any, repository: str) -> None:
    """Remove what this state directory has made there: others use the engine, too."""
    notes = {path.stem for path in (executor._workspaces.state / "images").glob("*.json")}
    for image in engine.api.images(repository):
        keys = {tag.partition(":")[2] for tag in image["RepoTags"] or ()}
        if repository == PRIVATE or keys & notes:
            engine.images.remove(image["Id"], force=True)
