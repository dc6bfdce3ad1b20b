"""Setups: what `setup=` leaves in $STEPWELL_SETUP, and tools of npm; made once per key in an isolate, then read-only.

A setup is an author's program, so it runs behind the wall like a step, with a network, without secrets, and sees of the
workspace only what `setup_inputs` names. What it writes to $STEPWELL_SETUP is kept: a virtual environment for Python,
the prefix of npm's global packages, or whatever else the author puts there. The key is all that it can notice, and
whose it is: what one repository's programs made is never shown to another's, nor what a branch made to any but its own
runs, unless it is the default branch. See docs/decisions/setups-of-branches.md.

Rejected: keeping what it writes into the workspace too, as a layer below the step's. A workspace then no longer is the
tree and the layers of earlier steps, and `node_modules` of a setup could not be told from one of the tree.
"""

import asyncio
import hashlib
import json
import os
import re
import shlex
import stat
import tempfile
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import astuple, dataclass, field
from pathlib import Path
from typing import Protocol

from stepwell.engine.seams import Output
from stepwell.errors import Invalid, TryLater, Unavailable
from stepwell_runners import package_index
from stepwell_runners.command_plan import NetworkPolicy
from stepwell_runners.layers import parents
from stepwell_runners.options import base_environment
from stepwell_runners.outcomes import SetupFailed
from stepwell_runners.outgrown import DiskWatch
from stepwell_runners.pythons import Python
from stepwell_runners.reduce import KEPT_BITS, Stack, copy_file, entries, remove
from stepwell_runners.setup_inputs import ONCE, input_files
from stepwell_runners.shelf import Shelf
from stepwell_runners.spec import TOOLS, CommandSpec, Directory, Egress, Limits, Seen, ToolDir
from stepwell_runners.streaming import DEFAULT_BOUNDS, Bounds, Place, Process, watch
from stepwell_runners.toolchains import TIMEOUT, find_beside

NPM = "npm:"
_WORKSPACE = ".workspace"
_NPM_PACKAGE = re.compile(
    r"(?:@[a-z0-9~-][a-z0-9._~-]{0,99}/)?[a-z0-9~-][a-z0-9._~-]{0,99}(?:@[A-Za-z0-9.^~<>=*+_-]{1,60})?"
)
_CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt"


class Isolates(Protocol):
    """What setups need of isolates."""

    @property
    def walled(self) -> bool: ...

    async def command(self, spec: CommandSpec) -> Process: ...


@dataclass(frozen=True)
class SetupSpec:
    """One setup: all that its result depends on, but for the inputs' contents and the network."""

    tenant: str
    command: str
    env: Mapping[str, str]
    repository: str = ""  # "": those of the whole tenant
    makers: tuple[str, ...] = ("",)  # whose it may be; it is made for the last of them
    inputs: tuple[str, ...] = ()
    tools: tuple[ToolDir, ...] = ()
    python: Python | None = None  # of the virtual environment that it begins with
    timeout: float = TIMEOUT
    limits: Limits = field(default_factory=Limits)
    hosts: frozenset[str] = frozenset()  # that the step lists


def npm_spec(tenant: str, packages: Iterable[str]) -> SetupSpec:
    """Return the setup that installs these packages of npm. Raises Invalid for what is not a name with a version."""
    names = sorted(set(packages))
    for name in names:
        if not _NPM_PACKAGE.fullmatch(name):
            raise Invalid(f'tools names {NPM + name!r}. Write a package with its version, like "npm:eslint@9".')
    return SetupSpec(tenant, f"npm install --global --no-audit --no-fund -- {shlex.join(names)}", {})


def _whose(spec: SetupSpec) -> list[list[str]]:
    return [[spec.tenant, spec.repository, maker] for maker in spec.makers]


class Setups:
    """Makes setups on a shelf. Lives on one event loop."""

    def __init__(
        self,
        shelf: Shelf,
        isolates: Isolates,
        bounds: Bounds = DEFAULT_BOUNDS,
        policy: NetworkPolicy = "any",
        disk: DiskWatch | None = None,
    ) -> None:
        self._shelf = shelf
        self._isolates = isolates
        self._bounds = bounds
        self._disk = disk or DiskWatch()
        self._policy = policy

    @asynccontextmanager
    async def held(
        self, spec: SetupSpec, stack: Stack, output: Output, seen: Seen | None = None
    ) -> AsyncIterator[ToolDir]:
        """Hold the directory of a setup, running it first when it is new; what it prints goes to `output`.

        Raises SetupFailed with the reason, Invalid for inputs that are not there, Unavailable for want of npm.
        """
        with tempfile.TemporaryDirectory(prefix=".inputs-", dir=self._shelf.folder) as folder:
            inputs = Path(folder) / "inputs"
            digests = await asyncio.to_thread(_copy_inputs, spec.inputs, stack, inputs)
            *others, own = await asyncio.to_thread(self._keys, spec, digests)

            async def make(fresh: Path) -> None:
                output.note(f"Setting up: {spec.command[:200]} ({ONCE})")
                await asyncio.to_thread(fresh.mkdir)
                await asyncio.to_thread(inputs.rename, fresh / _WORKSPACE)  # so that one bound holds for both
                await self._run(spec, ToolDir(fresh, own, read_only=False), output, seen)

            def wait() -> None:
                output.note("Waiting for another step that sets up the same")

            for other in others:
                async with self._shelf.found(other, wait) as found:
                    if found is not None:
                        yield ToolDir(found, other)
                        return
            async with self._shelf.held(own, make, wait) as place:
                yield ToolDir(place, own)

    def _network(self, spec: SetupSpec, seen: Seen | None) -> Egress | None:
        """Every public host; those of the step and of the package indexes where steps have to list them."""
        if self._policy == "none":
            return None
        return Egress(None if self._policy == "any" else spec.hosts | package_index.hosts(), seen)

    def _keys(self, spec: SetupSpec, digests: list[tuple[str, int, str]]) -> list[str]:
        """Return the key for each of those whose setup it may be: of all that the command can notice."""
        nameless = ToolDir(Path(), "")
        network = self._network(spec, None)
        reach = [] if network is None else "any" if network.hosts is None else sorted(network.hosts)
        found = [
            _script(spec, nameless), sorted(_environment(spec, nameless).items()), [tool.name for tool in spec.tools],
            spec.python.tag if spec.python else "", digests, self._isolates.walled, astuple(spec.limits), reach,
        ]  # fmt: skip
        return [f"s-{hashlib.sha256(json.dumps([whose, *found]).encode()).hexdigest()[:24]}" for whose in _whose(spec)]

    async def _run(self, spec: SetupSpec, tool: ToolDir, output: Output, seen: Seen | None) -> None:
        process = await self._isolates.command(
            CommandSpec(
                tenant=spec.tenant,
                argv=("sh", "-c", _script(spec, tool)),
                env=_environment(spec, tool),
                workspace=Directory(tool.path / _WORKSPACE),
                tools=(tool, *spec.tools),
                network=self._network(spec, seen),
                limits=spec.limits,
            )
        )
        exit_, timed_out = await watch(
            process, output, spec.timeout, self._bounds, Place(self._disk, spec.tenant, tool.path)
        )
        if exit_.lost:
            raise TryLater(f"The setup was lost: {exit_.reason}.", 0.1)
        if timed_out or exit_.code != 0:
            if exit_.code == 127 and spec.python is None:
                raise Unavailable("tools= names packages of npm, which is not on this host. Install Node.js with npm.")
            raise SetupFailed(f"setup= failed: {'it took too long' if timed_out else exit_.reason}.")
        await asyncio.to_thread(remove, tool.path / _WORKSPACE)
        await asyncio.to_thread(_cleanse if self._isolates.walled else find_beside, tool.path)


def environment_of(tool: ToolDir, path: str) -> dict[str, str]:
    """Return the variables by which a step finds a setup; `path` is PATH without it."""
    home = f"{TOOLS}/{tool.name}"
    return {"PATH": f"{home}/bin:{path}", "STEPWELL_SETUP": home, "NODE_PATH": f"{home}/lib/node_modules"}


def site_packages(tool: ToolDir, python: Python) -> str:
    """Where the packages of a virtual environment are."""
    return f"{TOOLS}/{tool.name}/lib/python{python.version}/site-packages"


def _script(spec: SetupSpec, tool: ToolDir) -> str:
    """Return what the isolate runs. pip is put in only when it is spoken of: that takes seconds."""
    if spec.python is None:
        return spec.command
    pip = "" if re.search(r"\bpip", spec.command) else "--without-pip "
    lines = ["set -e", f'{spec.python.path} -m venv {pip}"$STEPWELL_SETUP"']
    beside = f"{site_packages(tool, spec.python)}/tools.pth"
    lines += [f"echo {site_packages(other, spec.python)} >> {beside}" for other in spec.tools]
    return "\n".join([*lines, "set +e", spec.command])


def _environment(spec: SetupSpec, tool: ToolDir) -> dict[str, str]:
    path = ":".join([*(f"{TOOLS}/{other.name}/bin" for other in spec.tools), base_environment()["PATH"]])
    own = {
        "CI": "true",
        "STEPWELL": "true",
        "PYTHONUNBUFFERED": "1",
        "npm_config_prefix": f"{TOOLS}/{tool.name}",
        "npm_config_update_notifier": "false",
        **package_index.environment(),
    }
    if os.path.exists(_CERTIFICATES):  # noqa: PTH110
        own["NODE_EXTRA_CA_CERTS"] = _CERTIFICATES  # Node has its own list, and a host may have added to the system's
    if spec.python is not None:
        own["VIRTUAL_ENV"] = f"{TOOLS}/{tool.name}"
    return {**own, **environment_of(tool, path), **spec.env, "PATH": f"{TOOLS}/{tool.name}/bin:{path}"}


def _copy_inputs(paths: tuple[str, ...], stack: Stack, target: Path) -> list[tuple[str, int, str]]:
    """Copy the files of `setup_inputs`; their names, modes and digests."""
    target.mkdir()
    found: list[tuple[str, int, str]] = []
    for name, place in input_files(paths, stack):
        for above in parents(name):
            (target / above).mkdir(exist_ok=True)
        copy_file(place, target / name)
        digest = hashlib.sha256((target / name).read_bytes()).hexdigest()
        found.append((name, stat.S_IMODE((target / name).stat().st_mode), digest))
    return sorted(found)


def _cleanse(fresh: Path) -> None:
    """Leave plain files, directories and links, without setuid bits: strangers made them, the host owns them now."""
    for _, entry in entries(fresh):
        mode = entry.stat(follow_symlinks=False).st_mode
        path = Path(entry.path)
        if stat.S_ISREG(mode):
            path.chmod(stat.S_IMODE(mode) & KEPT_BITS)
        elif stat.S_ISDIR(mode):
            path.chmod(stat.S_IMODE(mode) & KEPT_BITS | 0o700)  # before it is entered
        elif not stat.S_ISLNK(mode):
            remove(path)
