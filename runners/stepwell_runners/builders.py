"""Builders of images: BuildKit by the engine's own client, or the engine's classic builder.

BuildKit speaks a protocol of its own, which the package `docker` does not: the client `docker` does, up to version 22
by itself and later with its plugin buildx. Where neither is there, the engine's classic builder is asked over its API.
Both are given the context as an archive, and no configuration of the user's: what that may pull, a tenant may not.
"""

import asyncio
import base64
import contextlib
import hashlib
import json
import os
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from stepwell_runners.build_context import ImagePlan
from stepwell_runners.images import BUILDS, BUILT
from stepwell_runners.spec import Exit

_LAST_WITHOUT_PLUGIN = 22  # of the client's versions
_MEMORY = 4 << 30  # bytes of a line of a classic build
_ASKING_SECONDS = 20
_NO_IMAGE = f"{BUILDS}:none"  # an empty list would be all of the engine's


@dataclass(frozen=True)
class Client:
    """A program `docker` that can build with BuildKit; `words` are those before the options."""

    program: str
    words: tuple[str, ...]


def find_client(host: str, folder: Path) -> Client | None:
    """Return the first `docker` on PATH that can build with BuildKit. Blocks."""
    for place in os.get_exec_path():
        program = shutil.which("docker", path=place)
        if program is None:
            continue
        if _said(program, ("buildx", "version"), host, folder) is not None:
            return Client(program, ("buildx", "build", "--builder", "default", "--load"))
        version = _said(program, ("version", "--format", "{{.Client.Version}}"), host, folder) or ""
        number = version.partition(".")[0]
        if number.isdigit() and int(number) <= _LAST_WITHOUT_PLUGIN:
            return Client(program, ("build",))
    return None


def _said(program: str, words: tuple[str, ...], host: str, folder: Path) -> str | None:
    try:
        done = subprocess.run(
            [program, *words], env=_environment(host, folder), capture_output=True, text=True, check=False,
            timeout=_ASKING_SECONDS, stdin=subprocess.DEVNULL,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def _environment(host: str, folder: Path) -> dict[str, str]:
    kept = {name: os.environ[name] for name in ("DOCKER_CERT_PATH", "DOCKER_TLS_VERIFY") if name in os.environ}
    return {
        **kept, "PATH": os.environ.get("PATH", os.defpath), "HOME": str(folder), "DOCKER_CONFIG": str(folder),
        "DOCKER_HOST": host, "DOCKER_BUILDKIT": "1", "BUILDKIT_PROGRESS": "plain",
    }  # fmt: skip


@dataclass
class ClientBuild:
    """Implements Process: a build by a client."""

    output: int
    _process: asyncio.subprocess.Process
    _started: float = field(default_factory=time.monotonic)

    @classmethod
    async def start(
        cls, client: Client, asked: ImagePlan, labels: Mapping[str, str], *, context: IO[bytes], host: str, folder: Path
    ) -> "ClientBuild":
        """Start it; `folder` is its own: it reads there what it may pull with, and leaves the image's id."""
        config = folder / "config.json"
        config.touch(0o600)
        config.write_text(json.dumps({"auths": _auths(asked.asker.registries)}))
        output, writing = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(output, False)
        try:
            process = await asyncio.create_subprocess_exec(
                client.program, *client.words, *arguments(asked, labels, folder), env=_environment(host, folder),
                stdin=context, stdout=writing, stderr=writing, start_new_session=True, cwd=folder,
            )  # fmt: skip
        except BaseException:
            os.close(output)
            raise
        finally:
            os.close(writing)
        return cls(output, process)

    @property
    def halting(self) -> None:
        """Its processes are the engine's."""

    async def wait(self) -> Exit:
        """Wait for its end."""
        code = await self._process.wait()
        seconds = time.monotonic() - self._started
        if code < 0:
            return Exit(None, -code, "killed", seconds=seconds)
        return Exit(code, None, f"exit code {code}", seconds=seconds)

    def kill(self) -> None:
        """End it; the engine ends a build whose client is gone."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)


def arguments(asked: ImagePlan, labels: Mapping[str, str], folder: Path) -> list[str]:
    """Return a client's options. What a cache mount is called belongs to a branch of the repository: whoever builds
    writes there what they like, and it is no part of what a layer is found by.
    """
    own = hashlib.sha256(json.dumps([labels[BUILT], asked.makers[-1]]).encode()).hexdigest()[:32]
    args = {**asked.args, "BUILDKIT_CACHE_MOUNT_NS": own}
    return [
        "--progress=plain", f"--iidfile={folder / 'id'}", f"--file={asked.file}",
        f"--network={'default' if asked.network else 'none'}",
        *(f"--label={name}={value}" for name, value in labels.items()),
        *(f"--build-arg={name}={value}" for name, value in args.items()),
        *([f"--target={asked.target}"] if asked.target else []), "-",
    ]  # fmt: skip


def _auths(registries: Mapping[str, tuple[str, str]]) -> dict[str, dict[str, str]]:
    """Return credentials as a client's configuration has them."""
    named = {"https://index.docker.io/v1/" if host == "docker.io" else host: pair for host, pair in registries.items()}
    return {host: {"auth": base64.b64encode(":".join(pair).encode()).decode()} for host, pair in named.items()}


class ClassicBuild:
    """Implements Process: a build by the engine's classic builder, over its API, followed by a thread.

    It is given no credentials: what it pulls is everybody's on the engine's host. Its cache knows a layer by the lines
    that it was made of and not by whether they had a network, so it takes those of `known` images alone.
    """

    def __init__(
        self, engine: Any, asked: ImagePlan, labels: Mapping[str, str], *, context: IO[bytes], folder: Path,
        known: Sequence[str] = (),
    ) -> None:  # fmt: skip
        self.output, self._writing = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(self.output, False)
        self._api = engine.api
        self._ask = (asked, labels, context)
        self._known = known or [_NO_IMAGE]
        self._place = folder / "id"
        self._socket: Any = None
        self._killed = False
        self._loop = asyncio.get_running_loop()
        self._exit: asyncio.Future[Exit] = self._loop.create_future()
        threading.Thread(target=self._live, daemon=True, name="build").start()

    @property
    def halting(self) -> None:
        """Its processes are the engine's."""

    async def wait(self) -> Exit:
        """Wait for its end."""
        return await asyncio.shield(self._exit)

    def kill(self) -> None:
        """End it: the engine ends a build to which nobody listens."""
        self._killed = True
        if self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)

    def _live(self) -> None:
        import docker.errors

        started = time.monotonic()
        try:
            code = self._follow()
        except docker.errors.APIError as error:
            self._write(f"{error.explanation or error}\n")
            code = 1
        except (OSError, ValueError) as error:  # requests' errors are OSErrors; a line that was cut off
            self._write(f"The container engine does not answer any more: {error}\n")
            code = 1
        exit_ = Exit(code, None, f"exit code {code}", seconds=time.monotonic() - started)
        if self._killed:
            exit_ = Exit(None, int(signal.SIGKILL), "killed", seconds=exit_.seconds)
        os.close(self._writing)
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            self._loop.call_soon_threadsafe(self._exit.set_result, exit_)

    def _follow(self) -> int:
        asked, labels, context = self._ask
        params = {
            "dockerfile": asked.file, "rm": True, "forcerm": True, "labels": json.dumps(dict(labels)),
            "buildargs": json.dumps(dict(asked.args)), "memory": _MEMORY, "memswap": _MEMORY,
            "networkmode": "default" if asked.network else "none", "target": asked.target,
            "cachefrom": json.dumps(list(self._known)),
        }  # fmt: skip
        answer = self._api._post(
            self._api._url("/build"), data=context, params=params, stream=True, timeout=None,
            headers={"Content-Type": "application/x-tar"},
        )  # fmt: skip
        self._api._raise_for_status(answer)
        raw = self._api._get_raw_response_socket(answer)
        self._socket = getattr(raw, "_sock", raw)
        if self._killed:
            return 1
        code = 1
        for line in answer.iter_lines():
            event = json.loads(line) if line else {}
            self._write(event.get("stream") or "")
            if "error" in event:
                self._write(f"{event['error']}\n")
                return 1
            if found := (event.get("aux") or {}).get("ID"):
                self._place.write_text(found)
                code = 0
        return code

    def _write(self, text: str) -> None:
        view = memoryview(text.encode())
        while view:
            view = view[os.write(self._writing, view) :]
