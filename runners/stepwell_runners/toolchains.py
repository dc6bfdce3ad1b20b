"""Toolchains: what `tools=["ruff==0.17.6"]` names, installed once per content key, read-only in every step that asks.

A toolchain is a virtual environment on PATH as if activated: `ruff`, `pytest`, `python -m mypy` and `import httpx`
work, and the workspace stays importable. Its interpreter is the one Stepwell runs on, which isolates see at the same
path; its scripts find that interpreter beside themselves, so it works at /tools/<key> and where it lies on the host.

pip runs as a process of the runner, not in an isolate: it must use the index, mirror, certificates and cache that this
host's pip is configured for, and some of those are directories or addresses that an isolate rightly cannot reach.
`--only-binary :all:` is what makes that safe: wheels are unpacked, no code of a package runs outside an isolate. The
price is that a package published only as source is refused, with a message that says so. The option does not hold for
dependencies that a package names by address, so pip's own process is also kept from starting any other (`_GUARD`).
"""

import asyncio
import contextlib
import hashlib
import json
import os
import re
import sys
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from stepwell.errors import Invalid, Unavailable
from stepwell_runners.pythons import OWN, Python, pythons
from stepwell_runners.shelf import Shelf
from stepwell_runners.spec import TOOLS, ToolDir

TIMEOUT = 600.0  # seconds for one installation
MOST_TOOLS = 50
_REQUIREMENT = re.compile(
    r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,98}[A-Za-z0-9])?"  # name
    r"(?:\[[A-Za-z0-9._-]+(?:,[A-Za-z0-9._-]+)*\])?"  # extras
    r"(?:(?:==|~=|!=|<=|>=|<|>)[A-Za-z0-9.*+!_-]+(?:,(?:==|~=|!=|<=|>=|<|>)[A-Za-z0-9.*+!_-]+)*)?"  # versions
)
_PASSED_ON = re.compile(r"PATH|HOME|LANG|LC_ALL|TMPDIR|PIP_.*|XDG_.*|SSL_CERT_.*|REQUESTS_CA_BUNDLE|(?i:.*_proxy)")
_SHOWN = re.compile(r"Collecting |Downloading |Successfully |ERROR")

_GUARD = """
def guard(event, args):
    if event in ("subprocess.Popen", "os.fork", "os.forkpty", "os.exec", "os.posix_spawn", "os.system"):
        raise PermissionError(1, "a package would have to be built here, and only ready-made wheels are installed")
sys.addaudithook(guard)
"""
_BESIDE = b"#!/bin/sh\n'''exec' \"${0%/*}/python\" \"$0\" \"$@\"\n' '''\n"  # sh runs line two, Python reads a string

Note = Callable[[str], None]


@dataclass(frozen=True)
class Toolchain:
    """An installed toolchain: what to bind, and the variables that put it to use."""

    tool: ToolDir

    def environment(self, path: str, scratch: str) -> dict[str, str]:
        """Return the variables of an activated environment; `path` is PATH without it.

        Caches that tools would write into the workspace go to `scratch`: they are no part of what a step made.
        """
        home = f"{TOOLS}/{self.tool.name}"
        return {
            "PATH": f"{home}/bin:{path}",
            "VIRTUAL_ENV": home,
            "RUFF_CACHE_DIR": f"{scratch}/ruff",
            "MYPY_CACHE_DIR": f"{scratch}/mypy",
            "PYTEST_ADDOPTS": f"-o cache_dir={scratch}/pytest",
        }


def key_of(tools: Sequence[str], python: str) -> str:
    """Return the content key of a set of requirements on an interpreter; Invalid when one is malformed."""
    if len(tools) > MOST_TOOLS:
        raise Invalid(f"tools names {len(tools)} packages. At most {MOST_TOOLS} can be asked for by one step.")
    for tool in tools:
        if not _REQUIREMENT.fullmatch(tool.replace(" ", "")):
            raise Invalid(f'tools names {tool!r}. Write a package with its version, like "ruff==0.17.6".')
    names = sorted({tool.replace(" ", "") for tool in tools})
    return hashlib.sha256(json.dumps([python, names]).encode()).hexdigest()[:16]


class Toolchains:
    """Installs toolchains on a shelf. Lives on one event loop."""

    def __init__(self, shelf: Shelf, environ: Mapping[str, str] = os.environ) -> None:
        self._shelf = shelf
        self._environ = {name: value for name, value in environ.items() if _PASSED_ON.fullmatch(name)}

    @asynccontextmanager
    async def held(self, tools: Sequence[str], note: Note, python: Python | None = None) -> AsyncIterator[Toolchain]:
        """Hold the toolchain of these requirements, installing it first when needed; progress goes to `note`.

        Its programs run on `python`, Stepwell's own unless told otherwise.

        Raises Invalid when the packages cannot be had, Unavailable when this host cannot install at all.
        """
        python = python or pythons()[OWN]
        key = key_of(tools, await asyncio.to_thread(lambda: python.tag))
        names = sorted({tool.replace(" ", "") for tool in tools})

        async def install(fresh: Path) -> None:
            note(f"Installing {', '.join(names)} (once for this version of Python)")
            await self._make_environment(fresh, python)
            await self._pip(fresh, names, note)
            await asyncio.to_thread(find_beside, fresh)

        waiting = f"Waiting for another step that installs {', '.join(names)} too"
        async with self._shelf.held(key, install, lambda: note(waiting)) as place:
            yield Toolchain(ToolDir(place, key))

    async def _make_environment(self, fresh: Path, python: Python) -> None:
        code, lines = await self._run([python.path, "-I", "-m", "venv", "--without-pip", str(fresh)], None)
        if code != 0:
            raise Unavailable(
                f"Tools cannot be installed: {_last(lines)}. Install Python's venv module (python3-venv)."
            )

    async def _pip(self, fresh: Path, tools: list[str], note: Note) -> None:
        command = [sys.executable, "-I", "-m", "pip", "--python", str(fresh / "bin" / "python"), "install"]
        options = ["--only-binary", ":all:", "--no-input", "--no-color", "--progress-bar", "off"]
        guard = next((fresh / "lib").glob("python*/site-packages")) / "_stepwell_guard.pth"
        guard.write_text(f"import sys; exec({_GUARD!r})\n")
        code, lines = await self._run([*command, *options, "--", *tools], note)
        guard.unlink(missing_ok=True)
        if code == 0:
            return
        if any("No module named pip" in line for line in lines):
            raise Unavailable(
                "Tools cannot be installed: the Python that Stepwell runs on has no pip. Run ensurepip for it."
            )
        errors = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR: ")]
        reason = " ".join(errors)[:1000] or _last(lines)
        raise Invalid(f"The tools {', '.join(tools)} cannot be installed (only ready-made wheels are): {reason}")

    async def _run(self, argv: Sequence[str], note: Note | None) -> tuple[int, list[str]]:
        """Run a process of ours to its end, or kill it; its exit code and last lines."""
        process = await asyncio.create_subprocess_exec(
            *argv,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env=self._environ,
            cwd="/",
            umask=0o022,
        )
        lines: list[str] = []
        try:
            async with asyncio.timeout(TIMEOUT):
                assert process.stdout is not None
                async for raw in process.stdout:
                    line = raw.decode(errors="replace").rstrip()
                    lines = [*lines[-99:], line]
                    if note is not None and _SHOWN.match(line):
                        note(line[:300])
                return await process.wait(), lines
        except TimeoutError as error:
            raise Invalid(
                f"Installing the tools took longer than {TIMEOUT:.0f} s; last said: {_last(lines)}"
            ) from error
        finally:
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
                await process.wait()


def _last(lines: Sequence[str]) -> str:
    return next((line for line in reversed(lines) if line.strip()), "no output")[:500]


def find_beside(fresh: Path) -> None:
    """Let scripts find the interpreter beside them, wherever the environment is seen."""
    for script in (fresh / "bin").iterdir():
        if script.is_symlink() or not script.is_file():
            continue
        first, _, rest = script.read_bytes().partition(b"\n")
        if first.startswith(b"#!") and str(fresh).encode() in first:
            script.write_bytes(_BESIDE + rest)
