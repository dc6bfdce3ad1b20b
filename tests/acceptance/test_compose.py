"""Stepwell in a container, started by `docker compose` from compose.yaml, and the examples that need an engine.

The lines that compose.yaml leaves off until they are wanted are switched on. Only the image comes from a second file:
here it is packed of this host's own Python; `make soak` builds it by the Dockerfile, on a base made with debootstrap.
"""

import hashlib
import json
import os
import re
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import docker
import httpx
import pytest
from heavy import image_of
from live import commit_all, free_port, git, wait_until
from python_image import stepwell_image

pytestmark = [pytest.mark.docker, pytest.mark.root, pytest.mark.compose, pytest.mark.timeout(900)]
ROOT = Path(__file__).resolve().parents[2]
BASE = "stepwell-test/python:latest"
SOAK = bool(os.environ.get("STEPWELL_SOAK"))
EXAMPLES = ("container", "image") if SOAK else ("container",)
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


@dataclass(frozen=True)
class Project:
    """What `docker compose` makes of compose.yaml for one test."""

    program: list[str]
    place: Path
    name: str
    port: int

    @property
    def image(self) -> str:
        return f"stepwell-test/compose:{self.name}"

    @property
    def state(self) -> Path:
        return self.place / "state"

    def run(self, *words: str) -> str:
        """Run compose; what it says."""
        first, second = self.place / "compose.yaml", self.place / "more.yaml"
        first.write_text(
            re.sub(r"^( +)# (- /|cgroup:)", r"\1\2", (ROOT / "compose.yaml").read_text(), flags=re.MULTILINE)
        )
        image = {"image": self.image, **({"build": {"args": {"BASE": BASE}}} if SOAK else {})}
        second.write_text(json.dumps({"services": {"stepwell": image}}))  # which is YAML, too
        files = [f"--project-directory={ROOT}", f"--file={first}", f"--file={second}"]
        variables = {"STEPWELL_STATE": str(self.state), "STEPWELL_PORT": str(self.port), "DOCKER_BUILDKIT": "0"}
        done = subprocess.run(
            [*self.program, "--project-name", self.name, *files, *words],
            env={**os.environ, **variables}, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr + done.stdout
        return done.stdout


@pytest.fixture
def project(compose: list[str], tmp_path: Path) -> Iterator[Project]:
    """A server that compose has started; nothing of it is left."""
    client = docker.from_env()
    one = Project(compose, tmp_path, f"stepwell-{secrets.token_hex(4)}", free_port())
    one.state.mkdir()
    if SOAK:
        _base(client)
    else:
        stepwell_image(client, one.image, ROOT)
    try:
        one.run("up", "--detach", "--build" if SOAK else "--no-build")
        yield one
    finally:
        one.run("down", "--volumes")
        assert not _left(client, one), "it left containers, volumes or networks behind"
        client.images.remove(one.image, force=True)
        client.close()


def test_what_compose_makes_of_the_file_as_it_is(compose: list[str]) -> None:
    told = subprocess.check_output(
        [*compose, "--file", str(ROOT / "compose.yaml"), "config", "--format=json"], text=True
    )
    service = json.loads(told)["services"]["stepwell"]
    assert [one["source"] for one in service["volumes"]] == ["/var/lib/stepwell"], "the engine's socket is not off"
    assert [(one["host_ip"], one["published"]) for one in service["ports"]] == [("127.0.0.1", "7700")]


def test_the_container_example_passes_where_stepwell_is_in_a_container(project: Project, tmp_path: Path) -> None:
    client = docker.from_env()
    image_of(client, "busybox:1.36")
    server = client.containers.get(project.run("ps", "--quiet").strip())
    wait_until(lambda: b"Sign in:" in server.logs(), 120, "the server in the container")
    doctor = _said(server, "stepwell", "doctor")
    assert "full, as root" in doctor and "engine " in doctor and "cgroups version" in doctor, doctor
    token = _said(server, "sh", "-c", 'exec "$(head -n 1 "$(command -v stepwell)" | cut -c3-)" -c "$0"', TOKEN).strip()
    url = f"http://localhost:{project.port}"
    for example in EXAMPLES:
        assert _passed(url, token, example, tmp_path / example) == "passed", server.logs()[-2000:]
    client.close()


def _base(client: Any) -> None:
    """Make the image on which the Dockerfile builds."""
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


def _said(server: Any, *command: str) -> str:
    done = server.exec_run(list(command))
    assert done.exit_code == 0, done.output
    return str(done.output.decode())


def _passed(url: str, token: str, example: str, folder: Path) -> str:
    with httpx.Client(base_url=f"{url}/api/v1", headers={"Authorization": f"Bearer {token}"}, timeout=60) as api:
        api.post("/repos", json={"tenant": "home", "name": example}).raise_for_status()
        shutil.copytree(ROOT / "pipelines_examples" / example, folder)
        commit_all(folder, f"Try {example}")
        git("push", f"{url.replace('://', f'://x:{token}@')}/home/{example}.git", "HEAD:main", cwd=folder)

        def ended() -> str:
            runs = [one for one in api.get("/runs").json()["items"] if one["repository"] == example]
            return str(runs[0]["state"]) if runs and runs[0]["ended_at"] else ""

        return wait_until(ended, 120, f"the end of {example}")


def _left(client: Any, project: Project) -> list[Any]:
    state = f"stepwell.state={hashlib.sha256(str(project.state.resolve()).encode()).hexdigest()[:16]}"
    for built in client.images.list("stepwell-image", filters={"label": state}):
        client.images.remove(str(built.id), force=True)
    found = [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if str(project.state) in line]
    for label in (state, f"com.docker.compose.project={project.name}"):
        kinds = (client.containers.list(all=True, filters={"label": label}), client.volumes, client.networks)
        found += [str(one) for one in kinds[0]]
        found += [str(one) for kind in kinds[1:] for one in kind.list(filters={"label": label})]
    return found
