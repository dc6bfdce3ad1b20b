"""Stepwell in a container, with what compose.yaml gives it and nothing more. At length, with `make soak` only.

`docker compose` itself is used for nothing: what is tried are its file's permissions, volumes and image, on an engine
that may have no client of version 2. The base image is made with debootstrap where none is here.
"""

import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import docker
import httpx
import pytest
from heavy import image_of
from live import commit_all, free_port, git, wait_until

pytestmark = [pytest.mark.docker, pytest.mark.root]
ROOT = Path(__file__).resolve().parents[2]
BASE, IMAGE = "stepwell-test/python:latest", "stepwell-test/compose:latest"
PACKAGES = "python3,python3-venv,git,libseccomp2,ca-certificates"
TOKEN = """
import os
from pathlib import Path
from stepwell.store.store import Store
from stepwell.tenants.tenants import Tenants
state = Path(os.environ["STEPWELL_STATE"])
tenants = Tenants(Store(state / "stepwell.db"), state / "key")
actor = tenants.people.actor(tenants.bootstrap().id)
print(tenants.tokens.issue(actor, "tests", scopes=("read", "write", "manage")).secret)
"""


def listed(key: str) -> list[str]:
    """The items of a list in compose.yaml, those that are commented out, too: the engine's socket is one."""
    found = re.search(rf"^    {key}:\n((?:      .*\n)+)", (ROOT / "compose.yaml").read_text(), re.MULTILINE)
    assert found, key
    return [line.strip("# -") for line in found[1].splitlines() if re.match(r" +(# )?- ", line)]


def test_compose_names_what_is_tried_here() -> None:
    assert listed("cap_add") == ["SYS_ADMIN", "NET_ADMIN"]
    assert listed("volumes") == ["/var/lib/stepwell:/var/lib/stepwell", "/var/run/docker.sock:/var/run/docker.sock"]


@pytest.fixture
def image() -> Iterator[str]:
    """An image of this tree."""
    if not os.environ.get("STEPWELL_SOAK"):
        pytest.skip("takes minutes: with STEPWELL_SOAK=1 only")
    client = docker.from_env()
    try:
        client.images.get(BASE)
    except docker.errors.ImageNotFound:
        if shutil.which("debootstrap") is None:
            pytest.skip("needs debootstrap to make a base image")
        with tempfile.TemporaryDirectory() as folder:
            command = ["debootstrap", "--variant=minbase", f"--include={PACKAGES}", "bookworm", folder]
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
            shutil.copy("/etc/ssl/certs/ca-certificates.crt", f"{folder}/etc/ssl/certs/ca-certificates.crt")
            packed = subprocess.Popen(["tar", "-C", folder, "-c", "."], stdout=subprocess.PIPE)
            client.api.import_image_from_data(packed.stdout, repository=BASE.partition(":")[0], tag="latest")
            packed.wait()
    client.images.build(path=str(ROOT), tag=IMAGE, buildargs={"BASE": BASE}, rm=True, forcerm=True)
    yield IMAGE
    client.images.remove(IMAGE, force=True)


def test_the_container_example_passes_where_stepwell_is_in_a_container(image: str, tmp_path: Path) -> None:
    client, port, state = docker.from_env(), free_port(), tmp_path / "state"
    state.mkdir()
    image_of(client, "busybox:1.36")
    url = f"http://localhost:{port}"
    options = [f"--cap-add={one}" for one in listed("cap_add")]
    options += [f"--security-opt={one}" for one in listed("security_opt")]
    options += [f"--volume={one.replace('/var/lib/stepwell', str(state))}" for one in listed("volumes")]
    variables = {"STEPWELL_URL": url, "STEPWELL_PORT": str(port), "STEPWELL_STATE": str(state)}
    options += [f"--env={name}={value}" for name, value in variables.items()]
    started = ["docker", "run", "--detach", f"--publish=127.0.0.1:{port}:{port}", *options, image]
    server = client.containers.get(subprocess.check_output(started, text=True).strip())
    try:
        wait_until(lambda: b"Sign in:" in server.logs(), 60, "the server in the container")
        doctor = _said(server, "stepwell", "doctor")
        assert "full, as root" in doctor and "engine " in doctor, doctor
        token = _said(server, "/opt/stepwell/venv/bin/python", "-c", TOKEN).strip()
        for example in ("container", "image"):
            assert _passed(url, token, example, tmp_path / example) == "passed", server.logs()[-2000:]
        server.stop(timeout=30)
        assert not _left(client, state), "it left containers or volumes behind"
    finally:
        server.remove(force=True)
    assert str(state) not in Path("/proc/self/mountinfo").read_text()


def _said(server: Any, *command: str) -> str:
    done = server.exec_run(list(command))
    assert done.exit_code == 0, done.output
    return str(done.output.decode())


def _passed(url: str, token: str, example: str, folder: Path) -> str:
    with httpx.Client(base_url=f"{url}/api/v1", headers={"Authorization": f"Bearer {token}"}, timeout=30) as api:
        api.post("/repos", json={"tenant": "home", "name": example}).raise_for_status()
        shutil.copytree(ROOT / "pipelines_examples" / example, folder)
        commit_all(folder, f"Try {example}")
        git("push", f"{url.replace('://', f'://x:{token}@')}/home/{example}.git", "HEAD:main", cwd=folder)

        def ended() -> str:
            runs = [one for one in api.get("/runs").json()["items"] if one["repository"] == example]
            return str(runs[0]["state"]) if runs and runs[0]["ended_at"] else ""

        return wait_until(ended, 120, f"the end of {example}")


def _left(client: Any, state: Path) -> list[Any]:
    ours = {"label": f"stepwell.state={hashlib.sha256(str(state.resolve()).encode()).hexdigest()[:16]}"}
    for built in client.images.list("stepwell-image", filters=dict(ours)):
        client.images.remove(str(built.id), force=True)
    return [*client.containers.list(all=True, filters=ours), *client.volumes.list(filters=ours)]
